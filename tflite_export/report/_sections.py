"""A report as titled tables and sentences, which all renderers show; a section without content is left out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tflite_export.report._layers import Pair, joined, title_of
from tflite_export.report._values import INT8_ALONE, INT8_REST, Operator, Profile, Report, Row, Verdict


@dataclass(frozen=True)
class Table:
    """Rows of texts.

    Attributes:
        heads: of the columns; the first column is text.
        rows: the cells.
        texts: further columns that are text, from 0; all others are numbers.
        caption: what it shows, "" for nothing beyond the section's title.
    """

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    texts: tuple[int, ...] = (0,)
    caption: str = ""


@dataclass(frozen=True)
class Section:
    """A part of a report.

    Attributes:
        key: its name in links, and of its pictures.
        title: its heading.
        lines: sentences above the tables.
        tables: its tables.
        commands: what can be typed in, a line each.
    """

    key: str
    title: str
    lines: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    commands: tuple[str, ...] = ()


def sections_of(report: Report) -> tuple[Section, ...]:
    """The sections of a report that have something to show, in order."""
    made = (make(report) for make in _SECTIONS)
    return tuple(section for section in made if section is not None)


def sides(rows: Sequence[Row], caption: str = "") -> Table:
    """Figures before and after as a table."""
    cells = tuple((row.title, row.text(row.before), row.text(row.after), row.ratio) for row in rows)
    return Table(("", "before", "after", "before / after"), cells, caption=caption)


def _figures(report: Report) -> Section | None:
    return Section("figures", "Before and after", (), (sides(report.figures),)) if report.figures else None


def _verdict(report: Report) -> Section | None:
    found = report.verdict
    if found is None:
        return None
    tables = [_scores(found)]
    if len(found.attempts) > 1:
        rows = tuple((a.name, a.reason or found.metric.told(a.value or 0.0)) for a in found.attempts)
        tables.append(Table(("integer file", f"validation {found.metric.name}"), rows, (0, 1), "How it was made"))
    if report.stages:
        rows = tuple((stage.about, stage.told) for stage in report.stages)
        tables.append(Table(("stage", "what became of it"), rows, (0, 1), "Stages"))
    return Section("verdict", "Judgement", tuple(_judged(found)), tuple(tables))


def _scores(found: Verdict) -> Table:
    rows = tuple((score.name, found.metric.told(score.value or 0.0)) for score in found.scores)
    return Table(("model", f"validation {found.metric.name}"), rows)


def _judged(found: Verdict) -> list[str]:
    """How the integer file was judged, in sentences."""
    metric = found.metric
    state = "within" if found.accepted else "NOT within"
    lines = [
        f"The integer file is {state} the tolerance of {found.tolerance}, which ends at a validation {metric.name} of "
        f"{metric.told(found.limit)}."
    ]
    if found.low is None or found.high is None:
        return lines
    lines.append(
        f"{metric.loss}: {metric.signed(found.low)} to {metric.signed(found.high)} with 95 % confidence, from "
        f"{found.samples or 0:,} samples."
    )
    if found.samples_to_tell and found.samples_to_tell > (found.samples or 0):
        lines[-1] += f" About {found.samples_to_tell:,} would tell this tolerance."
    return lines


_COLUMNS: dict[str, Callable[[Operator], float | None]] = {
    "MACs": lambda operator: operator.macs,
    "constants (bytes)": lambda operator: operator.weight_bytes,
    "time (us)": lambda operator: operator.time_us,
}
"""What is told of each operator, by title."""


def columns_of(pairs: Sequence[Pair]) -> dict[str, Callable[[Operator], float | None]]:
    """Of the figures of operators those that are known."""
    return {
        title: of
        for title, of in _COLUMNS.items()
        if any(value is not None for pair in pairs for value in pair.values(of))
    }


def _layers(report: Report) -> Section | None:
    pairs = joined(report.before, report.after)
    if not pairs:
        return None
    columns = columns_of(pairs)
    heads = ("layer", *(f"{title}, {side}" for title in columns for side in ("before", "after")), "zeros, after")
    rows = tuple(
        (
            pair.title,
            *(_count(value) for of in columns.values() for value in pair.values(of)),
            _percent(None if pair.after is None else pair.after.zeros),
        )
        for pair in pairs
    )
    lines = [
        "An operator is put beside the one that computes the same Keras layer. Activations and batch normalization are "
        "part of the operator before them."
    ]
    if "time (us)" in columns:
        lines.append(
            f"Times were told by {report.device or 'a profiler'}. What is faster than can be told has 0.0: its time is "
            "in the operator after it."
        )
    return Section("layers", "Layer by layer", tuple(lines), (Table(heads, rows),))


def _count(value: float | None) -> str:
    return "" if value is None else f"{value:,.1f}" if isinstance(value, float) else f"{value:,}"


def _percent(fraction: float | None) -> str:
    return "" if fraction is None else f"{100 * fraction:.1f} %"


def _memory(report: Report) -> Section | None:
    profiles = {"before": report.before, "after": report.after}
    peaks = [
        _peak(side, profile) for side, profile in profiles.items() if profile is not None and profile.peak is not None
    ]
    if not report.memory and not peaks:
        return None
    note = ["Live signals are computed from their lifetimes in the file, not measured."] if peaks else []
    tables = (sides(report.memory, "Integer file (bytes)"),) if report.memory else ()
    return Section("memory", "Memory", (*peaks, *note), tables)


def _peak(side: str, profile: Profile) -> str:
    at = profile.peak or 0
    operator = profile.operators[at]
    return (
        f"Peak {side}: {operator.live_bytes:,} bytes of live signals, set by operator {at + 1} of "
        f"{len(profile.operators)}, {title_of(profile, at)} ({'x'.join(map(str, operator.shape))})."
    )


def _masks(report: Report) -> Section | None:
    if not report.masks:
        return None
    rows = tuple(
        (
            mask.layer,
            f"{mask.outputs_kept:,} of {mask.outputs:,}",
            f"{mask.inputs_kept:,} of {mask.inputs:,}",
            _percent(mask.kept),
        )
        for mask in report.masks
    )
    told = (
        "In the pictures outputs go down and inputs to the right, what is kept in blue; removed maps are drawn at the "
        "end, wherever they were."
    )
    return Section("masks", "What is left of each layer", (told,), (Table(("layer", *_KEPT), rows),))


_KEPT = ("outputs kept", "inputs kept", "weights kept")


def _curves(report: Report) -> Section | None:
    if not report.curves:
        return None
    rows = tuple(
        (f"{curve.stage}: {curve.what}", name, f"{len(values):,}", f"{values[0]:.4g}", f"{values[-1]:.4g}")
        for curve in report.curves
        for name, values in curve.figures.items()
        if values
    )
    return Section("curves", "Retraining", (), (Table(("stage", "", "epochs", "first", "last"), rows, (0, 1)),))


def _steps(report: Report) -> Section | None:
    if not report.steps:
        return None
    told = report.verdict.metric.told if report.verdict is not None else "{:.4g}".format
    name = f"validation {report.verdict.metric.name}" if report.verdict is not None else "validation score"
    heads = ("step", "sparsity", "MACs", "parameters", "int8 bytes", "TFLM arena", "latency (us)", name, "")
    rows = tuple(
        (
            step.name,
            _percent(step.sparsity),
            f"{step.macs:,}",
            f"{step.parameters:,}",
            f"{step.flash_bytes:,}",
            _count(step.arena_bytes),
            f"{step.latency_us:,.1f}",
            told(step.value),
            step.outcome,
        )
        for step in report.steps
    )
    return Section("steps", "Steps to the smallest model", (), (Table(heads, rows, (0, len(heads) - 1)),))


def _sensitivity(report: Report) -> Section | None:
    if not report.sensitivity:
        return None
    words = sorted({bits for each in report.sensitivity for bits in each.bits})
    signed = report.verdict.metric.signed if report.verdict is not None else "{:+.4g}".format
    rows = tuple(
        (each.layer, each.part, *(signed(found[word]) if word in found else "" for word in words))
        for each in report.sensitivity
        for found in [dict(zip(each.bits, each.losses, strict=True))]
    )
    heads = ("layer", "part", *(f"{word} bits" for word in words))
    lines = ["Loss of score with one part of one layer rounded, the rest in float."]
    if any(each.part == INT8_REST for each in report.sensitivity):
        lines.append(f'"{INT8_ALONE}": rounded as in the int8 file; "{INT8_REST}": all other layers are.')
    return Section("sensitivity", "Sensitivity to few bits", tuple(lines), (Table(heads, rows, (0, 1)),))


def _agreement(report: Report) -> Section | None:
    if not report.agreement:
        return None
    rows = tuple((fact.about, fact.told) for fact in report.agreement)
    return Section("agreement", "Agreement", (), (Table(("compared", "found"), rows, (0, 1)),))


def _notes(report: Report) -> Section | None:
    if not report.notes:
        return None
    rows = tuple((fact.about, fact.told) for fact in report.notes)
    return Section("notes", "Notes", (), (Table(("about", ""), rows, (0, 1)),))


def _again(report: Report) -> Section | None:
    if not report.commands and not report.versions:
        return None
    versions = tuple((name, version or "not installed") for name, version in report.versions.items())
    tables = (Table(("made with", "version"), versions, (0, 1)),) if versions else ()
    return Section("again", "To make it again", (), tables, report.commands)


_SECTIONS: tuple[Callable[[Report], Section | None], ...] = (
    _figures,
    _verdict,
    _layers,
    _memory,
    _masks,
    _curves,
    _steps,
    _sensitivity,
    _agreement,
    _notes,
    _again,
)
