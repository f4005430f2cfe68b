"""Weights of few bits inside a full-integer `.tflite` file: room for exact rounding, or two in a byte."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils
from numpy.typing import NDArray

_WEIGHTED = (schema.BuiltinOperator.CONV_2D, schema.BuiltinOperator.DEPTHWISE_CONV_2D)
_INT4_LARGEST = 7
_GUARD = 4  # two bits below the last of the word


def without_ties(data: bytes) -> bytes:
    """A file whose convolutions never round a tie, where all weights are multiples of 4.

    With power-of-two scales a sum often lies exactly between two output values, and there runtimes differ:
    LiteRT's reference kernels and TFLite Micro halve first, which rounds up, then shift; XNNPACK rounds ties to
    even. With weights that are multiples of 4 and biases of the form 4 n + 1 every sum is odd, also after
    halving, and no tie is left. Biases move by at most two of their last digits.

    Args:
        data: full-integer file.

    Returns:
        The file; other convolutions are as they were.
    """

    def moved(weights: Any, integers: NDArray[np.int8], bias: Any, biases: NDArray[np.int32] | None) -> None:
        if biases is not None and not (integers % _GUARD).any():
            bias.buffer.data = (biases - (biases + 1) % _GUARD + 2).astype(np.int32).tobytes()

    return _edited(data, moved)


def packed(data: bytes) -> bytes:
    """A file whose convolution weights of 4 bits and fewer lie two in a byte, as int4 tensors.

    Args:
        data: full-integer file.

    Returns:
        The file; tensors with larger weights are as they were.
    """

    def halved(weights: Any, integers: NDArray[np.int8], bias: Any, biases: Any) -> None:
        if np.abs(integers).max(initial=0) > _INT4_LARGEST:
            return
        even = np.append(integers, np.zeros(integers.size % 2, np.int8))
        nibbles = (even & 15).astype(np.uint8)
        weights.buffer.data = (nibbles[::2] | (nibbles[1::2] << 4)).tobytes()
        weights.tensor.type = schema.TensorType.INT4

    return _edited(data, halved)


def slim(data: bytes) -> bytes:
    """A file without what no runtime reads: names of inner tensors, notes of the converter.

    Args:
        data: any file with one subgraph.

    Returns:
        The file; inputs and outputs keep their names, and the signature, which LiteRT's callers use.
    """
    model = schema.ModelT.InitFromPackedBuf(data)
    (graph,) = model.subgraphs
    kept = {int(at) for at in (*graph.inputs, *graph.outputs)}
    for index, tensor in enumerate(graph.tensors):
        if index not in kept:
            tensor.name = None
    for note in model.metadata or []:
        model.buffers[note.buffer].data = None
    model.metadata = []
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


class _Stored:
    """A constant tensor and the buffer that holds its values."""

    def __init__(self, tensor: Any, buffer: Any) -> None:
        self.tensor = tensor
        self.buffer = buffer

    def values(self, dtype: Any) -> NDArray[Any]:
        """The values, flat."""
        return np.frombuffer(bytes(self.buffer.data), dtype)


def _edited(data: bytes, edit: Callable[..., None]) -> bytes:
    """The file with the weights and the bias of every convolution given to a function that may change them."""
    model = schema.ModelT.InitFromPackedBuf(data)
    for weights, bias in _convolutions(model):
        if weights.tensor.type == schema.TensorType.INT8:
            edit(weights, weights.values(np.int8), bias, None if bias is None else bias.values(np.int32))
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _convolutions(model: Any) -> Iterator[tuple[_Stored, _Stored | None]]:
    """Weights and bias of each convolution that shares neither with another one."""
    (graph,) = model.subgraphs
    found = []
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        if max(code.builtinCode, code.deprecatedBuiltinCode) in _WEIGHTED:
            indices = [int(at) for at in operator.inputs[1:] if at >= 0]
            found.append([_Stored(graph.tensors[at], model.buffers[graph.tensors[at].buffer]) for at in indices])
    buffers = [id(stored.buffer) for parts in found for stored in parts]
    for parts in found:
        if all(buffers.count(id(stored.buffer)) == 1 and stored.buffer.data is not None for stored in parts):
            yield parts[0], parts[1] if len(parts) > 1 else None
