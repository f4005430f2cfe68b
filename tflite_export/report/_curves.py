"""Figures by epoch, and losses by word length, as lines."""

from collections.abc import Sequence
from typing import Any

from tflite_export.report._bars import WIDTH
from tflite_export.report._names import legend_text, short_names
from tflite_export.report._svg import AFTER, BEFORE
from tflite_export.report._values import Curve, Sensitivity

_HEIGHT = 2.2
_MARKERS = "os^vDP*X"
_LOSS, _VALIDATION = "loss", "val_"
_SKIPPED = ("learning_rate",)  # Keras tells it with the figures, and it is no result
_MOST_NAMED = 8


def shown_of(curve: Curve) -> dict[str, tuple[float, ...]]:
    """Of the figures of a retraining those that are results."""
    return {name: values for name, values in curve.figures.items() if name not in _SKIPPED}


def draw_curves(curve: Curve) -> Any:
    """A figure with the losses of a retraining on the left and the other figures on the right.

    Args:
        curve: with a figure that is shown.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    shown = shown_of(curve)
    sides = [{name: v for name, v in shown.items() if name.endswith(_LOSS) is losses} for losses in (True, False)]
    parts = [part for part in sides if part]
    figure = Figure(figsize=(WIDTH, _HEIGHT * len(parts)), layout="constrained")
    for axes, part in zip(figure.subplots(len(parts), squeeze=False).ravel(), parts, strict=True):
        for at, (name, values) in enumerate(part.items()):
            held_out = name.startswith(_VALIDATION)
            style: dict[str, Any] = (
                {"color": AFTER, "linestyle": "-"} if held_out else {"color": BEFORE, "linestyle": "--"}
            )
            marker = _MARKERS[at % len(_MARKERS)]
            axes.plot(
                range(1, len(values) + 1), values, label=legend_text(name), marker=marker, ms=4, linewidth=1.4, **style
            )
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(linewidth=0.6)
        axes.legend()
    axes.set_xlabel("epoch")
    return figure


def draw_sensitivity(rows: Sequence[Sensitivity], scale: float) -> Any:
    """A figure with the loss of score by word length, a line a layer; the layers that lose most are named.

    Args:
        rows: of one part.
        scale: from losses to the unit in which they are told.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(WIDTH, 1.6 * _HEIGHT), layout="constrained")
    axes = figure.subplots()
    worst = sorted(rows, key=lambda row: -max(row.losses, default=0.0))
    names = short_names([row.layer for row in worst[:_MOST_NAMED]])
    for at, row in enumerate(worst):
        named = at < _MOST_NAMED
        style: dict[str, Any] = (
            {"color": AFTER, "marker": _MARKERS[at], "label": legend_text(names[at])} if named else {"color": BEFORE}
        )
        losses = [scale * loss for loss in row.losses]
        axes.plot(row.bits, losses, ms=4, linewidth=1.2, alpha=1.0 if named else 0.5, **style)
    axes.set_yscale("symlog", linthresh=1.0)
    axes.yaxis.set_major_formatter("{x:g}")  # its own writes TeX
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("word length (bits)")
    axes.set_ylabel("loss of score")
    axes.grid(linewidth=0.6)
    axes.legend(fontsize=8)
    return figure
