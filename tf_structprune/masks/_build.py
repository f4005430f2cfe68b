"""From a graph and a target sparsity to the space of masks that reach it."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from tf_structprune.graph import Channels, Group, PrunableGraph, PrunableLayer
from tf_structprune.masks._counting import LayerMasks, masks_by_layer, sparsity_of, unit_mask
from tf_structprune.masks._drops import Drops
from tf_structprune.masks._granularity import Granularity, IntraKernelStrided, Kernel, as_granularity
from tf_structprune.masks._mask_set import FEATURE_MAP, INTRA_KERNEL, KERNEL, MaskSet, check_sparsity
from tf_structprune.masks._patterns import KEEP_ON_GRID, default_strides, patterns_by_count, positions_kept
from tf_structprune.masks._spaces import MaskSpace, PatternBlock, PatternSpace, SubsetSpace
from tf_structprune.masks._subsets import Budget, counted
from tf_structprune.masks._tiles import Tiles, runs, tile_weights

_ROUNDING = 1e-9  # so that 0.7 * 10 units are 7 units


@dataclass(frozen=True)
class PatternOptions:
    """Which intra-kernel patterns may be drawn.

    Attributes:
        strides: strides allowed; None allows 1 to k + 1 for a k x k kernel.
        polarity: "keep_on_grid" or "prune_on_grid".
        patterns: largest number of different patterns in one layer; None for any number.
    """

    strides: tuple[int, ...] | None = None
    polarity: str = KEEP_ON_GRID
    patterns: int | None = None

    def __post_init__(self) -> None:
        IntraKernelStrided(self.strides, self.patterns)  # checks them


def mask_space(
    graph: PrunableGraph,
    granularity: Granularity,
    sparsity: float,
    *,
    base: MaskSet | None = None,
    patterns: PatternOptions | None = None,
) -> MaskSpace:
    """All masks of one granularity at one sparsity, on top of the masks that are there.

    Every block (group or layer) loses the same fraction, rounded so that the sparsity is at least
    the one asked for and at most one unit a block above it. Units that `base` removed stay removed.

    Args:
        graph: the traced model.
        granularity: "feature_map", "kernel" or "intra_kernel", or one with demands such as
            `Kernel(groups=4)` or `IntraKernelStrided(strides=(3,), patterns=1)`.
        sparsity: fraction of all prunable weights that is removed in the end, what `base` removes
            included, in [0, 1).
        base: masks that are there already; none by default.
        patterns: intra-kernel patterns that may be drawn; demands of the granularity come first.

    Raises:
        ValueError: an unknown granularity, a sparsity out of range, below that of `base` or beyond
            what the granularity can reach.
    """
    demands = as_granularity(granularity)
    check_sparsity(sparsity, f"Granularity '{demands.name}': ")
    base = MaskSet() if base is None else base
    options = patterns or PatternOptions()
    if isinstance(demands, IntraKernelStrided):
        options = PatternOptions(
            demands.strides or options.strides, options.polarity, demands.patterns or options.patterns
        )
    if not graph.prunable_layers:
        raise ValueError(
            f"Model '{graph.model_name}' has nothing to prune: the first convolution and the classifier "
            "stay whole. Use a deeper model, or keep_first=False."
        )
    present = sparsity_of(graph, base, options.polarity)
    if sparsity < present - _ROUNDING:
        raise ValueError(
            f"Granularity '{demands.name}': the masks that are there remove more already. Received: "
            f"sparsity={sparsity:.4f}. Use at least {present:.4f}."
        )
    if isinstance(demands, Kernel) and demands.groups is not None:
        return _tiled_space(graph, sparsity, base, options, demands)
    return _BUILDERS[demands.name](graph, sparsity, base, options)


def stage_shares(sparsity: float, granularity: Sequence[str]) -> tuple[float, ...]:
    """What each of several stages removes of the weights it finds, so that `sparsity` is the total.

    All stages remove the same fraction, but feature maps, where they are one of several, take half
    of the work (in powers of what is kept): they alone make a network thin, and the papers stop
    them at about half before other granularities (arXiv 1610.09639, section 3). For a total of 75 %,
    that is 50 % of the maps' weights, then 29 % each of kernels and patterns.

    Args:
        sparsity: total fraction removed, in [0, 1).
        granularity: the stages in order.

    Raises:
        ValueError: a sparsity out of range.
    """
    check_sparsity(sparsity)
    others = sum(kind != FEATURE_MAP for kind in granularity)
    maps = len(granularity) - others
    powers = [
        (0.5 if others else 1.0) / maps if kind == FEATURE_MAP else (0.5 if maps else 1.0) / others
        for kind in granularity
    ]
    return tuple(1 - (1 - sparsity) ** power for power in powers)


def _feature_map_space(graph: PrunableGraph, sparsity: float, base: MaskSet, options: PatternOptions) -> MaskSpace:
    groups = graph.prunable_groups
    if not groups:
        raise ValueError(
            f"Model '{graph.model_name}' has no channel group that may be pruned. Received: "
            "granularity='feature_map'. See PrunableGraph.skipped for the reasons, or use granularity='kernel'."
        )
    unit_keep = unit_mask(graph, base)
    alive = [unit_keep[group.units] for group in groups]
    drops = Drops.of([_unit_counts(group, int(mask.sum())) for group, mask in zip(groups, alive, strict=True)])
    after = _sparsity_after(graph, groups, alive, drops, base, options)
    count = _first_reaching(len(drops.owners), after, sparsity)
    if count is None:
        raise _unreachable(FEATURE_MAP, sparsity, after(len(drops.owners)))
    dropped = drops.after(count)
    blocks = {
        group.name: counted(mask, int(mask.sum() - lost))
        for group, mask, lost in zip(groups, alive, dropped, strict=True)
    }
    return SubsetSpace(FEATURE_MAP, base, blocks)


def _unit_counts(group: Group, alive: int) -> NDArray[np.int64]:
    """Numbers of units that the group may keep, from all that are alive down."""
    fewer = np.arange(alive - 1, 0, -1)
    channels = fewer * group.unit_channels
    allowed = (channels % group.round_to == 0) & (channels >= group.min_channels)
    return np.concatenate([[alive], fewer[allowed]])


def _sparsity_after(
    graph: PrunableGraph,
    groups: Sequence[Group],
    alive: Sequence[NDArray[np.bool_]],
    drops: Drops,
    base: MaskSet,
    options: PatternOptions,
) -> Callable[[int], float]:
    """The sparsity as a function of how many of `drops` were made; exact without kernel masks.

    Which channels go makes a difference only under kernel or intra-kernel masks; then the average
    over the channels is taken.
    """
    layers = [
        _weights_kept(graph.channels[name], masks) for name, masks in _prunable_masks(graph, base, options).items()
    ]
    sizes = np.array([mask.sum() for mask in alive])

    def after(count: int) -> float:
        share = np.ones(graph.unit_count)
        kept_share = 1 - drops.after(count) / sizes
        for group, mask, value in zip(groups, alive, kept_share, strict=True):
            share[group.units[mask]] = value
        return 1 - sum(kept(share) for kept in layers) / graph.prunable_weights

    return after


def _weights_kept(channels: Channels, masks: LayerMasks) -> Callable[[NDArray[np.float64]], float]:
    """Weights of a layer as a function of the share that each unit keeps of itself."""
    grouped = len(masks.kernels) < len(masks.inputs)  # a group's inputs and outputs are one unit
    if masks.kernels.all() and masks.positions.all():
        size = len(masks.positions) * (len(masks.kernels) if grouped else 1)

        def plain(share: NDArray[np.float64]) -> float:
            inputs = 1.0 if grouped else float(share[channels.inputs] @ masks.inputs)
            return size * inputs * float(share[channels.outputs] @ masks.outputs)

        return plain
    weights = masks.alive * masks.kernel_weights

    def masked(share: NDArray[np.float64]) -> float:
        rows = weights.sum(axis=0) if grouped else share[channels.inputs] @ weights
        return float(rows @ share[channels.outputs])

    return masked


def _prunable_masks(graph: PrunableGraph, masks: MaskSet, options: PatternOptions) -> dict[str, LayerMasks]:
    by_layer = masks_by_layer(graph, masks, options.polarity)
    return {layer.name: by_layer[layer.name] for layer in graph.prunable_layers}


def _first_reaching(limit: int, value: Callable[[int], float], target: float) -> int | None:
    """Smallest n in 0..limit with value(n) >= target, by bisection; None if there is none."""
    if value(limit) < target - _ROUNDING:
        return None
    low, high = 0, limit
    while low < high:
        middle = (low + high) // 2
        if value(middle) >= target - _ROUNDING:
            high = middle
        else:
            low = middle + 1
    return low


def _kernel_space(graph: PrunableGraph, sparsity: float, base: MaskSet, options: PatternOptions) -> MaskSpace:
    everything = _prunable_masks(graph, base, options)
    now = {name: masks for name, masks in everything.items() if not graph.layer(name).is_depthwise}
    alive = [masks.alive for masks in now.values()]
    weights = np.array([m.weights / max(1, a.sum()) for m, a in zip(now.values(), alive, strict=True)])
    drops = Drops.of([np.arange(max(1, mask.sum()), 0, -1) for mask in alive])
    lost = np.concatenate([[0.0], np.cumsum(weights[drops.owners])])  # weights gone after so many drops
    reached = 1 - (sum(masks.weights for masks in everything.values()) - lost) / graph.prunable_weights
    count = int(np.searchsorted(reached, sparsity - _ROUNDING))
    if count > len(drops.owners):
        raise _unreachable(KERNEL, sparsity, float(reached[-1]))
    gone = drops.after(count).tolist()
    blocks = {name: _kernel_block(masks, lost) for (name, masks), lost in zip(now.items(), gone, strict=True)}
    return SubsetSpace(KERNEL, base, blocks)


def _tiled_space(
    graph: PrunableGraph, sparsity: float, base: MaskSet, options: PatternOptions, demands: Kernel
) -> MaskSpace:
    """Kernels in blocks; every group of outputs of every layer loses the same fraction of what it reads."""
    everything = _prunable_masks(graph, base, options)
    now = {name: masks for name, masks in everything.items() if not graph.layer(name).is_depthwise}
    places = {name: _runs_of(masks, demands) for name, masks in now.items()}
    weights = {name: tile_weights(masks.alive * masks.kernel_weights, *places[name]) for name, masks in now.items()}
    columns = [column for tiles in weights.values() for column in tiles.T]  # of all layers, one after the other
    counts = np.array([int((column > 0).sum()) for column in columns])
    drops = Drops.of([np.arange(max(1, count), 0, -1) for count in counts])
    each = np.array([column.sum() / max(1, count) for column, count in zip(columns, counts, strict=True)])
    lost = np.concatenate([[0.0], np.cumsum(each[drops.owners])])
    reached = 1 - (sum(masks.weights for masks in everything.values()) - lost) / graph.prunable_weights
    steps = int(np.searchsorted(reached, sparsity - _ROUNDING))
    if steps > len(drops.owners):
        raise _unreachable(KERNEL, sparsity, float(reached[-1]))
    kept = counts - drops.after(steps)
    budgets = iter([_column(c, int(k)) for c, k in zip(columns, kept.tolist(), strict=True)])
    blocks = {
        name: Tiles(masks.alive, *places[name], tuple(islice(budgets, weights[name].shape[1])))
        for name, masks in now.items()
    }
    return SubsetSpace(KERNEL, base, blocks)


def _runs_of(masks: LayerMasks, demands: Kernel) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    inputs, outputs = masks.kernels.shape
    groups = demands.groups or 1
    return runs(inputs, demands.blocks or groups), runs(outputs, groups)


def _column(weights: NDArray[np.int64], keep: int) -> Budget:
    """Keep so many tiles of a column, or their weight where tiles weigh differently."""
    alive = weights > 0
    if len(np.unique(weights[alive])) <= 1:
        return Budget(alive, weights, int(weights.max(initial=0)) * keep, least=min(1, keep))
    return Budget(alive, weights, int(weights.sum()) * keep // max(1, int(alive.sum())), least=1)


def _kernel_block(masks: LayerMasks, dropped: int) -> Budget:
    """Drop so many kernels, or their weight where patterns make kernels weigh differently."""
    alive, weight = masks.alive, masks.kernel_weights
    count = int(alive.sum())
    if len(np.unique(weight[alive])) <= 1:
        return counted(alive, count - dropped)
    return Budget(alive, weight, masks.weights * (count - dropped) // count, least=1)


def _intra_kernel_space(graph: PrunableGraph, sparsity: float, base: MaskSet, options: PatternOptions) -> MaskSpace:
    free = MaskSet(base.feature_map, base.kernel)  # patterns are drawn anew
    now = _prunable_masks(graph, free, options)
    wide = {layer.name: now[layer.name] for layer in graph.prunable_layers if layer.positions > 1}
    least = max((_least_share(graph.layer(name), options) for name in wide), default=1.0)
    kept = sum(masks.weights * (least if name in wide else 1.0) for name, masks in now.items())
    most = 1 - kept / graph.prunable_weights
    if sparsity > most + _ROUNDING:
        raise _unreachable(INTRA_KERNEL, sparsity, most)
    keep_share = max(least, _keep_share(graph, sparsity, now, wide)) if wide else 1.0
    blocks = {name: _pattern_block(graph.layer(name), masks, keep_share, options) for name, masks in wide.items()}
    return PatternSpace(INTRA_KERNEL, free, blocks)


def _pattern_block(layer: PrunableLayer, masks: LayerMasks, keep_share: float, options: PatternOptions) -> PatternBlock:
    """The block whose maps keep that share on average, or less where no stride keeps as much."""
    kernels = masks.kernels_of_input
    total = int(kernels.sum())
    by_count = _patterns(layer, options)
    counts = list(by_count)
    keep = math.floor(total * layer.positions * keep_share + _ROUNDING)
    high = next((i for i in range(1, len(counts)) if counts[i] * total >= keep), len(counts) - 1)
    few, many = counts[max(0, high - 1)], counts[high]
    return PatternBlock(
        low=by_count[few],
        high=by_count[many],
        low_kept=positions_kept(by_count[few], layer.positions, options.polarity),
        high_kept=positions_kept(by_count[many], layer.positions, options.polarity),
        budget=Budget(kernels > 0, kernels, min(total, (keep - few * total) // max(1, many - few))),
        most=options.patterns,
    )


def _least_share(layer: PrunableLayer, options: PatternOptions) -> float:
    """Share of a kernel that the sparsest pattern keeps; every layer keeps the same share."""
    return min(_patterns(layer, options)) / layer.positions


def _patterns(layer: PrunableLayer, options: PatternOptions) -> dict[int, NDArray[np.int32]]:
    strides = options.strides or default_strides(layer.positions)
    return patterns_by_count(layer.positions, strides, options.polarity)


def _keep_share(
    graph: PrunableGraph, sparsity: float, now: Mapping[str, LayerMasks], open_: Mapping[str, LayerMasks]
) -> float:
    """Share of the weights of the open layers that stays when all others keep theirs."""
    total = sum(masks.weights for masks in now.values())
    reachable = sum(masks.weights for masks in open_.values())
    return max(0.0, 1 - (total - (1 - sparsity) * graph.prunable_weights) / reachable)


def _unreachable(granularity: str, sparsity: float, most: float) -> ValueError:
    return ValueError(
        f"Granularity '{granularity}' cannot remove that much here. Received: sparsity={sparsity:.4f}. "
        f"Use at most {most:.4f}, or combine granularities."
    )


_BUILDERS = {FEATURE_MAP: _feature_map_space, KERNEL: _kernel_space, INTRA_KERNEL: _intra_kernel_space}
