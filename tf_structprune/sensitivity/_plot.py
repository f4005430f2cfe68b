"""Losses by word length as small plots, one a layer."""

import importlib.util
import math
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Okabe and Ito's blue and vermilion, told apart with every kind of colour blindness; shapes and dashes differ too.
_STYLES: dict[str, dict[str, Any]] = {
    "weights": {"color": "#0072B2", "marker": "o", "linestyle": "-"},
    "signal": {"color": "#D55E00", "marker": "s", "linestyle": "--"},
}
_MOST_COLUMNS = 6
_PANEL_INCHES = (2.0, 1.6)
_HEAD_INCHES = 0.5
_LONGEST_TITLE = 26
_TICKS = (0.5, 1, 3, 10, 30, 100, 300)  # of losses above 2, on both sides of 0


def check_matplotlib() -> None:
    """Refuses when matplotlib is not installed.

    Raises:
        ModuleNotFoundError: it is not.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise ModuleNotFoundError(
            "The plot needs matplotlib. Received: no module 'matplotlib'. Install tf-structprune[plot]."
        )


def plot_losses(
    panels: Mapping[str, Mapping[str, Mapping[int, float]]], path: str | os.PathLike[str], *, unit: str
) -> None:
    """Write the plot.

    Args:
        panels: by layer, then "weights" or "signal", then word length: the loss.
        path: the image.
        unit: what the y axis counts.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    write_figure(draw_losses(panels, unit=unit), path)


def write_figure(figure: Any, path: str | os.PathLike[str]) -> None:
    """Write a figure of matplotlib; it appears complete or not at all, and replaces what is there.

    Args:
        figure: the figure.
        path: the image, in the format of its suffix.
    """
    target = Path(path)
    partial = target.with_name(f".{secrets.token_hex(4)}.{target.name}")
    try:
        figure.savefig(partial, dpi=120)
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def draw_losses(panels: Mapping[str, Mapping[str, Mapping[int, float]]], *, unit: str) -> Any:
    """The figure; arguments as those of `plot_losses`."""
    check_matplotlib()
    from matplotlib.figure import Figure

    columns = min(_MOST_COLUMNS, max(1, math.ceil(math.sqrt(len(panels)))))
    rows = -(-len(panels) // columns)
    size = (columns * _PANEL_INCHES[0] + _HEAD_INCHES, rows * _PANEL_INCHES[1] + 2 * _HEAD_INCHES)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for place, (layer, parts) in zip(axes, panels.items(), strict=False):
        _draw_panel(place, layer, parts)
    for place in axes[len(panels) :]:
        place.set_visible(False)
    for place in axes[max(0, len(panels) - columns) : len(panels)]:
        place.tick_params(labelbottom=True)  # also where the row below is empty
    _scale(axes[0], panels)
    figure.supxlabel("Word length (bits)", fontsize=10)
    figure.supylabel(unit, fontsize=10)
    lines = {line.get_label(): line for place in axes[: len(panels)] for line in place.get_lines()}
    shown = {part: lines[part] for part in _STYLES if part in lines}
    figure.legend(shown.values(), shown, loc="outside upper center", ncols=2, frameon=False, fontsize=9)
    return figure


def _draw_panel(place: Any, layer: str, parts: Mapping[str, Mapping[int, float]]) -> None:
    for part, losses in parts.items():
        words = sorted(losses)
        place.plot(words, [losses[word] for word in words], label=part, markersize=4, linewidth=1.2, **_STYLES[part])
    place.set_title(layer if len(layer) <= _LONGEST_TITLE else f"...{layer[3 - _LONGEST_TITLE :]}", fontsize=8)
    place.grid(color="#dddddd", linewidth=0.6)
    place.set_axisbelow(True)
    place.tick_params(labelsize=8)


def _scale(place: Any, panels: Mapping[str, Mapping[str, Mapping[int, float]]]) -> None:
    """Axes of all panels: whole bits; losses in proportion up to 1, then by their logarithm.

    So both a tenth of a point and the collapse at two bits can be read.
    """
    from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

    words = sorted({word for parts in panels.values() for losses in parts.values() for word in losses})
    losses = [loss for parts in panels.values() for by_word in parts.values() for loss in by_word.values()]
    place.set_xticks(words)
    if max(map(abs, losses)) > 2:
        place.set_yscale("symlog", linthresh=1.0)
        place.yaxis.set_major_locator(FixedLocator([-value for value in _TICKS] + [0, *_TICKS]))
        place.yaxis.set_minor_locator(NullLocator())
        place.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        place.set_ylim(min(-0.3, 1.3 * min(losses)), 1.5 * max(1.0, max(losses)))
