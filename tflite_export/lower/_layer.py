"""A convolution that computes only what its masks keep, from standard operations."""

from collections.abc import Sequence
from typing import Any, Self

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from tflite_export.lower._structure import Block, Grid, Piece, grid_of

GATHER = "gather"
"""One matrix product a block: a slice for each tap of each run of maps, concatenated."""
SUM = "sum"
"""One smaller convolution for each set of taps, added up."""
_MOST_PARTS = 10  # kMaxInputNum in tensorflow/lite/micro/kernels/concatenation.cc


@keras.saving.register_keras_serializable(package="tflite_export")
class LoweredConv2D(keras.layers.Layer):  # type: ignore[misc]  # Keras is untyped
    """A 2-D convolution with fewer weights than its kernel has room for, channels last.

    Its blocks of output maps are computed one by one and concatenated. Slices, padding, convolution,
    addition and concatenation are all that it uses, so every TFLite runtime knows it.

    Args:
        kernel_size: height and width of the convolution that it stands for.
        strides: its strides.
        padding: "same" or "valid".
        dilation_rate: its dilation.
        blocks: the blocks of output maps, each with its pieces, see `Block`.
        form: "gather" or "sum".
        activation: applied to every block; what `keras.activations.get` takes.
    """

    def __init__(
        self,
        *,
        kernel_size: Sequence[int],
        strides: Sequence[int],
        padding: str,
        dilation_rate: Sequence[int],
        blocks: Sequence[Any],
        form: str,
        activation: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.kernel_size = tuple(kernel_size)
        self.strides = tuple(strides)
        self.padding = padding
        self.dilation_rate = tuple(dilation_rate)
        self.blocks = tuple(_as_block(block) for block in blocks)
        self.form = form
        self.activation = keras.activations.get(activation)

    def build(self, input_shape: Any) -> None:
        """Make one kernel a block and set of taps, and the bias."""
        self.kernels = [
            [
                self.add_weight(shape=(taps, sum(piece.maps for piece in pieces), block.maps), name=f"kernel_{b}_{t}")
                for t, (taps, pieces) in enumerate((len(key), value) for key, value in block.by_taps().items())
            ]
            for b, block in enumerate(self.blocks)
        ]
        self.bias = self.add_weight(shape=(self.blocks[-1].stop,), initializer="zeros", name="bias")
        self.built = True

    def take(self, kernel: NDArray[Any], bias: NDArray[Any]) -> None:
        """Set the weights from those of the whole convolution.

        Args:
            kernel: shape (height, width, input maps, output maps).
            bias: shape (output maps,).
        """
        flat = kernel.reshape(-1, *kernel.shape[2:])
        for block, variables in zip(self.blocks, self.kernels, strict=True):
            for (taps, pieces), variable in zip(block.by_taps().items(), variables, strict=True):
                maps = np.concatenate([np.arange(piece.start, piece.stop) for piece in pieces])
                variable.assign(flat[np.ix_(np.array(taps), maps, np.arange(block.start, block.stop))])
        self.bias.assign(bias)

    def call(self, inputs: Any) -> Any:
        """The convolution's output."""
        compute = self._gathered if self.form == GATHER else self._summed
        made = [
            self.activation(compute(inputs, block, kernels))
            for block, kernels in zip(self.blocks, self.kernels, strict=True)
        ]
        return _concatenated(made)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """As the convolution's."""
        sizes = (_output_size(size, *self._axis(axis)[:3], self.padding) for axis, size in enumerate(input_shape[1:3]))
        return (input_shape[0], *sizes, self.blocks[-1].stop)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "kernel_size": list(self.kernel_size),
            "strides": list(self.strides),
            "padding": self.padding,
            "dilation_rate": list(self.dilation_rate),
            "blocks": [_as_list(block) for block in self.blocks],
            "form": self.form,
            "activation": keras.activations.serialize(self.activation),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """The layer of a configuration, which is not changed."""
        return cls(**dict(config))

    def _axis(self, axis: int) -> tuple[int, int, int]:
        """Kernel size, stride and dilation along height (0) or width (1)."""
        return self.kernel_size[axis], self.strides[axis], self.dilation_rate[axis]

    def _bias_of(self, block: Block) -> Any:
        return self.bias[block.start : block.stop]

    def _gathered(self, x: Any, block: Block, kernels: list[Any]) -> Any:
        sizes = [int(size) for size in x.shape[1:3]]
        outputs = [_output_size(size, *self._axis(axis), self.padding) for axis, size in enumerate(sizes)]
        pads = [self._pad(axis, size) for axis, size in enumerate(sizes)]
        padded = _padded(x, pads)
        rows, parts = [], []
        for (taps, pieces), kernel in zip(block.by_taps().items(), kernels, strict=True):
            for index, tap in enumerate(taps):
                window = self._window(padded, tap, outputs)
                parts += [window[..., piece.start : piece.stop] for piece in pieces]
                rows.append(kernel[index])
        gathered = _concatenated(parts)
        kernel = rows[0] if len(rows) == 1 else ops.concatenate(rows, axis=0)
        return ops.conv(gathered, kernel[None, None], padding="valid") + self._bias_of(block)

    def _window(self, padded: Any, tap: int, outputs: list[int]) -> Any:
        """What one tap sees of the padded input, a value an output pixel."""
        top, left = divmod(tap, self.kernel_size[1])
        (row, column), (down, right) = (
            (top * self.dilation_rate[0], left * self.dilation_rate[1]),
            self.strides,
        )
        bottom, end = row + (outputs[0] - 1) * down + 1, column + (outputs[1] - 1) * right + 1
        return padded[:, row:bottom:down, column:end:right, :]

    def _pad(self, axis: int, size: int) -> tuple[int, int]:
        """Zeros before and behind, as Keras's padding="same" puts them."""
        if self.padding == "valid":
            return 0, 0
        kernel, stride, dilation = self._axis(axis)
        total = max(0, (_rounded_up(size, stride) - 1) * stride + (kernel - 1) * dilation + 1 - size)
        return total // 2, total - total // 2

    def _summed(self, x: Any, block: Block, kernels: list[Any]) -> Any:
        total = None
        for (taps, pieces), kernel in zip(block.by_taps().items(), kernels, strict=True):
            grid = grid_of(taps, self.kernel_size[1])
            part = self._small(x, pieces, grid, kernel)
            total = part + self._bias_of(block) if total is None else total + part
        return total

    def _small(self, x: Any, pieces: tuple[Piece, ...], grid: Grid | None, kernel: Any) -> Any:
        """The convolution with the taps of a grid over some runs of input maps."""
        if grid is None:
            raise ValueError(f"Layer '{self.name}': the taps are no grid. Received: form='sum'. Use form='gather'.")
        whole = len(pieces) == 1 and pieces[0].maps == x.shape[-1]
        runs = [x if whole else x[..., piece.start : piece.stop] for piece in pieces]
        maps = _concatenated(runs)
        sizes = [int(size) for size in x.shape[1:3]]
        places = ((grid.top, grid.rows, grid.row_step), (grid.left, grid.columns, grid.column_step))
        pads = [
            self._grid_pad(axis, size, *place) for (axis, size), place in zip(enumerate(sizes), places, strict=True)
        ]
        dilation = (grid.row_step * self.dilation_rate[0], grid.column_step * self.dilation_rate[1])
        weights = ops.reshape(kernel, (grid.rows, grid.columns, *kernel.shape[1:]))
        same = all(
            stride == 1 and pad == ((n - 1) * step // 2, (n - 1) * step - (n - 1) * step // 2)
            for stride, pad, n, step in zip(self.strides, pads, (grid.rows, grid.columns), dilation, strict=True)
        )
        steps = [step if n > 1 else 1 for n, step in zip((grid.rows, grid.columns), dilation, strict=True)]
        return ops.conv(
            maps if same else _padded(maps, pads),
            weights,
            strides=self.strides,
            padding="same" if same else "valid",
            dilation_rate=steps if max(self.strides) == 1 else 1,
        )

    def _grid_pad(self, axis: int, size: int, first: int, count: int, step: int) -> tuple[int, int]:
        """Zeros before and behind (less than none: pixels to drop) such that a grid sees what it needs."""
        _, stride, dilation = self._axis(axis)
        outputs = _output_size(size, *self._axis(axis), self.padding)
        before = self._pad(axis, size)[0] - first * dilation
        seen = (outputs - 1) * stride + (count - 1) * step * dilation + 1
        return before, seen - size - before


def _concatenated(parts: list[Any]) -> Any:
    """All parts side by side, in as many steps as it takes."""
    while len(parts) > 1:
        runs = [parts[at : at + _MOST_PARTS] for at in range(0, len(parts), _MOST_PARTS)]
        parts = [run[0] if len(run) == 1 else ops.concatenate(run, axis=-1) for run in runs]
    return parts[0]


def _rounded_up(size: int, stride: int) -> int:
    """size / stride, rounded up."""
    return -(-size // stride)


def _output_size(size: int, kernel: int, stride: int, dilation: int, padding: str) -> int:
    reach = 0 if padding == "same" else (kernel - 1) * dilation
    return _rounded_up(size - reach, stride)


def _padded(x: Any, pads: Sequence[tuple[int, int]]) -> Any:
    """The input with zeros around it, or without the pixels that a negative number drops."""
    (top, bottom), (left, right) = pads
    height, width = x.shape[1:3]
    if min(top, bottom, left, right) < 0:
        x = x[:, max(0, -top) : height + min(0, bottom), max(0, -left) : width + min(0, right), :]
    if max(top, bottom, left, right) <= 0:
        return x
    return ops.pad(x, ((0, 0), (max(0, top), max(0, bottom)), (max(0, left), max(0, right)), (0, 0)))


def _as_block(block: Any) -> Block:
    if isinstance(block, Block):
        return block
    start, stop, pieces = block
    return Block(start, stop, tuple(Piece(first, last, tuple(taps)) for first, last, taps in pieces))


def _as_list(block: Block) -> list[Any]:
    return [block.start, block.stop, [[piece.start, piece.stop, list(piece.taps)] for piece in block.pieces]]
