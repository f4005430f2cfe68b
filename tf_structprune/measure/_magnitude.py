"""Numbers by which a selector ranks units, from the weights alone."""

from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.channels import Group, PrunableGraph, PrunableLayer
from tf_structprune.graph import kernel_of, kernel_view, list_calls, named_layers, readers_of
from tf_structprune.masks import FEATURE_MAP, INTRA_KERNEL, KERNEL, WEIGHT, Importance


def l1(model: keras.Model, graph: PrunableGraph, granularity: str, x: Any, y: Any = None) -> Importance:
    """Sum of |weight| of each unit (Li et al., arXiv 1608.08710, equation 1), masked weights not counted.

    Returns:
        feature_map: by group, the sum over all producers' incoming kernels, shape (channels,);
        kernel: by layer, shape (inputs / groups, outputs);
        intra_kernel: by layer, for each position the sum over the map's kernels, (positions, inputs);
        weight: by layer, shape (positions, inputs / groups, outputs).
    """
    del x, y
    return sum_of_units(graph, granularity, {name: np.abs(view) for name, view in _kernel_views(model, graph)})


def l2(model: keras.Model, graph: PrunableGraph, granularity: str, x: Any, y: Any = None) -> Importance:
    """Sum of the squared weights of each unit, masked weights not counted; returns as `l1`."""
    del x, y
    return sum_of_units(graph, granularity, {name: view**2 for name, view in _kernel_views(model, graph)})


def geometric_median(model: keras.Model, graph: PrunableGraph, granularity: str, x: Any, y: Any = None) -> Importance:
    """Sum of the distances of a map's kernels to those of all others (FPGM: He et al., arXiv 1811.00250, equation 3).

    The map nearest to the geometric median, which the others can stand for, is the least important.

    Returns:
        By group, the sum over all producers, shape (channels,).

    Raises:
        ValueError: another granularity than feature maps.
    """
    del x, y
    _check_maps(granularity, "geometric_median")
    distances = {}
    for name, view in _kernel_views(model, graph):
        maps = view.reshape(-1, view.shape[-1])
        square = np.sum(maps**2, axis=0)
        distances[name] = np.sqrt(np.maximum(square[:, None] + square - 2 * maps.T @ maps, 0)).sum(axis=1)
    return _of_groups(graph, distances)


def normalization_scale(
    model: keras.Model, graph: PrunableGraph, granularity: str, x: Any, y: Any = None
) -> Importance:
    """|gamma| of the batch normalization right behind the layers that make a map (Liu et al., arXiv 1708.06519).

    A producer without one says nothing of its maps; a group of such producers alone is ranked by `l1`.

    Returns:
        By group, the sum over all producers, shape (channels,).

    Raises:
        ValueError: another granularity than feature maps, or a model without a batch normalization behind a layer.
    """
    del y
    _check_maps(granularity, "normalization_scale")
    found = list_calls(model)
    readers, scales = readers_of(found), {}
    for call in found.calls:
        behind = next(readers.behind(call), None)
        if call.name in graph.channels and behind is not None and type(behind.layer) is keras.layers.BatchNormalization:
            gamma = behind.layer.gamma
            if gamma is not None and gamma.shape[0] == len(graph.channels[call.name].outputs):
                scales[call.name] = np.abs(keras.ops.convert_to_numpy(gamma)).astype(np.float64)
    if not scales:
        raise ValueError(
            f"Model '{model.name}' has no batch normalization with a scale right behind a layer. Received: the measure "
            "'normalization_scale'. Use 'l1'."
        )
    known, instead = _of_groups(graph, scales), l1(model, graph, granularity, x)
    named = {group.name: any(name in scales for name in group.producers) for group in graph.prunable_groups}
    return {name: known[name] if named[name] else instead[name] for name in known}


def _check_maps(granularity: str, name: str) -> None:
    if granularity != FEATURE_MAP:
        raise ValueError(
            f"The measure '{name}' ranks feature maps only. Received: granularity={granularity!r}. Use 'l1' or 'l2'."
        )


def sum_of_units(graph: PrunableGraph, granularity: str, views: Mapping[str, NDArray[np.float64]]) -> Importance:
    """Sums over units of values of the weights, in the shapes of `l1`.

    Args:
        graph: of the model.
        granularity: what a unit is.
        views: by layer, the values as its kernel is viewed, shape (positions, inputs / groups, outputs).
    """
    if granularity == WEIGHT:
        return dict(views)
    if granularity == KERNEL:
        return {name: view.sum(axis=0) for name, view in views.items()}
    if granularity == INTRA_KERNEL:
        return {layer.name: sum_of_inputs(layer, views[layer.name]) for layer in graph.layers}
    return _of_groups(graph, {name: view.sum(axis=(0, 1)) for name, view in views.items()})


def _of_groups(graph: PrunableGraph, outputs: Mapping[str, NDArray[np.float64]]) -> Importance:
    """By group, the sum over its producers of values of their outputs, shape (channels,)."""
    return {group.name: _of_group(graph, group, outputs) for group in graph.prunable_groups}


def _of_group(graph: PrunableGraph, group: Group, outputs: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    total = np.zeros(graph.unit_count)
    for name in group.producers:
        if name in outputs:
            np.add.at(total, graph.channels[name].outputs, outputs[name])
    return total[group.units]


def _kernel_views(model: keras.Model, graph: PrunableGraph) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Name and kernel of each layer, shape (positions, inputs / groups, outputs)."""
    layers = named_layers(model)
    for layer in graph.layers:
        kernel = keras.ops.convert_to_numpy(kernel_of(layers[layer.name]))
        positions = graph.channels[layer.name].positions
        yield layer.name, kernel_view(layers[layer.name], positions).view(kernel.astype(np.float64), np)


def sum_of_inputs(layer: PrunableLayer, view: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum over the kernels that leave each input map, shape (positions, inputs)."""
    total = np.zeros((layer.positions, layer.inputs))
    np.add.at(total.T, layer.input_of_kernel, np.moveaxis(view, 0, -1))
    return total
