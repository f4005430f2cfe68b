"""Edits of an int8 file: other grids of its signals, other biases."""

import copy
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from tflite_export.calibrate._grids import Grid
from tflite_export.calibrate._weighted import Weighted, weighted
from tflite_export.file import TFLiteFile


def with_grids(file: TFLiteFile, grids: Mapping[int, Grid], exact: Mapping[int, NDArray[np.floating]]) -> TFLiteFile:
    """The file with other grids, and biases in the steps that follow.

    Args:
        file: the file.
        grids: by index into `ModelDescription.tensors`.
        exact: biases before rounding, where they are known, by the place of the operator that adds them.
    """
    changed = [each for each in weighted(file.description) if each.bias >= 0 and each.signal in grids]
    edits = [partial(_set_bias, each=each, **_rescaled(file, each, grids[each.signal], exact)) for each in changed]
    return file.edited(partial(_set_grids, grids=grids), *edits)


def with_biases(file: TFLiteFile, biases: Mapping[int, NDArray[np.integer]]) -> TFLiteFile:
    """The file with other biases, in the steps that they have.

    Args:
        file: the file.
        biases: by the place of the operator that adds them.
    """
    found = [each for each in weighted(file.description) if each.place in biases]
    return file.edited(*(partial(_set_bias, each=each, values=biases[each.place]) for each in found))


def _set_grids(model: Any, grids: Mapping[int, Grid]) -> None:
    for index, grid in grids.items():
        quantization = model.subgraphs[0].tensors[index].quantization
        quantization.scale, quantization.zeroPoint = [grid.scale], [grid.zero_point]
        quantization.min = quantization.max = None


def _rescaled(
    file: TFLiteFile, each: Weighted, grid: Grid, exact: Mapping[int, NDArray[np.floating]]
) -> dict[str, Any]:
    """Values and steps of a bias behind another grid."""
    whole, description = file.constants[each.bias], file.description
    real = exact.get(each.place, whole * np.asarray(description.tensors[each.bias].scales, np.float64))
    steps = np.float32(grid.scale) * np.asarray(description.tensors[each.weights].scales, np.float32)
    limits = np.iinfo(whole.dtype)
    values = np.clip(np.round(real / steps.astype(np.float64)), limits.min, limits.max)
    return {"values": values.astype(whole.dtype), "scales": steps}


def within(values: NDArray[np.floating], old: NDArray[np.integer]) -> NDArray[np.integer]:
    """Rounded values of a bias; the old one where one would leave its type, as for a channel whose weights are 0."""
    limit = np.iinfo(old.dtype).max
    rounded: NDArray[np.integer] = np.where(np.abs(values) < limit, np.round(values), old).astype(old.dtype)
    return rounded


def _set_bias(
    model: Any, each: Weighted, values: NDArray[np.integer], scales: NDArray[np.float32] | None = None
) -> None:
    """Gives an operator a bias of its own: the tensor may be another's too, and its values those of another tensor."""
    graph = model.subgraphs[0]
    operator = graph.operators[each.place]
    index = operator.inputs[each.bias_input]
    if sum(list(other.inputs).count(index) for other in graph.operators) > 1:
        graph.tensors.append(copy.deepcopy(graph.tensors[index]))
        operator.inputs = [*operator.inputs]
        operator.inputs[each.bias_input] = index = len(graph.tensors) - 1
    tensor = graph.tensors[index]
    model.buffers.append(schema.BufferT())
    model.buffers[-1].data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
    tensor.buffer = len(model.buffers) - 1
    if scales is not None:
        tensor.quantization.scale = scales
