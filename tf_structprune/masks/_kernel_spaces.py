"""The spaces of kernel masks: kernels one by one, or in blocks."""

from collections.abc import Iterator
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from tf_structprune.channels import PrunableGraph
from tf_structprune.masks._counting import LayerMasks
from tf_structprune.masks._drops import Drops
from tf_structprune.masks._granularity import Kernel
from tf_structprune.masks._mask_set import KERNEL, MaskSet
from tf_structprune.masks._reach import ROUNDING, PatternOptions, prunable_masks, unreachable
from tf_structprune.masks._spaces import MaskSpace, SubsetSpace
from tf_structprune.masks._subsets import Allowance, counted
from tf_structprune.masks._tiles import Tiles, runs, tile_weights


def kernel_space(graph: PrunableGraph, sparsity: float, base: MaskSet, options: PatternOptions) -> MaskSpace:
    """Kernels one by one; every layer loses the same fraction of them."""
    everything = prunable_masks(graph, base, options)
    now = {name: masks for name, masks in everything.items() if not graph.layer(name).is_depthwise}
    alive = [masks.alive for masks in now.values()]
    weights = np.array([m.weights / max(1, a.sum()) for m, a in zip(now.values(), alive, strict=True)])
    drops = Drops.of([np.arange(max(1, mask.sum()), 0, -1) for mask in alive])
    lost = np.concatenate([[0.0], np.cumsum(weights[drops.owners])])  # weights gone after so many drops
    reached = 1 - (sum(masks.weights for masks in everything.values()) - lost) / graph.prunable_weights
    count = int(np.searchsorted(reached, sparsity - ROUNDING))
    if count > len(drops.owners):
        raise unreachable(KERNEL, sparsity, float(reached[-1]))
    gone = drops.after(count).tolist()
    blocks = {name: _kernel_block(masks, lost) for (name, masks), lost in zip(now.items(), gone, strict=True)}
    return SubsetSpace(KERNEL, base, blocks)


def tiled_space(
    graph: PrunableGraph, sparsity: float, base: MaskSet, options: PatternOptions, demands: Kernel
) -> MaskSpace:
    """Kernels in blocks; every group of outputs of every layer loses the same fraction of what it reads."""
    everything = prunable_masks(graph, base, options)
    now = {name: masks for name, masks in everything.items() if not graph.layer(name).is_depthwise}
    places = {name: _runs_of(masks, demands) for name, masks in now.items()}
    weights = {name: tile_weights(masks.alive * masks.kernel_weights, *places[name]) for name, masks in now.items()}
    columns = [column for tiles in weights.values() for column in tiles.T]  # of all layers, one after the other
    counts = np.array([int((column > 0).sum()) for column in columns])
    drops = Drops.of([np.arange(max(1, count), 0, -1) for count in counts])
    each = np.array([column.sum() / max(1, count) for column, count in zip(columns, counts, strict=True)])
    lost = np.concatenate([[0.0], np.cumsum(each[drops.owners])])
    reached = 1 - (sum(masks.weights for masks in everything.values()) - lost) / graph.prunable_weights
    steps = int(np.searchsorted(reached, sparsity - ROUNDING))
    if steps > len(drops.owners):
        raise unreachable(KERNEL, sparsity, float(reached[-1]))
    kept = counts - drops.after(steps)
    shares = iter([_share(column, int(keep)) for column, keep in zip(columns, kept.tolist(), strict=True)])
    blocks = {name: _tiles(masks, *places[name], weights[name], shares) for name, masks in now.items()}
    return SubsetSpace(KERNEL, base, blocks)


def _tiles(
    masks: LayerMasks,
    block_of_input: NDArray[np.int64],
    group_of_output: NDArray[np.int64],
    weights: NDArray[np.int64],
    shares: Iterator[int],
) -> Tiles:
    """The tiles of a layer, each column with its share, which it may exceed by one heavy tile if others make up."""
    limits = list(islice(shares, weights.shape[1]))
    columns = (Allowance(c > 0, c, max(most, int(c.max()))) for c, most in zip(weights.T, limits, strict=True))
    return Tiles(masks.alive, block_of_input, group_of_output, tuple(columns), sum(limits))


def _runs_of(masks: LayerMasks, demands: Kernel) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    groups = demands.groups or 1
    inputs, outputs = np.asarray(masks.alive.any(axis=1)), np.asarray(masks.alive.any(axis=0))
    return runs(inputs, demands.blocks or groups), runs(outputs, groups)


def _share(weights: NDArray[np.int64], keep: int) -> int:
    """What so many tiles of a column weigh, or their share of it where tiles weigh differently."""
    return int(weights.sum()) * keep // max(1, int((weights > 0).sum()))


def _kernel_block(masks: LayerMasks, dropped: int) -> Allowance:
    """Drop so many kernels, or their weight where patterns make kernels weigh differently."""
    alive, weight = masks.alive, masks.kernel_weights
    count = int(alive.sum())
    if len(np.unique(weight[alive])) <= 1:
        return counted(alive, count - dropped)
    return Allowance(alive, weight, masks.weights * (count - dropped) // count, least=1)
