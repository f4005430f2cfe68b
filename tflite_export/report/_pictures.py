"""The pictures of a report, drawn with matplotlib: which there are, and what they show."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape
from typing import Any

from tflite_export.report._bars import draw_bars
from tflite_export.report._curves import draw_curves, draw_sensitivity, shown_of
from tflite_export.report._layers import joined
from tflite_export.report._mask_image import map_pixels, mask_image
from tflite_export.report._mask_picture import MaskPicture
from tflite_export.report._scatter import draw_steps
from tflite_export.report._sections import columns_of
from tflite_export.report._svg import STYLE, svg_of
from tflite_export.report._timeline import draw_timeline
from tflite_export.report._values import INT8_ALONE, INT8_REST, Report


@dataclass(frozen=True)
class Picture:
    """A picture in a page.

    Attributes:
        markup: the element.
        caption: what it shows.
        small: whether several fit beside each other.
    """

    markup: str
    caption: str
    small: bool = False


def pictures_of(report: Report) -> dict[str, tuple[Picture, ...]]:
    """The pictures by key of the section that they belong to.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    with drawing():
        drawn = {key: draw(report) for key, draw in _DRAWN.items()}
    return drawn | {"masks": _masks(report)}


@contextlib.contextmanager
def drawing() -> Iterator[None]:
    """Within the block, matplotlib draws in the style of the pictures."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def picture(figure: Any, key: str, caption: str) -> Picture:
    """A figure as a picture."""
    return Picture(svg_of(figure, key, escape(caption)), caption)


def _bars(report: Report) -> tuple[Picture, ...]:
    pairs = joined(report.before, report.after)
    shown = {title: [pair.values(of) for pair in pairs] for title, of in columns_of(pairs).items()}
    titles = [pair.title for pair in pairs]
    return tuple(
        picture(draw_bars(titles, values), f"bars{at}", f"{title} by layer, before and after")
        for at, (title, values) in enumerate(shown.items())
    )


def _memory(report: Report) -> tuple[Picture, ...]:
    sides = {"before": report.before, "after": report.after}
    known = {side: profile for side, profile in sides.items() if profile is not None and profile.operators}
    if not known:
        return ()
    caption = "Live signals while each operator runs; the ring is the peak"
    return (picture(draw_timeline(known), "memory", caption),)


def _curves(report: Report) -> tuple[Picture, ...]:
    return tuple(
        picture(draw_curves(curve), f"curve{at}", f"Stage {curve.stage}, {curve.what}, by epoch")
        for at, curve in enumerate(report.curves)
        if any(len(values) > 1 for values in shown_of(curve).values())
    )


def _steps(report: Report) -> tuple[Picture, ...]:
    if not report.steps or report.verdict is None:
        return ()
    costs = draw_steps(report.steps, report.verdict.metric, report.verdict.limit)
    return tuple(
        picture(figure, f"steps{at}", f"Score against {title}, all steps; the dotted line is the tolerance's end")
        for at, (title, figure) in enumerate(costs.items())
    )


def _sensitivity(report: Report) -> tuple[Picture, ...]:
    scale = report.verdict.metric.scale if report.verdict is not None else 1.0
    parts = dict.fromkeys(each.part for each in report.sensitivity if each.part not in (INT8_ALONE, INT8_REST))
    return tuple(
        picture(
            draw_sensitivity([each for each in report.sensitivity if each.part == part], scale),
            f"sensitivity{at}",
            f"Loss of score by word length of the {part}, a line a layer",
        )
        for at, part in enumerate(parts)
    )


def _masks(report: Report) -> tuple[Picture, ...]:
    pixels = map_pixels(report.masks)
    return tuple(Picture(mask_image(mask, pixels), _told(mask), small=True) for mask in report.masks)


def _told(mask: MaskPicture) -> str:
    """What a picture of masks shows, in words."""
    told = f"{mask.layer}: {mask.outputs:,} outputs x {mask.inputs:,} inputs"
    if mask.block != (1, 1):
        told += f", {mask.block[0]} x {mask.block[1]} weights a kernel"
    if mask.cut:
        told += f"; cut off at {mask.rows // mask.block[0]:,} and {mask.columns // mask.block[1]:,}"
    return told


_DRAWN: dict[str, Callable[[Report], tuple[Picture, ...]]] = {
    "layers": _bars,
    "memory": _memory,
    "curves": _curves,
    "steps": _steps,
    "sensitivity": _sensitivity,
}
