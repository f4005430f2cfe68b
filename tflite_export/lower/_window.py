"""Where in its input a convolution finds what one part of its kernel sees: pure Python."""

from collections.abc import Sequence
from dataclasses import dataclass

from tflite_export.lower._parts import Part, Term


@dataclass(frozen=True)
class Axis:
    """A convolution along height or width.

    Attributes:
        size: pixels of the input.
        kernel: taps of the kernel.
        stride: its stride.
        dilation: its dilation.
        padding: "same" or "valid".
    """

    size: int
    kernel: int
    stride: int
    dilation: int
    padding: str

    @property
    def outputs(self) -> int:
        """Pixels of the output."""
        reach = 0 if self.padding == "same" else (self.kernel - 1) * self.dilation
        return _rounded_up(self.size - reach, self.stride)

    @property
    def before(self) -> int:
        """Zeros before the input, as Keras's padding="same" puts them."""
        if self.padding == "valid":
            return 0
        reach = (self.outputs - 1) * self.stride + (self.kernel - 1) * self.dilation + 1
        return max(0, reach - self.size) // 2

    def window(self, first: int, count: int, step: int) -> tuple[int, int]:
        """Pixels from and to (exclusive) that `count` taps from `first` on see; outside the input are zeros."""
        start = first * self.dilation - self.before
        return start, start + (self.outputs - 1) * self.stride + (count - 1) * step * self.dilation + 1


@dataclass(frozen=True)
class Reading:
    """How a small convolution reads its input.

    Attributes:
        windows: rows from and to, columns from and to, for each part.
        padding: "same" or "valid" for the small convolution.
        strides: its strides.
        dilation: its dilation.
        steps: pixels from one value of a window to the next, down and right.
    """

    windows: tuple[tuple[tuple[int, int], tuple[int, int]], ...]
    padding: str
    strides: tuple[int, int]
    dilation: tuple[int, int]
    steps: tuple[int, int]


def reading(axes: tuple[Axis, Axis], term: Term) -> Reading:
    """How a term reads an input; its windows are as small as can be.

    A single tap reads just the pixels that it needs; a larger kernel leaves stride, and where all parts
    lie alike the padding too, to the convolution.
    """
    base = term.base
    places = (base.rows, base.row_step), (base.columns, base.column_step)
    strides = axes[0].stride, axes[1].stride
    sides = [
        [axis.window(part.top if index == 0 else part.left, *place) for part in term.parts]
        for index, (axis, place) in enumerate(zip(axes, places, strict=True))
    ]
    dilation = tuple(step * axis.dilation if n > 1 else 1 for axis, (n, step) in zip(axes, places, strict=True))
    if base.size == 1:
        return Reading(_pairs(sides), "valid", (1, 1), (1, 1), strides)
    same = all(
        _pads_itself(axis, n, step, side)
        for axis, (n, _), step, side in zip(axes, places, dilation, sides, strict=True)
    )
    if same:
        sides = [
            side if n == 1 else [(0, axis.size)] * len(side)
            for axis, (n, _), side in zip(axes, places, sides, strict=True)
        ]
    return Reading(_pairs(sides), "same" if same else "valid", strides, (dilation[0], dilation[1]), (1, 1))


def cannot_stride(axes_strides: Sequence[int], dilation: Sequence[int], term: Term) -> bool:
    """Whether a term would need a stride and a dilation at once, which no runtime has."""
    base = term.base
    spread = (base.rows > 1 and base.row_step * dilation[0] > 1) or (
        base.columns > 1 and base.column_step * dilation[1] > 1
    )
    return spread and max(axes_strides) > 1


def pads_whole(axes: tuple[Axis, Axis], how: Reading, parts: Sequence[Part], inputs: int) -> bool:
    """Whether to put zeros around the whole input once, and not around each part.

    It is cheaper where the parts that need zeros have more maps than the input, `inputs`, and needed where
    a part sees nothing but zeros.
    """
    beyond = [[(a < 0 or b > axis.size) for axis, (a, b) in zip(axes, window, strict=True)] for window in how.windows]
    blank = any(a >= axis.size or b <= 0 for w in how.windows for axis, (a, b) in zip(axes, w, strict=True))
    maps = sum(part.maps for part, sides in zip(parts, beyond, strict=True) if any(sides))
    return blank or maps > inputs


@dataclass(frozen=True)
class Cut:
    """How a window is taken from one axis of an input: a slice, then zeros, then every so many pixels.

    Attributes:
        start: first pixel.
        stop: pixel behind the last.
        step: pixels from one to the next, 1 where zeros come first.
        zeros: zeros before and behind.
        late_step: pixels from one to the next once the zeros are there.
    """

    start: int
    stop: int
    step: int
    zeros: tuple[int, int]
    late_step: int


def cut_of(size: int, window: tuple[int, int], step: int) -> Cut:
    """The cut of every `step`-th pixel of a window, pixels from and to, from an axis of that size."""
    start, stop = window
    zeros = max(0, -start), max(0, stop - size)
    inside = zeros == (0, 0)
    return Cut(max(0, start), min(size, stop), step if inside else 1, zeros, 1 if inside else step)


def _pads_itself(axis: Axis, count: int, step: int, windows: list[tuple[int, int]]) -> bool:
    """Whether padding="same" of the small convolution puts the zeros where the windows have them."""
    if count == 1:
        return True
    alike = Axis(axis.size, count, axis.stride, step, "same")
    return alike.outputs == axis.outputs and all(start == -alike.before for start, _ in windows)


def _pairs(sides: list[list[tuple[int, int]]]) -> tuple[tuple[tuple[int, int], tuple[int, int]], ...]:
    return tuple(zip(*sides, strict=True))


def _rounded_up(size: int, stride: int) -> int:
    return -(-size // stride)
