"""The constant tensors of a `.tflite` file."""

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

_DTYPES: dict[int, np.dtype[Any]] = {
    schema.TensorType.FLOAT32: np.dtype("<f4"),
    schema.TensorType.INT8: np.dtype("i1"),
    schema.TensorType.INT32: np.dtype("<i4"),
    schema.TensorType.INT64: np.dtype("<i8"),
}


def constant_values(data: bytes) -> dict[int, NDArray[Any]]:
    """Values of the constant tensors of a model's only subgraph.

    Args:
        data: a whole model, from `read_model`.

    Returns:
        Arrays by index into `ModelDescription.tensors`. Tensors of other types than float32, int8, int32 and
        int64, and values that a file of more than 2 GB keeps outside of its flatbuffer, are left out.
    """
    parsed = schema.ModelT.InitFromPackedBuf(data)
    values = {}
    for index, tensor in enumerate(parsed.subgraphs[0].tensors):
        stored = parsed.buffers[tensor.buffer].data
        if stored is not None and len(stored) and tensor.type in _DTYPES:
            shape = () if tensor.shape is None else tuple(tensor.shape)
            values[index] = np.asarray(stored, np.uint8).view(_DTYPES[tensor.type]).reshape(shape)
    return values
