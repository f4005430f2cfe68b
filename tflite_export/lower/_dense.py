"""A dense layer behind `Flatten` that reads only what its masks keep, from standard operations."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any, Self

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from tflite_export.lower._layer import activated, concatenated
from tflite_export.lower._structure import Block, Piece


@dataclass(frozen=True)
class Span:
    """Evenly spaced positions of some input maps.

    Attributes:
        first: the first position.
        step: positions from one to the next.
        count: number of positions.
        start: first input map.
        stop: input map behind the last.
    """

    first: int
    step: int
    count: int
    start: int
    stop: int

    @property
    def positions(self) -> range:
        """The positions."""
        return range(self.first, self.first + self.step * self.count, self.step)


def spans_of(piece: Piece, positions: int) -> tuple[Span, ...]:
    """The positions that a piece keeps as few evenly spaced spans, each of which lies in whole rows of `step`.

    Args:
        piece: input maps with the positions that they keep as taps.
        positions: number of positions of a map.
    """
    left = set(piece.taps)
    found = []
    while left:
        first = min(left)
        steps = range(1, max(2, positions - first))
        step, count = max(((s, _length(left, first, s)) for s in steps), key=lambda each: each[1])
        count = min(count, max(1, positions // step))
        found.append(Span(first, step if count > 1 else 1, count, piece.start, piece.stop))
        left -= set(found[-1].positions)
    return tuple(found)


def _length(left: set[int], first: int, step: int) -> int:
    count = 1
    while first + count * step in left:
        count += 1
    return count


@keras.saving.register_keras_serializable(package="tflite_export")
class LoweredDense(keras.layers.Layer):  # type: ignore[misc]  # Keras is untyped
    """A dense layer with fewer weights than its kernel has room for.

    Reshapes, slices, one matrix product a block and concatenation are all that it uses.

    Args:
        positions: pixels of the maps that were flattened; feature `p * maps + c` is pixel `p` of map `c`.
        blocks: the blocks of outputs with what they read; taps are positions.
        activation: applied to the output; what `keras.activations.get` takes.
    """

    def __init__(self, *, positions: int, blocks: Sequence[Any], activation: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.positions = positions
        self.blocks = tuple(_as_block(block) for block in blocks)
        self.activation = keras.activations.get(activation)
        self.spans = tuple(
            tuple(span for piece in block.pieces for span in spans_of(piece, positions)) for block in self.blocks
        )

    def build(self, input_shape: Any) -> None:
        """Make one kernel a block, and the bias."""
        self.kernels = [
            self.add_weight(shape=(block.reads, block.maps), name=f"kernel_{index}")
            for index, block in enumerate(self.blocks)
        ]
        self.bias = self.add_weight(shape=(self.blocks[-1].stop,), initializer="zeros", name="bias")
        self.built = True

    def take(self, kernel: NDArray[Any], bias: NDArray[Any]) -> None:
        """Set the weights from those of the whole layer.

        Args:
            kernel: shape (1, positions, input maps, outputs).
            bias: shape (outputs,).
        """
        for block, spans, variable in zip(self.blocks, self.spans, self.kernels, strict=True):
            rows = [
                kernel[0, list(span.positions), span.start : span.stop, block.start : block.stop].reshape(
                    -1, block.maps
                )
                for span in spans
            ]
            variable.assign(np.concatenate(rows))
        self.bias.assign(bias)

    def call(self, inputs: Any) -> Any:
        """The dense layer's output."""
        maps = ops.reshape(inputs, (-1, self.positions, inputs.shape[-1] // self.positions))
        made = []
        for block, spans, kernel in zip(self.blocks, self.spans, self.kernels, strict=True):
            read = concatenated([self._seen(maps, span) for span in spans])
            made.append(ops.matmul(read, kernel) + self.bias[block.start : block.stop])
        return activated(made, self.activation)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """As the dense layer's."""
        return (input_shape[0], self.blocks[-1].stop)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "positions": self.positions,
            "blocks": [[block.start, block.stop, [list(astuple(p)) for p in block.pieces]] for block in self.blocks],
            "activation": keras.activations.serialize(self.activation),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """The layer of a configuration, which is not changed."""
        return cls(**dict(config))

    def _seen(self, maps: Any, span: Span) -> Any:
        """The features of a span. A strided slice leaves XNNPACK; a slice of the wider rows does not."""
        channels = int(maps.shape[-1])
        lead = max(0, span.first + span.step * span.count - self.positions)  # so that the last row is whole
        top = span.first - lead
        rows = maps if span.step * span.count == self.positions else maps[:, top : top + span.step * span.count]
        if span.step > 1:
            rows = ops.reshape(rows, (-1, span.count, span.step * channels))
        low = lead * channels + span.start
        if rows.shape[-1] != span.stop - span.start:
            rows = rows[:, :, low : low + span.stop - span.start]
        return ops.reshape(rows, (-1, span.count * (span.stop - span.start)))


def _as_block(value: Any) -> Block:
    if isinstance(value, Block):
        return value
    start, stop, pieces = value
    return Block(start, stop, tuple(Piece(a, b, tuple(taps)) for a, b, taps in pieces))
