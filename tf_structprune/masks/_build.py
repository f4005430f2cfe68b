"""From a graph and a target sparsity to the space of masks that reach it."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tf_structprune.channels import Channels, Group, PrunableGraph, PrunableLayer
from tf_structprune.masks._counting import LayerMasks, sparsity_of, unit_mask
from tf_structprune.masks._drops import Drops
from tf_structprune.masks._granularity import COLUMNS, Granularity, IntraKernelStrided, Kernel, Weight, as_granularity
from tf_structprune.masks._kept import unit_counts
from tf_structprune.masks._kernel_spaces import kernel_space, tiled_space
from tf_structprune.masks._mask_set import FEATURE_MAP, INTRA_KERNEL, KERNEL, MaskSet, check_sparsity
from tf_structprune.masks._patterns import column_strides, default_strides, patterns_by_count, positions_kept
from tf_structprune.masks._reach import ROUNDING, PatternOptions, prunable_masks, unreachable
from tf_structprune.masks._spaces import MaskSpace, PatternBlock, PatternSpace, SubsetSpace
from tf_structprune.masks._subsets import Allowance, counted
from tf_structprune.masks._weight_spaces import weight_space


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
        granularity: "feature_map", "kernel", "intra_kernel" or "weight", or one with demands such as
            `Kernel(groups=4)`, `IntraKernelStrided(strides=(3,), patterns=1)` or `Weight(n=2, m=4)`.
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
    graph.check_prunable()
    present = sparsity_of(graph, base, options.polarity)
    if sparsity < present - ROUNDING:
        raise ValueError(
            f"Granularity '{demands.name}': the masks that are there remove more already. Received: "
            f"sparsity={sparsity:.4f}. Use at least {present:.4f}."
        )
    if isinstance(demands, Kernel) and demands.groups is not None:
        return tiled_space(graph, sparsity, base, options, demands)
    if isinstance(demands, Weight):
        return weight_space(graph, sparsity, base, options, demands)
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
    drops = Drops.of([unit_counts(group, int(mask.sum())) for group, mask in zip(groups, alive, strict=True)])
    after = _sparsity_after(graph, groups, alive, drops, base, options)
    count = _first_reaching(len(drops.owners), after, sparsity)
    if count is None:
        raise unreachable(FEATURE_MAP, sparsity, after(len(drops.owners)))
    dropped = drops.after(count)
    blocks = {
        group.name: counted(mask, int(mask.sum() - lost))
        for group, mask, lost in zip(groups, alive, dropped, strict=True)
    }
    return SubsetSpace(FEATURE_MAP, base, blocks)


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
        _weights_kept(graph.channels[name], masks) for name, masks in prunable_masks(graph, base, options).items()
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
    if masks.kernels.all() and masks.positions.all() and masks.singles is None:
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


def _first_reaching(limit: int, value: Callable[[int], float], target: float) -> int | None:
    """Smallest n in 0..limit with value(n) >= target, by bisection; None if there is none."""
    if value(limit) < target - ROUNDING:
        return None
    low, high = 0, limit
    while low < high:
        middle = (low + high) // 2
        if value(middle) >= target - ROUNDING:
            high = middle
        else:
            low = middle + 1
    return low


def _intra_kernel_space(graph: PrunableGraph, sparsity: float, base: MaskSet, options: PatternOptions) -> MaskSpace:
    if not all(mask.all() for mask in base.weight.values()):
        raise ValueError(
            "Patterns within kernels are drawn before single weights. Received: granularity='intra_kernel' on top of "
            "weight masks. Use ('intra_kernel', 'weight') in that order."
        )
    free = MaskSet(base.feature_map, base.kernel, weight=base.weight)  # patterns are drawn anew
    now = prunable_masks(graph, free, options)
    wide = {layer.name: now[layer.name] for layer in graph.prunable_layers if layer.positions > 1}
    least = max((_least_share(graph.layer(name), options) for name in wide), default=1.0)
    kept = sum(masks.weights * (least if name in wide else 1.0) for name, masks in now.items())
    most = 1 - kept / graph.prunable_weights
    if sparsity > most + ROUNDING:
        raise unreachable(INTRA_KERNEL, sparsity, most)
    keep_share = max(least, _keep_share(graph, sparsity, now, wide)) if wide else 1.0
    blocks = {name: _pattern_block(graph.layer(name), masks, keep_share, options) for name, masks in wide.items()}
    return PatternSpace(INTRA_KERNEL, free, blocks)


def _pattern_block(layer: PrunableLayer, masks: LayerMasks, keep_share: float, options: PatternOptions) -> PatternBlock:
    """The block whose maps keep that share on average, or less where no stride keeps as much."""
    kernels = masks.kernels_of_input
    total = int(kernels.sum())
    by_count = _patterns(layer, options)
    counts = list(by_count)
    keep = math.floor(total * layer.positions * keep_share + ROUNDING)
    high = next((i for i in range(1, len(counts)) if counts[i] * total >= keep), len(counts) - 1)
    few, many = counts[max(0, high - 1)], counts[high]
    return PatternBlock(
        low=by_count[few],
        high=by_count[many],
        low_kept=positions_kept(by_count[few], layer.positions, options.polarity),
        high_kept=positions_kept(by_count[many], layer.positions, options.polarity),
        allowance=Allowance(kernels > 0, kernels, min(total, (keep - few * total) // max(1, many - few))),
        most=options.patterns,
    )


def _least_share(layer: PrunableLayer, options: PatternOptions) -> float:
    """Share of a kernel that the sparsest pattern keeps; every layer keeps the same share."""
    return min(_patterns(layer, options)) / layer.positions


def _patterns(layer: PrunableLayer, options: PatternOptions) -> dict[int, NDArray[np.int32]]:
    if options.strides == COLUMNS:
        strides = column_strides(layer.kernel_shape, layer.positions)
    else:
        strides = options.strides or default_strides(layer.positions)
    return patterns_by_count(layer.positions, strides, options.polarity)


def _keep_share(
    graph: PrunableGraph, sparsity: float, now: Mapping[str, LayerMasks], open_: Mapping[str, LayerMasks]
) -> float:
    """Share of the weights of the open layers that stays when all others keep theirs."""
    total = sum(masks.weights for masks in now.values())
    reachable = sum(masks.weights for masks in open_.values())
    return max(0.0, 1 - (total - (1 - sparsity) * graph.prunable_weights) / reachable)


_BUILDERS = {FEATURE_MAP: _feature_map_space, KERNEL: kernel_space, INTRA_KERNEL: _intra_kernel_space}
