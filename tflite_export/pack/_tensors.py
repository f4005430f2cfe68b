"""The weights in a file that may be packed."""

from typing import Any

import numpy as np

from tflite_export.file import TFLiteFile
from tflite_export.pack._coder import Form, Weights

_WEIGHTED = {"CONV_2D": 1, "DEPTHWISE_CONV_2D": 1, "FULLY_CONNECTED": 1, "TRANSPOSE_CONV": 1}
"""Position of the weights among the inputs of the operators that may find them in the arena."""


def packable(file: TFLiteFile) -> dict[int, Weights]:
    """The int8 weights of a file.

    Args:
        file: the file.

    Returns:
        By index of the tensor. Left out are those that something else reads too, or whose values another tensor has
        that must stay.

    Raises:
        ValueError: see `TFLiteFile.description`.
    """
    description, parsed = file.description, file.parsed
    found = {
        operator.inputs[_WEIGHTED[operator.name]]
        for operator in description.operators
        if operator.name in _WEIGHTED and len(operator.inputs) > _WEIGHTED[operator.name]
    }
    found -= {*description.input_indices, *description.output_indices, -1}
    found -= {
        index
        for operator in description.operators
        for place, index in enumerate(operator.inputs)
        if _WEIGHTED.get(operator.name) != place
    }
    found = {index for index in found if description.tensors[index].dtype == "int8" and index in file.constants}
    tensors = parsed.subgraphs[0].tensors
    kept = {tensor.buffer for index, tensor in enumerate(tensors) if index not in found}
    chosen = sorted(index for index in found if tensors[index].buffer not in kept and file.constants[index].size)
    return {index: Weights(file.constants[index], form_of(tensors[index])) for index in chosen}


def form_of(tensor: Any) -> Form:
    """What a tensor of a parsed file says of its weights."""
    shape = () if tensor.shape is None else tuple(int(size) for size in tensor.shape)
    found = tensor.quantization
    points = () if found is None or found.zeroPoint is None else tuple(int(point) for point in found.zeroPoint)
    scales = 0 if found is None or found.scale is None else len(np.atleast_1d(found.scale))
    points = points if len(points) == scales else (0,) * scales
    return Form(shape, points or (0,), 0 if found is None else int(found.quantizedDimension))
