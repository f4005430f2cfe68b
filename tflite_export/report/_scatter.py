"""Scores against costs as points."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tf_structprune.search import Metric
from tflite_export.report._bars import WIDTH
from tflite_export.report._names import legend_text, short_names
from tflite_export.report._svg import AFTER, BAD, BEFORE, INK
from tflite_export.report._values import Step

_HEIGHT = 3.0
_MARKERS = "os^vDP*Xp<d>"
_FILLS = ("full", "none", "left", "bottom", "right", "top")  # colours tell who is on the front, and follow the page

_COSTS: dict[str, Callable[[Step], float]] = {
    "MACs": lambda step: step.macs,
    "int8 file (bytes)": lambda step: step.flash_bytes,
    "latency (us)": lambda step: step.latency_us,
}


@dataclass(frozen=True)
class Point:
    """A model as a point: its name, cost and score."""

    name: str
    cost: float
    score: float


def draw_steps(steps: Sequence[Step], metric: Metric, limit: float) -> dict[str, Any]:
    """A figure for each cost, with the front of the steps: those that no other step beats in both.

    Args:
        steps: models on the way.
        metric: how scores are told.
        limit: the score at which the tolerance ends.
    """
    return {title: _draw_cost(steps, metric, limit, title) for title in _COSTS}


def _draw_cost(steps: Sequence[Step], metric: Metric, limit: float, title: str) -> Any:
    from matplotlib.figure import Figure

    cost, scale = _COSTS[title], metric.scale
    figure = Figure(figsize=(WIDTH, _HEIGHT), layout="constrained")
    axes = figure.subplots()
    best = front([Point(step.name, cost(step), scale * step.value) for step in steps], falls=metric.falls)
    axes.plot([p.cost for p in best], [p.score for p in best], color=BEFORE, linewidth=1.0, label="front")
    for accepted, colour, marker in ((True, AFTER, "o"), (False, BAD, "x")):
        shown = [step for step in steps if step.accepted is accepted]
        if shown:
            values = [scale * step.value for step in shown]
            label = "accepted" if accepted else "taken back"
            axes.plot([cost(s) for s in shown], values, marker, color=colour, label=label, linestyle="")
    for step in (step for step in steps if step.handed_over):
        axes.plot([cost(step)], [scale * step.value], "o", mfc="none", ms=12, color=INK, label="handed over")
    axes.axhline(scale * limit, color=INK, linestyle=":", linewidth=1.0)
    _finish(axes, figure, title, metric)
    return figure


def draw_runs(points: Sequence[Point], title: str, metric: Metric) -> Any:
    """A figure with a point for each run, each of 72 with a mark of its own: a shape, and how it is filled.

    Args:
        points: the runs.
        title: of the cost.
        metric: how scores are told.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, _HEIGHT + 0.2 * len(points)), layout="constrained")
    axes = figure.subplots()
    best = front(points, falls=metric.falls)
    axes.plot([p.cost for p in best], [p.score for p in best], color=BEFORE, linewidth=1.0, label="front")
    for at, (point, name) in enumerate(zip(points, short_names([point.name for point in points]), strict=True)):
        style: dict[str, Any] = {
            "color": AFTER if point in best else BEFORE,
            "marker": _MARKERS[at % len(_MARKERS)],
            "fillstyle": _FILLS[at // len(_MARKERS) % len(_FILLS)],
        }
        axes.plot([point.cost], [point.score], linestyle="", ms=7, label=legend_text(name), **style)
    _finish(axes, figure, title, metric)
    return figure


def front(points: Sequence[Point], *, falls: bool) -> list[Point]:
    """The points that no other one beats in cost and score both, by growing cost.

    Args:
        points: any.
        falls: whether a lower score is the better one.
    """
    sign = -1 if falls else 1
    best: list[Point] = []
    for point in sorted(points, key=lambda each: (each.cost, -sign * each.score)):
        if not best or sign * point.score > sign * best[-1].score:
            best.append(point)
    return best


def _finish(axes: Any, figure: Any, title: str, metric: Metric) -> None:
    from matplotlib.ticker import EngFormatter, MaxNLocator

    axes.set_xlabel(title)
    axes.set_ylabel(f"{metric.name}{' (%)' if metric.percent else ''}")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.grid(linewidth=0.6)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=2)
