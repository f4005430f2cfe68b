"""The constant tensors of a `.tflite` file."""

import math
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

_DTYPES: dict[int, np.dtype[Any]] = {
    schema.TensorType.FLOAT32: np.dtype("<f4"),
    schema.TensorType.FLOAT16: np.dtype("<f2"),
    schema.TensorType.INT8: np.dtype("i1"),
    schema.TensorType.INT16: np.dtype("<i2"),
    schema.TensorType.INT32: np.dtype("<i4"),
    schema.TensorType.INT64: np.dtype("<i8"),
}


def constant_values(parsed: Any) -> dict[int, NDArray[Any]]:
    """Values of the constant tensors of a model's only subgraph.

    Args:
        parsed: the parsed file.

    Returns:
        Arrays by index into `ModelDescription.tensors`; int4 values, of which the file packs two in a byte, as
        int8. Tensors of other types than float32, float16, int4, int8, int16, int32 and int64, and values that a
        file of more than 2 GB keeps outside of its flatbuffer, are left out.
    """
    values = {}
    for index, tensor in enumerate(parsed.subgraphs[0].tensors):
        stored = parsed.buffers[tensor.buffer].data
        if stored is None or not len(stored):
            continue
        shape = () if tensor.shape is None else tuple(tensor.shape)
        if tensor.type == schema.TensorType.INT4:
            values[index] = _unpacked(np.asarray(stored, np.uint8), math.prod(shape)).reshape(shape)
        elif tensor.type in _DTYPES:
            values[index] = np.asarray(stored, np.uint8).view(_DTYPES[tensor.type]).reshape(shape)
    return values


def _unpacked(packed: NDArray[np.uint8], count: int) -> NDArray[np.int8]:
    """The first of two values lies in the lower half of a byte."""
    halves = np.stack([packed << 4, packed & 0xF0], axis=-1).ravel()[:count]
    return halves.view(np.int8) >> 4
