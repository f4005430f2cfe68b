"""The command `tf-structprune report`: render again, or several runs side by side."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.table import Table as RichTable

from tf_structprune_cli._console import plain_console
from tflite_export.report import (
    REPORT_JSON,
    Report,
    Table,
    compare_html,
    compare_markdown,
    compare_table,
    read_report,
    read_sensitivity,
    sections_of,
    to_html,
    to_markdown,
    with_sensitivity,
    write_report,
)
from tflite_export.write import write_whole

_SUFFIXES = (".html", ".md")


def run_report(arguments: argparse.Namespace) -> None:
    """Write what was asked for, and print the figures and where they are.

    Raises:
        FileNotFoundError: a directory has no report.
        ValueError: a file that is no report, no FILE for several runs, or one of another kind.
        OSError: the file cannot be written.
    """
    directories, out = _each_once(arguments.directories), arguments.out
    places = _places(directories)
    runs = _runs(places, directories)
    if out is None and len(runs) > 1:
        raise ValueError(
            f"Several runs come in a file of their own. Received: {len(runs)} runs without --out. Add --out runs.html."
        )
    if out is not None and Path(out).suffix not in _SUFFIXES:
        raise ValueError(f"A report is .html or .md. Received: --out {out}. Use e.g. --out report.html.")
    path = (
        write_report(next(iter(runs.values())), places[0]) if out is None else _written(runs, out, arguments.overwrite)
    )
    console = plain_console()
    if not arguments.quiet:
        first = next(iter(runs.values()))
        console.print(rich_table(compare_table(runs) if len(runs) > 1 else sections_of(first)[0].tables[0]))
    console.print(f"Written to {path}")


def _each_once(directories: Sequence[str]) -> list[str]:
    """The directories; one that is named twice counts once, which is told."""
    found: dict[Path, str] = {}
    for directory in directories:
        if (place := Path(directory).resolve()) in found:
            plain_console(stderr=True).print(f"{directory} is the same as {found[place]}. It counts once.")
        found.setdefault(place, directory)
    return list(found.values())


def _places(directories: Sequence[str]) -> list[str]:
    """The directories of runs; those that have nothing but a sensitivity are none."""
    return [place for place in directories if (Path(place) / REPORT_JSON).is_file() or not read_sensitivity(place)]


def _runs(places: Sequence[str], directories: Sequence[str]) -> dict[str, Report]:
    """The reports by the name of their directory; what `sensitivity` found goes to the only run."""
    reports = [read_report(place) for place in places]
    adds = any(read_sensitivity(each) for each in directories)
    if adds and len(reports) != 1:
        raise ValueError(
            f"A sensitivity belongs to one run. Received: {len(reports)} runs with it. Name one run beside it."
        )
    if adds:
        reports = [with_sensitivity(report, directories) for report in reports]
    names = [Path(place).resolve().name for place in places]
    return dict(zip(names if len(set(names)) == len(names) else places, reports, strict=True))


def _written(runs: Mapping[str, Report], out: str, overwrite: bool) -> Path:
    """Write one report, or several beside each other, into a file."""
    page, report = Path(out).suffix == ".html", next(iter(runs.values()))
    if len(runs) == 1:
        text = to_html(report) if page else to_markdown(report)
    else:
        text = compare_html(runs) if page else compare_markdown(runs)
    return write_whole(out, text.encode(), overwrite=overwrite)


def rich_table(table: Table) -> RichTable:
    """A table of a report for a terminal."""
    made = RichTable(title=table.caption or None)
    for at, head in enumerate(table.heads):
        made.add_column(head, justify="left" if at in table.texts else "right", overflow="fold")
    for row in table.rows:
        made.add_row(*row)
    return made
