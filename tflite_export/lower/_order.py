"""Bring channels in an order in which the maps that need the same taps lie side by side."""

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.graph import PrunableGraph, PrunableLayer, kernel_view, named_layers, trace
from tflite_export.shrink import rebuild


def reorder(model: keras.Model) -> keras.Model:
    """A copy that computes the same with its channels in another order.

    The maps of every group are sorted by the taps that the costliest of its readers needs of them,
    so that slices of a few runs of channels reach them all. The permutation is folded into the
    weights of all layers around: nothing is left of it at run time.

    Args:
        model: a plain model; weights that are zero are taken for removed.
    """
    graph = trace(model, keep_first=False)
    source = np.arange(graph.unit_count)
    layers = named_layers(model)
    for group in graph.prunable_groups:
        readers = [graph.layer(name) for name in group.consumers]
        readers = [reader for reader in readers if reader.positions > 1 and reader.groups == 1]
        if readers:
            reader = max(readers, key=lambda layer: layer.macs)
            source[group.units] = group.units[_tap_order(graph, reader, layers[reader.name], group.units)]
    if (source == np.arange(graph.unit_count)).all():
        return model
    return rebuild(model, {name: channels.reordered(source) for name, channels in graph.channels.items()})


def _tap_order(
    graph: PrunableGraph, reader: PrunableLayer, layer: keras.Layer, units: NDArray[np.int64]
) -> NDArray[np.int64]:
    """An order of the units: those that need more taps first, those with the same taps together."""
    channels = graph.channels[reader.name]
    kernel = keras.ops.convert_to_numpy(layer.kernel)
    needed = kernel_view(layer, channels.positions).view(kernel, np).any(axis=2)  # (taps, input maps)
    first = np.array([np.flatnonzero(channels.inputs == unit)[0] for unit in units])
    taps = needed[:, first]
    return np.lexsort((*taps[::-1], -taps.sum(axis=0)))
