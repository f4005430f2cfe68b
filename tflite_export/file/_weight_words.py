"""Weights of few bits inside a full-integer `.tflite` file: room for exact rounding, or two in a byte."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

_WEIGHTED = (schema.BuiltinOperator.CONV_2D, schema.BuiltinOperator.DEPTHWISE_CONV_2D)
_INT4_LARGEST = 7
_GUARD = 4  # two bits below the last of the word


def without_ties(model: Any) -> None:
    """Edit of a full-integer file: convolutions never round a tie, where all weights are multiples of 4.

    With power-of-two scales a sum often lies exactly between two output values, and there runtimes differ:
    LiteRT's reference kernels and TFLite Micro halve first, which rounds up, then shift; XNNPACK rounds ties to
    even. With weights that are multiples of 4 and biases of the form 4 n + 1 every sum is odd, also after
    halving, and no tie is left where 8 or more are divided by. Else biases become multiples of 4, and nothing is
    rounded. Biases move by at most two of their last digits.

    Args:
        model: the parsed file; other convolutions stay as they were.
    """

    def moved(found: _Convolution, integers: NDArray[np.int8]) -> None:
        if found.bias is not None and not (integers % _GUARD).any():
            biases = found.bias.values(np.int32)
            odd, whole = biases - (biases + 1) % _GUARD + 2, (biases + 2) // _GUARD * _GUARD
            biases = np.where(found.factors() <= 1 / (2 * _GUARD), odd, whole)
            found.bias.buffer.data = biases.astype(np.int32).tobytes()

    _edit(model, moved)


def packed(model: Any) -> None:
    """Edit of a full-integer file: convolution weights of 4 bits and fewer lie two in a byte, as int4 tensors.

    Args:
        model: the parsed file; tensors with larger weights stay as they were.
    """

    def halved(found: _Convolution, integers: NDArray[np.int8]) -> None:
        if np.abs(integers).max(initial=0) > _INT4_LARGEST:
            return
        even = np.append(integers, np.zeros(integers.size % 2, np.int8))
        nibbles = (even & 15).astype(np.uint8)
        found.weights.buffer.data = (nibbles[::2] | (nibbles[1::2] << 4)).tobytes()
        found.weights.tensor.type = schema.TensorType.INT4

    _edit(model, halved)


@dataclass(frozen=True)
class _Stored:
    """A constant tensor and the buffer that holds its values."""

    tensor: Any
    buffer: Any

    def values(self, dtype: Any) -> NDArray[Any]:
        """The values, flat."""
        return np.frombuffer(bytes(self.buffer.data), dtype)


@dataclass(frozen=True)
class _Convolution:
    """What a convolution computes with, and the tensor that it makes."""

    weights: _Stored
    bias: _Stored | None
    output: Any

    @property
    def parts(self) -> tuple[_Stored, ...]:
        """Its constants."""
        return (self.weights,) if self.bias is None else (self.weights, self.bias)

    def factors(self) -> NDArray[np.float64]:
        """What sums are multiplied with, shape (1,) or (outputs,)."""
        scales = () if self.bias is None else self.bias.tensor.quantization.scale
        return np.asarray(scales, np.float64) / float(self.output.quantization.scale[0])


def _edit(model: Any, edit: Callable[[_Convolution, NDArray[np.int8]], None]) -> None:
    """Gives every convolution and its weights to a function that may change them."""
    for found in _convolutions(model):
        if found.weights.tensor.type == schema.TensorType.INT8:
            edit(found, found.weights.values(np.int8))


def _convolutions(model: Any) -> Iterator[_Convolution]:
    """The convolutions that share neither weights nor bias with another one."""
    (graph,) = model.subgraphs
    found = []
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        if max(code.builtinCode, code.deprecatedBuiltinCode) in _WEIGHTED:
            indices = [int(at) for at in operator.inputs[1:] if at >= 0]
            weights, *bias = [_Stored(graph.tensors[at], model.buffers[graph.tensors[at].buffer]) for at in indices]
            found.append(_Convolution(weights, bias[0] if bias else None, graph.tensors[operator.outputs[0]]))
    buffers = [id(stored.buffer) for each in found for stored in each.parts]
    for each in found:
        if all(buffers.count(id(stored.buffer)) == 1 and stored.buffer.data is not None for stored in each.parts):
            yield each
