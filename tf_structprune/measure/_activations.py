"""Numbers by which a selector ranks units, from activations on data."""

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.channels import Group, PrunableGraph, PrunableLayer
from tf_structprune.graph import layer_inputs
from tf_structprune.masks import FEATURE_MAP, Importance

_BATCH = 256  # images in memory at a time, with all their activations


def activation_sums(model: keras.Model, graph: PrunableGraph, granularity: str, x: Any, y: Any = None) -> Importance:
    """Sum over all pixels of |activation| of each feature map, as its consumers read it.

    Anwar, thesis, Seoul National University 2017 (activation sum voting). A group read by several
    layers sums over them.

    Args:
        model: the traced model, masked or not.
        graph: its graph.
        granularity: "feature_map"; the other granularities have no activations of their own.
        x: samples as the model takes them: an array, shape (images, ...), or a list or dictionary of arrays.
        y: not needed.

    Returns:
        By group, shape (images, channels).

    Raises:
        ValueError: another granularity, or no samples.
    """
    del y
    if granularity != FEATURE_MAP:
        raise ValueError(
            f"Activation sums exist for feature maps only. Received: granularity={granularity!r}. Use the measure 'l1'."
        )
    size = len(keras.tree.flatten(x)[0])
    if size == 0:
        raise ValueError("Activation sums need samples. Received: 0 images. Give validation data.")
    readers = list(dict.fromkeys(name for group in graph.prunable_groups for name in group.consumers))
    batches = [_sums_of_batch(model, graph, readers, _rows(x, at)) for at in range(0, size, _BATCH)]
    sums = {name: np.concatenate([batch[name] for batch in batches]) for name in readers}
    return {group.name: _group_sums(graph, group, sums) for group in graph.prunable_groups}


def _rows(x: Any, start: int) -> Any:
    return keras.tree.map_structure(lambda array: array[start : start + _BATCH], x)


def _sums_of_batch(
    model: keras.Model, graph: PrunableGraph, names: list[str], x: Any
) -> dict[str, NDArray[np.float64]]:
    """Summed |activation| of the input maps of some layers, over all their calls, (images, inputs) by name."""
    read = layer_inputs(model, names, x)
    return {
        name: np.sum([_sum_pixels(_channels_last(graph, name, t), graph.layer(name)) for t in read[name]], axis=0)
        for name in names
    }


def _channels_last(graph: PrunableGraph, name: str, tensor: Any) -> NDArray[np.float64]:
    values = keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32")).astype(np.float64)
    return np.moveaxis(values, graph.channels[name].reads[0].axis, -1)


def _sum_pixels(activation: NDArray[np.float64], layer: PrunableLayer) -> NDArray[np.float64]:
    """(images, ..., features) to (images, inputs)."""
    values = np.abs(activation)
    if layer.other_weights and values.shape[-1] < layer.inputs:  # separable: several inputs a map
        values = np.repeat(values, layer.inputs // values.shape[-1], axis=-1)
    return np.asarray(values.reshape(len(values), -1, layer.inputs).sum(axis=1))


def _group_sums(graph: PrunableGraph, group: Group, sums: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    images = len(next(iter(sums.values()))) if sums else 0
    total = np.zeros((images, graph.unit_count))
    for name in group.consumers:
        np.add.at(total.T, graph.channels[name].inputs, sums[name].T)
    return total[:, group.units]
