"""Numbers by which a selector ranks units: from the weights, or from activations on data."""

from collections.abc import Callable

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.graph import Group, PrunableGraph, kernel_of
from tf_structprune.masks import FEATURE_MAP, INTRA_KERNEL, KERNEL, Importance

Measure = Callable[[keras.Model, PrunableGraph, str, NDArray[np.generic]], Importance]


def l1(model: keras.Model, graph: PrunableGraph, granularity: str, x: NDArray[np.generic]) -> Importance:
    """Sum of |weight| of each unit (Li et al., arXiv 1608.08710, equation 1), masked weights not counted.

    Returns:
        feature_map: by group, the sum over all producers' incoming kernels, shape (channels,);
        kernel: by layer, shape (inputs, outputs);
        intra_kernel: by layer, for each position the sum over the map's kernels, (positions, inputs).
    """
    del x
    views = {layer.name: np.abs(_kernel_view(model, graph, layer.name)) for layer in graph.layers}
    if granularity == KERNEL:
        return {name: view.sum(axis=0) for name, view in views.items()}
    if granularity == INTRA_KERNEL:
        return {name: view.sum(axis=2) for name, view in views.items()}
    return {group.name: _group_norm(graph, group, views) for group in graph.prunable_groups}


def _group_norm(graph: PrunableGraph, group: Group, views: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    total = np.zeros(graph.unit_count)
    for name in group.producers:
        np.add.at(total, graph.channels[name].outputs, views[name].sum(axis=(0, 1)))
    return total[group.units]


def _kernel_view(model: keras.Model, graph: PrunableGraph, name: str) -> NDArray[np.float64]:
    layer = graph.layer(name)
    kernel: NDArray[np.generic] = keras.ops.convert_to_numpy(kernel_of(model.get_layer(name)))
    return kernel.astype(np.float64).reshape(layer.positions, layer.inputs, layer.outputs)


def activation_sums(model: keras.Model, graph: PrunableGraph, granularity: str, x: NDArray[np.generic]) -> Importance:
    """Sum over all pixels of |activation| of each feature map, as its consumers read it.

    Anwar, thesis, Seoul National University 2017 (activation sum voting). A group read by several
    layers sums over them.

    Args:
        model: the traced model, masked or not.
        graph: its graph.
        granularity: "feature_map"; the other granularities have no activations of their own.
        x: samples, shape (images, ...).

    Returns:
        By group, shape (images, channels).

    Raises:
        ValueError: another granularity, or no samples.
    """
    if granularity != FEATURE_MAP:
        raise ValueError(
            f"Activation sums exist for feature maps only. Received: granularity={granularity!r}. Use the measure 'l1'."
        )
    if len(x) == 0:
        raise ValueError("Activation sums need samples. Received: 0 images. Give validation data.")
    readers = list(dict.fromkeys(name for group in graph.prunable_groups for name in group.consumers))
    if not readers:
        return {}
    probe = keras.Model(model.inputs, [model.get_layer(name).input for name in readers])
    outputs = probe.predict(x, batch_size=min(len(x), 256), verbose=0)
    sums = {n: _sum_pixels(out, graph.layer(n).inputs) for n, out in zip(readers, _as_list(outputs), strict=True)}
    return {group.name: _group_sums(graph, group, sums) for group in graph.prunable_groups}


def _as_list(outputs: NDArray[np.generic] | list[NDArray[np.generic]]) -> list[NDArray[np.generic]]:
    return outputs if isinstance(outputs, list) else [outputs]


def _sum_pixels(activation: NDArray[np.generic], channels: int) -> NDArray[np.float64]:
    """(images, ..., positions * channels) to (images, channels)."""
    values = np.abs(activation.astype(np.float64))
    return np.asarray(values.reshape(len(values), -1, channels).sum(axis=1))


def _group_sums(graph: PrunableGraph, group: Group, sums: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    images = len(next(iter(sums.values())))
    total = np.zeros((images, graph.unit_count))
    for name in group.consumers:
        inputs = graph.channels[name].inputs
        if np.isin(inputs, group.units).any():
            total[:, inputs] += sums[name]
    return total[:, group.units]


MEASURES: dict[str, Measure] = {"l1": l1, "activation_sums": activation_sums}
