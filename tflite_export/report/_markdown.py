"""A report as Markdown."""

from collections.abc import Sequence

from tflite_export.report._sections import Section, Table, sections_of
from tflite_export.report._values import Report


def to_markdown(report: Report) -> str:
    """The report as Markdown: titles, sentences and tables, no pictures."""
    return markdown_of(report.title, (report.task,), sections_of(report))


def markdown_of(title: str, lines: Sequence[str], sections: Sequence[Section]) -> str:
    """Sections under a title as Markdown."""
    parts = [f"# {_escaped(title)}", *(_escaped(line) for line in lines)]
    for section in sections:
        parts += [f"## {section.title}", *map(_escaped, section.lines)]
        parts += ["\n".join(f"    {line}" for command in section.commands for line in command.splitlines())]
        parts += [_table(table) for table in section.tables]
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(table: Table) -> str:
    rules = [("---" if at in table.texts else "---:") for at in range(len(table.heads))]
    lines = [_line(table.heads), f"| {' | '.join(rules)} |", *map(_line, table.rows)]
    return "\n".join([*([f"{table.caption}:", ""] if table.caption else []), *lines])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(_escaped, cells))} |"


def _escaped(text: str) -> str:
    """Text in which nothing is read as a mark, in one line."""
    text = " ".join(text.split())
    for mark in "\\|`*_<[":
        text = text.replace(mark, f"\\{mark}")
    return text
