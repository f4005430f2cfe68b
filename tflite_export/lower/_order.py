"""Bring channels in an order in which those that are treated alike lie side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import pdist

from tf_structprune.channels import Channels, Group, PrunableGraph
from tf_structprune.graph import kernel_variable, kernel_view, named_layers, trace
from tf_structprune.layers import rebuild
from tflite_export.lower._structure import Block, blocks_of, even_edges

_SWEEPS = 2  # a layer's inputs can be ordered well only once its outputs are
_SLICE = 256  # multiplications of an output pixel that one more slice takes
_COPY = 64  # multiplications that take as long as copying one value
_MOST_CLUSTERED = 1024  # the distances of n channels take n * n numbers


def reorder(model: keras.Model) -> keras.Model:
    """A copy that computes the same with its channels in another order.

    For every group of channels some orders are tried: by the taps that a reader needs of them, by the
    outputs that read them, by the inputs that they read, and by hierarchical clustering of these, which
    finds blocks under a permutation even where some kernels lie outside; the one for which the layers
    around should cost least is taken. The permutation is folded into the weights of all layers around:
    nothing is left of it at run time.

    Args:
        model: a plain model; weights that are zero are taken for removed.
    """
    graph = trace(model, keep_first=False)
    alive = _sparse_kernels(graph, model)
    source = np.arange(graph.unit_count)
    for _ in range(_SWEEPS):
        for group in graph.prunable_groups:
            source = _reordered(graph, group, alive, source)
    if (source == np.arange(graph.unit_count)).all():
        return model
    return rebuild(model, {name: channels.reordered(source) for name, channels in graph.channels.items()})


@dataclass(frozen=True)
class _Kernel:
    """The weights of a layer that are not zero; taps with the same ones are one.

    A dense layer behind `Flatten` has thousands of taps, but few different ones.

    Attributes:
        alive: shape (different taps, input maps, output maps).
        times: how many taps each stands for, shape (different taps,).
    """

    alive: NDArray[np.bool_]
    times: NDArray[np.int64]

    @classmethod
    def of(cls, alive: NDArray[np.bool_]) -> "_Kernel":
        """From all taps."""
        rows = np.packbits(alive.reshape(len(alive), -1), axis=1)
        _, first, times = np.unique(rows, axis=0, return_index=True, return_counts=True)
        order = np.argsort(first)
        return cls(alive[first[order]], times[order])


_Alive = Mapping[str, _Kernel]


def _sparse_kernels(graph: PrunableGraph, model: keras.Model) -> _Alive:
    """The kernels of the layers that have some zeros."""
    layers = named_layers(model)
    found = {}
    for layer in graph.layers:
        if layer.groups == 1:
            kernel = keras.ops.convert_to_numpy(kernel_variable(layers[layer.name]))
            view = kernel_view(layers[layer.name], graph.channels[layer.name].positions).view(kernel, np)
            if (view == 0).any():
                found[layer.name] = _Kernel.of(view != 0)
    return found


@dataclass(frozen=True)
class _Side:
    """One layer that reads or makes the channels of a group.

    Attributes:
        channels: the layer's channels.
        alive: its weights that are not zero, as they lie now.
        times: how many taps each of its taps stands for.
        reads: whether it reads the group.
        macs: multiply-accumulates of the layer.
    """

    channels: Channels
    alive: NDArray[np.bool_]
    times: NDArray[np.int64]
    reads: bool
    macs: int

    @property
    def units(self) -> NDArray[np.int64]:
        return self.channels.inputs if self.reads else self.channels.outputs

    def rows(self, group: Group) -> NDArray[np.bool_]:
        """What each unit of the group has alive, flattened, shape (units, ...)."""
        by_map = np.moveaxis(self.alive, 1 if self.reads else 2, 0)
        first = [int(np.flatnonzero(self.units == unit)[0]) for unit in group.units]
        return by_map[first].reshape(len(first), *by_map.shape[1:])


def _reordered(graph: PrunableGraph, group: Group, alive: _Alive, source: NDArray[np.int64]) -> NDArray[np.int64]:
    """The permutation with the best order of one group in it."""
    sides = _sides(graph, group, alive, source)
    if not sides:
        return source
    best, best_cost = source, _cost(sides, np.arange(graph.unit_count))
    for order in _orders(group, sides):
        moved = np.arange(graph.unit_count)
        moved[group.units] = group.units[order]
        cost = _cost(sides, moved)
        if cost < best_cost * (1 - 1e-9):
            best, best_cost = source[moved], cost
    return best


def _sides(graph: PrunableGraph, group: Group, alive: _Alive, source: NDArray[np.int64]) -> list[_Side]:
    sides = []
    for names, reads in ((group.consumers, True), (group.producers, False)):
        for name in names:
            if name in alive:
                channels = graph.channels[name]
                now = channels.reordered(source)
                placed = alive[name].alive[:, now.inputs][:, :, now.outputs]
                sides.append(_Side(channels, placed, alive[name].times, reads, graph.layer(name).macs))
    return sides


def _orders(group: Group, sides: list[_Side]) -> list[NDArray[np.int64]]:
    """Orders of the group's units that are worth a try."""
    keys = []
    for reads in (True, False):
        mine = [side for side in sides if side.reads is reads]
        if not mine:
            continue
        rows = max(mine, key=lambda side: side.macs).rows(group)
        others = np.asarray(rows.any(axis=1))  # by the other side's maps, over all taps
        if reads:
            taps = np.asarray(rows.any(axis=2))
            keys.append(_ranked(np.column_stack([-taps.sum(axis=1), ~taps])))
        keys += [_ranked(~others), *_clustered(others)]
    keys = [key for key in keys if key.any()]
    orders = [np.lexsort((key,)) for key in keys]
    orders += [np.lexsort((second, first)) for first, second in permutations(keys, 2)]
    different = {order.tobytes(): order for order in orders if (np.diff(order) < 0).any()}
    return list(different.values())


