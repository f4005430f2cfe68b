"""Figures by layer as bars, before and after."""

import math
from collections.abc import Sequence
from typing import Any

from tflite_export.report._names import short_names
from tflite_export.report._svg import AFTER, BEFORE

WIDTH = 4.4
"""Inches of a picture that is read on a phone."""
_HEAD, _ROW = 0.9, 0.3


def draw_bars(titles: Sequence[str], values: Sequence[tuple[float | None, float | None]]) -> Any:
    """A figure with a pair of bars a layer, the first on top; what is not known has no bar.

    Args:
        titles: of the layers.
        values: of each, before and after.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, MaxNLocator

    figure = Figure(figsize=(WIDTH, _HEAD + _ROW * len(titles)), layout="constrained")
    axes = figure.subplots()
    places = range(len(titles))
    for side, (label, colour) in enumerate((("before", BEFORE), ("after", AFTER))):
        lengths = [_length(pair[side]) for pair in values]
        axes.barh([at + 0.38 * side - 0.19 for at in places], lengths, height=0.36, color=colour, label=label)
    axes.set_yticks(places, short_names(titles), fontsize=9)
    axes.set_ylim(len(titles) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", linewidth=0.6)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.spines["bottom"].set_visible(False)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper right", ncols=2)
    return figure


def _length(value: float | None) -> float:
    """Of a bar; what is no number, or without an end, has none."""
    return value if value is not None and math.isfinite(value) else 0.0
