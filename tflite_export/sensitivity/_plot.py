"""Losses and noise of the layers of an int8 file as bars."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from tf_structprune.sensitivity import check_matplotlib, write_figure

_COLORS = ("#D55E00", "#0072B2")  # Okabe and Ito's vermilion and blue; hatching tells them apart too
_HATCHES = ("", "///")
_ROW_INCHES = 0.32
_HEAD_INCHES = 1.2
_WIDTH_INCHES = 11.0
_LONGEST_NAME = 32


def plot_bars(
    names: Sequence[str],
    losses: Mapping[str, Sequence[float]],
    noise: Mapping[str, Sequence[float]],
    path: str | os.PathLike[str],
    *,
    unit: str,
    whole: float,
) -> None:
    """Write the plot: two fields of bars side by side, a row for each layer, the first one on top.

    Args:
        names: of the layers.
        losses: by what they are, two losses of each layer.
        noise: by what they are, two ratios of signal to noise of each layer, in decibels.
        path: the image.
        unit: what losses are counted in.
        whole: loss of the whole file, a line across.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    write_figure(_drawn(names, losses, noise, unit, whole), path)


def _drawn(
    names: Sequence[str],
    losses: Mapping[str, Sequence[float]],
    noise: Mapping[str, Sequence[float]],
    unit: str,
    whole: float,
) -> Any:
    check_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH_INCHES, _HEAD_INCHES + _ROW_INCHES * len(names)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    _draw_bars(left, losses)
    left.axvline(whole, color="black", linestyle="--", linewidth=1, label="the whole int8 file")
    left.set_xlabel(unit)
    _draw_bars(right, noise)
    right.set_xlabel("signal to quantization noise in dB, more is better")
    left.set_yticks(range(len(names)), [_short(name) for name in names], fontsize=8)
    left.invert_yaxis()
    for place in (left, right):
        place.grid(color="#dddddd", linewidth=0.6, axis="x")
        place.set_axisbelow(True)
        place.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False, fontsize=8)
    return figure


def _draw_bars(place: Any, series: Mapping[str, Sequence[float]]) -> None:
    height = 0.8 / len(series)
    for number, (label, values) in enumerate(series.items()):
        rows = [row + (number - (len(series) - 1) / 2) * height for row in range(len(values))]
        place.barh(rows, values, height, label=label, color=_COLORS[number], hatch=_HATCHES[number], edgecolor="white")


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"...{name[3 - _LONGEST_NAME :]}"
