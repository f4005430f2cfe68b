"""Memory over one inference as steps."""

from collections.abc import Mapping
from typing import Any

from tflite_export.report._bars import WIDTH
from tflite_export.report._layers import title_of
from tflite_export.report._names import short_names
from tflite_export.report._svg import AFTER, BEFORE
from tflite_export.report._values import Profile

_COLOURS = {"before": BEFORE, "after": AFTER}
_DASHES = {"before": "--", "after": "-"}
_HEIGHT = 2.9


def draw_timeline(profiles: Mapping[str, Profile]) -> Any:
    """A figure with the live bytes operator by operator, and the peak of each file with its layer.

    Args:
        profiles: by side, "before" or "after"; with an operator at least.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, MaxNLocator

    figure = Figure(figsize=(WIDTH, _HEIGHT), layout="constrained")
    axes = figure.subplots()
    for side, profile in profiles.items():
        sizes = [operator.live_bytes for operator in profile.operators]
        style: dict[str, Any] = {"color": _COLOURS[side], "linestyle": _DASHES[side]}
        at = profile.peak or 0
        (layer,) = short_names([title_of(profile, at)])
        label = f"{side}: peak {sizes[at]:,} at {layer}"
        axes.step(range(1, len(sizes) + 1), sizes, where="mid", label=label, linewidth=1.6, **style)
        axes.plot([at + 1], [sizes[at]], "o", mfc="none", ms=9, color=_COLOURS[side])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("operator, in the order in which they run")
    axes.set_ylabel("live bytes")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(EngFormatter(sep=""))
    axes.grid(linewidth=0.6)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=1)
    return figure
