"""A report as one HTML file that needs nothing else: no script, nothing from elsewhere, light and dark, any width."""

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tflite_export.report._pictures import Picture, pictures_of
from tflite_export.report._sections import Section, sections_of
from tflite_export.report._values import Report, Row

_TEMPLATE = Path(__file__).with_name("page.html")
_NEEDS = ("jinja2", "matplotlib")


@dataclass(frozen=True)
class Card:
    """A figure that is read first."""

    title: str
    value: str


@dataclass(frozen=True)
class Headline:
    """Whether the tolerance was kept, in words."""

    accepted: bool
    told: str


def html_lacks() -> str:
    """Why no HTML can be made here, in words; "" where it can."""
    missing = [name for name in _NEEDS if importlib.util.find_spec(name) is None]
    return f"{' and '.join(missing)} not installed. Install tf-structprune[report]." if missing else ""


def check_html() -> None:
    """Refuses where no HTML can be made.

    Raises:
        ModuleNotFoundError: Jinja2 or matplotlib is not installed.
    """
    if lacks := html_lacks():
        raise ModuleNotFoundError(f"The HTML report needs Jinja2 and matplotlib. Received: {lacks}")


def to_html(report: Report) -> str:
    """The report as a page with pictures: same report, same text, with the same versions of matplotlib and Jinja2.

    Raises:
        ModuleNotFoundError: Jinja2 or matplotlib is not installed.
    """
    check_html()
    return page_of(
        report.title,
        (report.task,),
        sections_of(report),
        pictures_of(report),
        cards=tuple(_card(row) for row in report.figures if row.ratio),
        headline=_headline(report),
    )


def page_of(
    title: str,
    lines: Sequence[str],
    sections: Sequence[Section],
    pictures: Mapping[str, tuple[Picture, ...]],
    *,
    cards: Sequence[Card] = (),
    headline: Headline | None = None,
) -> str:
    """The page.

    Args:
        title: of it.
        lines: below the title.
        sections: in order.
        pictures: by key of their section.
        cards: figures that are read first.
        headline: whether the tolerance was kept.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    shown = {section.key: pictures.get(section.key, ()) for section in sections}
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    text = template.render(title=title, lines=lines, sections=sections, pictures=shown, cards=cards, headline=headline)
    return f"{text.strip()}\n".replace(" %", "\N{NO-BREAK SPACE}%")


def _card(row: Row) -> Card:
    return Card(f"{row.title}: {row.text(row.before)} to {row.text(row.after)}", row.ratio)


def _headline(report: Report) -> Headline | None:
    """What the judgement comes to."""
    found = report.verdict
    if found is None or not found.scores:
        return None
    given, last, metric = found.scores[0], found.scores[-1], found.metric
    told = f"Validation {metric.name} {metric.told(given.value or 0.0)} given, {metric.told(last.value or 0.0)} now"
    state = "within" if found.accepted else "not within"
    return Headline(found.accepted, f"{told}: {state} the tolerance of {found.tolerance}.")
