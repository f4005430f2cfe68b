"""Windows that slide over height and width: padding, and the view of all positions."""

from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

Padding = Literal["SAME", "VALID"]
"""Padding by its name in the TFLite schema."""

_Number = TypeVar("_Number", bound=np.generic)


@dataclass(frozen=True)
class Window:
    """How a kernel slides over an image.

    Attributes:
        strides: steps in (height, width), 1 or above.
        padding: "SAME" or "VALID".
        dilations: distances of the taps in (height, width), 1 or above.
    """

    strides: tuple[int, int] = (1, 1)
    padding: Padding = "VALID"
    dilations: tuple[int, int] = (1, 1)

    def __post_init__(self) -> None:
        """Checks the options."""
        if self.padding not in ("SAME", "VALID"):
            raise ValueError(f"padding must be 'SAME' or 'VALID'. Received: padding={self.padding!r}.")
        if min(*self.strides, *self.dilations) < 1:
            raise ValueError(
                f"strides and dilations must be 1 or above. Received: strides={self.strides}, "
                f"dilations={self.dilations}. Use 1 for a dense window."
            )


def windows(images: NDArray[_Number], taps: tuple[int, int], window: Window, *, fill: int = 0) -> NDArray[_Number]:
    """All positions of a window over padded images.

    SAME pads as TFLite does (kernels/padding.h): so that the output has `ceil(size / stride)` positions, the
    odd pixel behind.

    Args:
        images: `(n, height, width, channels)`.
        taps: kernel height and width.
        window: strides, padding and dilations.
        fill: what padded pixels hold.

    Returns:
        A read-only view `(n, rows, columns, kernel height, kernel width, channels)`.

    Raises:
        ValueError: the images are smaller than the window.
    """
    spans = [(tap - 1) * dilation + 1 for tap, dilation in zip(taps, window.dilations, strict=True)]
    if window.padding == "SAME":
        margins = [_same(*sizes) for sizes in zip(images.shape[1:3], spans, window.strides, strict=True)]
        images = np.pad(images, ((0, 0), *margins, (0, 0)), constant_values=fill)
    if images.shape[1] < spans[0] or images.shape[2] < spans[1]:
        raise ValueError(
            f"Images must be at least as large as the window. Received: {images.shape[1:3]}, window of {tuple(spans)} "
            "pixels. Use larger images or SAME padding."
        )
    view = np.lib.stride_tricks.sliding_window_view(images, spans, axis=(1, 2))
    rows, columns = window.strides
    view = view[:, ::rows, ::columns, :, :: window.dilations[0], :: window.dilations[1]]
    return view.transpose(0, 1, 2, 4, 5, 3)


def _same(size: int, span: int, stride: int) -> tuple[int, int]:
    missing = max((-(-size // stride) - 1) * stride + span - size, 0)
    return missing // 2, missing - missing // 2
