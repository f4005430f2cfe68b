"""Which layers end in a sum, and what the others add to it."""

from dataclasses import dataclass

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.graph import CallList, LayerCall, TensorKey, core_layer, readers_of
from tf_structprune.layers import factor_and_offset

_LEAST_FACTOR = 1e-3  # of the largest one: a map that the normalization all but removes cannot make up for anything


@dataclass(frozen=True)
class SumEnd:
    """How a layer reaches a sum.

    Attributes:
        others: tensors that are added to it.
        factors: what its outputs are multiplied with on the way by batch normalizations, shape (outputs,), or ().
    """

    others: tuple[TensorKey, ...]
    factors: NDArray[np.float64]

    def to_layer(self, off: NDArray[np.floating]) -> NDArray[np.floating]:
        """What the outputs of the layer have to add, when something is to be added to the sum.

        Args:
            off: shape (..., outputs).
        """
        size = np.abs(self.factors)
        safe = size > _LEAST_FACTOR * size.max()
        return off * np.where(safe, 1 / np.where(safe, self.factors, 1), 0).astype(off.dtype)


def sum_ends(found: CallList) -> dict[TensorKey, SumEnd]:
    """By the output of a call, how it reaches a sum, through batch normalizations alone and without an activation.

    Args:
        found: calls of a model whose normalizations have the statistics that it was trained with.
    """
    readers = readers_of(found)
    ends = {}
    for call in found.calls:
        if getattr(core_layer(call.layer), "activation", None) not in (None, keras.activations.linear):
            continue
        last, factors = call, np.ones(())
        for reader in readers.behind(call):
            if is_batch_normalization(reader) and reader.layer.axis in (-1, len(reader.input_shapes[0]) - 1):
                factors = factors * factor_and_offset(reader.layer)[0]
                last = reader
                continue
            if is_sum(reader):
                others = tuple(key for key in reader.inputs if key != last.output)
                if all(shape == reader.input_shapes[0] for shape in reader.input_shapes):
                    ends[call.output] = SumEnd(others, factors)
            break
    return ends


def is_batch_normalization(call: LayerCall) -> bool:
    """Whether a call normalizes each channel by statistics that were gathered before."""
    return type(call.layer) is keras.layers.BatchNormalization and len(call.inputs) == 1


def is_sum(call: LayerCall) -> bool:
    """Whether a call adds tensors."""
    kind = type(call.layer)
    return kind.__name__ == "Add" and kind.__module__.partition(".")[0] == "keras"
