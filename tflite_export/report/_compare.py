"""Several runs beside each other."""

from collections.abc import Mapping

from tflite_export.report._html import check_html, page_of
from tflite_export.report._markdown import markdown_of
from tflite_export.report._pictures import Picture, drawing, picture
from tflite_export.report._scatter import Point, draw_runs
from tflite_export.report._sections import Section, Table
from tflite_export.report._values import Report, Row

_LINES = ("Figures of each run's compressed model, beside those of the first run's given model.",)


def compare_html(runs: Mapping[str, Report]) -> str:
    """A page with a table of all runs and their points of cost and score.

    Args:
        runs: by name, one at least.

    Raises:
        ModuleNotFoundError: Jinja2 or matplotlib is not installed.
    """
    check_html()
    return page_of(_title(runs), _LINES, _sections(runs), {"runs": _pictures(runs)})


def compare_markdown(runs: Mapping[str, Report]) -> str:
    """The same as Markdown, without the points.

    Args:
        runs: by name, one at least.
    """
    return markdown_of(_title(runs), _LINES, _sections(runs))


def compare_table(runs: Mapping[str, Report]) -> Table:
    """The figures of all runs, a column each.

    Args:
        runs: by name, one at least.
    """
    first = next(iter(runs.values()))
    titles = dict.fromkeys(row.title for report in runs.values() for row in report.figures)
    given = {row.title: row.text(row.before) for row in first.figures}
    found = [{row.title: row.text(row.after) for row in report.figures} for report in runs.values()]
    rows = [(title, given.get(title, ""), *(each.get(title, "") for each in found)) for title in titles]
    rows.append(("weights removed", "", *(f"{100 * report.removed:.1f} %" for report in runs.values())))
    rows.append(("tolerance kept", "", *(_kept(report) for report in runs.values())))
    return Table(("", "given", *runs), tuple(rows))


def _kept(report: Report) -> str:
    return "" if report.verdict is None else "yes" if report.verdict.accepted else "no"


def _title(runs: Mapping[str, Report]) -> str:
    names = list(dict.fromkeys(report.name for report in runs.values()))
    return f"{len(runs)} runs of {', '.join(names)}" if len(runs) > 1 else f"One run of {names[0]}"


def _sections(runs: Mapping[str, Report]) -> tuple[Section, ...]:
    return (Section("runs", "Side by side", (), (compare_table(runs),)),)


def _pictures(runs: Mapping[str, Report]) -> tuple[Picture, ...]:
    """A picture for each cost, of the validation score of the file that each run handed over."""
    judged = {name: report for name, report in runs.items() if report.verdict is not None and report.verdict.scores}
    metrics = dict.fromkeys(report.verdict.metric for report in judged.values() if report.verdict is not None)
    if len(metrics) != 1:
        return ()  # scores that are told in different ways have no common axis
    (metric,) = metrics
    made = []
    with drawing():
        for at, title in enumerate(_costs(judged)):
            points = [
                Point(name, cost, metric.scale * score)
                for name, report in judged.items()
                for cost, score in [(_cost(report, title), _score(report))]
                if cost is not None and score is not None
            ]
            caption = f"Validation score of the integer file against {title}; the line joins runs that none beats"
            made.append(picture(draw_runs(points, title, metric), f"runs{at}", caption))
    return tuple(made)


def _costs(runs: Mapping[str, Report]) -> list[str]:
    """Titles of the costs that are known of any run."""
    rows: list[Row] = [row for report in runs.values() for row in report.figures if row.cost and row.after is not None]
    return list(dict.fromkeys(row.title for row in rows))


def _cost(report: Report, title: str) -> float | None:
    return next((row.after for row in report.figures if row.title == title), None)


def _score(report: Report) -> float | None:
    return None if report.verdict is None else report.verdict.scores[-1].value