def _ranked(rows: NDArray[Any]) -> NDArray[np.int64]:
    """The rank of each row among all different rows."""
    return np.asarray(np.unique(rows, axis=0, return_inverse=True)[1]).ravel()


def _clustered(rows: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    """Ranks by hierarchical clustering, similar rows side by side; none where all differ little or too much."""
    if not 2 < len(rows) <= _MOST_CLUSTERED or rows.all():
        return []
    tree = linkage(pdist(rows, "cityblock"), method="average")
    rank = np.empty(len(rows), np.int64)
    rank[leaves_list(tree)] = np.arange(len(rows))
    return [rank]


def _cost(sides: list[_Side], moved: NDArray[np.int64]) -> float:
    """What the layers around a group cost when each unit makes place for another."""
    total = 0.0
    for side in sides:
        now = side.channels.reordered(moved)
        placed = side.alive[:, now.inputs] if side.reads else side.alive[:, :, now.outputs]
        blocks = blocks_of(placed, even_edges(placed))
        work = sum(
            block.maps * piece.maps * int(side.times[list(piece.taps)].sum())
            for block in blocks
            for piece in block.pieces
        )
        slices = _slices(blocks)
        copied = sum(piece.maps for block in blocks for piece in block.pieces) if slices > 1 else 0
        pixels = side.macs / (side.times.sum() * side.alive[0].size)
        total += pixels * (work + _SLICE * slices + _COPY * copied)
    return total


def _slices(blocks: Sequence[Block]) -> int:
    """Slices of the input that make what the blocks read, one behind the other: 1 for disjoint blocks in order."""
    pieces = [piece for block in blocks for piece in block.pieces]
    follow = sum(
        (after.start, after.taps) == (before.stop, before.taps)
        for before, after in zip(pieces[:-1], pieces[1:], strict=True)
    )
    return len(pieces) - follow
