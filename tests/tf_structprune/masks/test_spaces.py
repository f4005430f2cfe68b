"""Laws of the mask spaces over made-up graphs: counts, sparsity, nesting."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.graphs import chain_graph, graphs
from tf_structprune.masks import (
    FEATURE_MAP,
    GRANULARITIES,
    INTRA_KERNEL,
    KERNEL,
    POLARITIES,
    WEIGHT,
    MaskSet,
    PatternOptions,
    mask_space,
    masks_by_layer,
    positions_kept,
    sparsity_of,
)

MANY = settings(max_examples=40, deadline=None, derandomize=True)
sparsities = st.floats(0, 0.9, allow_nan=False)
seeds = st.integers(0, 2**16)
each_granularity = pytest.mark.parametrize("granularity", GRANULARITIES)


def space_within_reach(graph, granularity, sparsity, **options):
    """The space; an example is left out where the sparsity is beyond what the graph allows."""
    try:
        return mask_space(graph, granularity, sparsity, **options)
    except ValueError as error:
        assume("cannot remove that much" not in str(error) and "no channel group" not in str(error))
        raise


def importance_for(space, graph, seed):
    """Random numbers in the shape that `top` takes."""
    rng = np.random.default_rng(seed)
    if space.granularity == INTRA_KERNEL:
        return {name: rng.random((graph.layer(name).positions, graph.layer(name).inputs)) for name in space.blocks}
    return {name: rng.random(block.alive.shape) for name, block in space.blocks.items()}


def candidates_of(space, graph, seed):
    """One candidate by each of the four ways."""
    rng = np.random.default_rng(seed)
    first, second = space.sample(rng), space.sample(rng)
    moved = space.perturb(first, rng.random(), rng)
    return [first, second, moved, space.cross(first, moved, rng), space.top(importance_for(space, graph, seed))]


def removed_of(space, graph, masks, polarity):
    """Removed units (for patterns: weights) by block, counted in the masks and not by the space."""
    if space.granularity != INTRA_KERNEL:
        return {n: int((b.alive & ~masks.of(space.granularity)[n]).sum()) for n, b in space.blocks.items()}
    kept = {n: positions_kept(p, graph.layer(n).positions, polarity) for n, p in masks.intra_kernel.items()}
    kernels = {n: masks_by_layer(graph, masks)[n].kernels_of_input for n in space.blocks}
    return {n: int((~kept[n]).sum(axis=0) @ kernels[n]) for n in space.blocks}


def one_unit_a_block(space, graph):
    """Weights that go with one more unit in every block, from above."""
    if space.granularity == FEATURE_MAP:
        return max(_unit_weights(graph, group) for group in graph.prunable_groups)  # they go one by one
    if space.granularity == KERNEL:
        return sum(graph.layer(name).positions for name in space.blocks)
    if space.granularity == WEIGHT:
        return len(space.blocks)
    steps = {n: int(block.high_kept[:, 0].sum() - block.low_kept[:, 0].sum()) for n, block in space.blocks.items()}
    return sum(step * graph.layer(name).outputs for name, step in steps.items())


def _unit_weights(graph, group):
    """Weights of all kernels that touch one unit of a group."""
    weights = 0
    for layer in graph.prunable_layers:
        channels = graph.channels[layer.name]
        reads = (channels.inputs == group.units[0])[layer.input_of_kernel]
        weights += layer.positions * int((reads | (channels.outputs == group.units[0])[None, :]).sum())
    return weights


@each_granularity
@MANY
@given(graph=graphs(), sparsity=sparsities, seed=seeds, polarity=st.sampled_from(POLARITIES))
def test_candidates_have_the_same_counts(granularity, graph, sparsity, seed, polarity):
    space = space_within_reach(graph, granularity, sparsity, patterns=PatternOptions(polarity=polarity))
    removed = [removed_of(space, graph, candidate, polarity) for candidate in candidates_of(space, graph, seed)]
    assert all(counts == removed[0] for counts in removed)
    assert all(count - space.removed[name] >= 0 for name, count in removed[0].items())
    if granularity != INTRA_KERNEL:
        assert removed[0] == dict(space.removed)


@each_granularity
@MANY
@given(graph=graphs(), sparsity=sparsities, seed=seeds, polarity=st.sampled_from(POLARITIES))
def test_candidates_reach_the_sparsity_and_little_more(granularity, graph, sparsity, seed, polarity):
    space = space_within_reach(graph, granularity, sparsity, patterns=PatternOptions(polarity=polarity))
    found = {sparsity_of(graph, masks, polarity) for masks in candidates_of(space, graph, seed)}
    assert max(found) - min(found) < 1e-12
    assert sparsity - 1e-8 <= min(found) < 1
    assert min(found) <= sparsity + one_unit_a_block(space, graph) / graph.prunable_weights + 1e-8


@MANY
@given(graph=graphs(), sparsity=sparsities, seed=seeds)
def test_feature_maps_stop_at_the_first_count_that_reaches(graph, sparsity, seed):
    space = space_within_reach(graph, FEATURE_MAP, sparsity)
    assume(any(space.removed.values()))
    masks = space.sample(np.random.default_rng(seed))
    back = []
    for name, lost in space.removed.items():
        if lost:
            mask = masks.feature_map[name].copy()
            mask[np.flatnonzero(~mask)[0]] = True
            back.append(sparsity_of(graph, masks.updated(FEATURE_MAP, {name: mask})))
    assert min(back) < sparsity


@each_granularity
@MANY
@given(graph=graphs(), sparsity=sparsities, seed=seeds)
def test_no_block_is_emptied(granularity, graph, sparsity, seed):
    space = space_within_reach(graph, granularity, sparsity)
    for masks in candidates_of(space, graph, seed):
        assert all(layer.weights > 0 for layer in masks_by_layer(graph, masks).values())


ORDERS = [(first, second) for first in GRANULARITIES for second in GRANULARITIES]


@pytest.mark.parametrize("first, second", [order for order in ORDERS if order != (WEIGHT, INTRA_KERNEL)])
@settings(MANY, max_examples=30)
@given(graph=graphs(), share=st.floats(0, 0.5), more=st.floats(0, 0.5), seed=seeds)
def test_masks_nest_on_top_of_others(first, second, graph, share, more, seed):
    base = space_within_reach(graph, first, share).sample(np.random.default_rng(seed))
    present = sparsity_of(graph, base)
    space = space_within_reach(graph, second, present + (1 - present) * more, base=base)
    for masks in candidates_of(space, graph, seed):
        for kind in {FEATURE_MAP, KERNEL, WEIGHT}:
            assert all(not (masks.of(kind)[name] & ~old).any() for name, old in base.of(kind).items())
        if second != INTRA_KERNEL:
            assert all(np.array_equal(masks.intra_kernel[name], old) for name, old in base.intra_kernel.items())


@settings(MANY, max_examples=30)
@given(graph=graphs(), share=st.floats(0, 0.5), more=st.floats(0, 0.6), seed=seeds)
def test_sparsity_on_top_of_removed_maps_is_reached(graph, share, more, seed):
    base = space_within_reach(graph, FEATURE_MAP, share).sample(np.random.default_rng(seed))
    target = sparsity_of(graph, base) + (1 - sparsity_of(graph, base)) * more
    for kind in (KERNEL, INTRA_KERNEL):
        space = space_within_reach(graph, kind, target, base=base)
        found = sparsity_of(graph, space.sample(np.random.default_rng(seed)))
        assert target - 1e-8 <= found
        assert found <= target + one_unit_a_block(space, graph) / graph.prunable_weights + 1e-8


@pytest.mark.parametrize("first, second", [(KERNEL, INTRA_KERNEL), (INTRA_KERNEL, KERNEL)])
@settings(MANY, max_examples=30)
@given(graph=graphs(), share=st.floats(0, 0.5), more=st.floats(0, 0.5), seed=seeds)
def test_sparsity_is_reached_where_units_weigh_differently(first, second, graph, share, more, seed):
    base = space_within_reach(graph, first, share).sample(np.random.default_rng(seed))
    target = sparsity_of(graph, base) + (1 - sparsity_of(graph, base)) * more
    space = space_within_reach(graph, second, target, base=base)
    for masks in candidates_of(space, graph, seed):
        assert sparsity_of(graph, masks) >= target - 1e-8


@each_granularity
@MANY
@given(graph=graphs(), seed=seeds, polarity=st.sampled_from(POLARITIES))
def test_stated_limit_can_be_reached(granularity, graph, seed, polarity):
    options = PatternOptions(polarity=polarity)
    try:
        mask_space(graph, granularity, 0.9999, patterns=options)
    except ValueError as error:
        assume("Use at most" in str(error))
        most = float(str(error).split("Use at most ")[1].split(",")[0])
        space = mask_space(graph, granularity, max(0.0, most - 1e-4), patterns=options)
        assert sparsity_of(graph, space.sample(np.random.default_rng(seed)), polarity) >= most - 2e-4


@each_granularity
@settings(MANY, max_examples=25)
@given(graph=graphs(), sparsity=st.floats(0.1, 0.8), seed=seeds)
def test_perturb_moves_and_stays_near(granularity, graph, sparsity, seed):
    space = space_within_reach(graph, granularity, sparsity)
    rng = np.random.default_rng(seed)
    before = space.sample(rng)
    after = space.perturb(before, 0.0, rng)
    changed = {n: before.of(granularity)[n] != after.of(granularity)[n] for n in space.blocks}
    if granularity == INTRA_KERNEL:
        assert all(int(c.any(axis=1).sum()) <= 2 for c in changed.values())  # one pair of maps at most
    else:
        can_move = {n: space.removed[n] > 0 for n in space.blocks}
        assert {n: int(c.sum()) for n, c in changed.items()} == {n: 2 * can_move[n] for n in space.blocks}


@each_granularity
@settings(MANY, max_examples=25)
@given(graph=graphs(), sparsity=st.floats(0, 0.8), seed=seeds)
def test_cross_inherits_what_both_parents_share(granularity, graph, sparsity, seed):
    space = space_within_reach(graph, granularity, sparsity)
    rng = np.random.default_rng(seed)
    first, second = space.sample(rng), space.sample(rng)
    child = space.cross(first, second, rng)
    for name in space.blocks:
        one, two, new = (m.of(granularity)[name] for m in (first, second, child))
        assert ((new == one) | (new == two)).all()


@settings(MANY, max_examples=25)
@given(graph=graphs(), sparsity=st.floats(0.1, 0.8), seed=seeds)
def test_top_keeps_the_most_important(graph, sparsity, seed):
    for kind in (FEATURE_MAP, KERNEL):
        space = space_within_reach(graph, kind, sparsity)
        values = importance_for(space, graph, seed)
        for name, mask in space.top(values).of(kind).items():
            assert values[name][mask].min() >= values[name][~mask].max(initial=-1)


@settings(MANY, max_examples=25)
@given(graph=graphs(), sparsity=st.floats(0.1, 0.8), seed=seeds)
def test_top_pattern_is_no_worse_than_random_ones(graph, sparsity, seed):
    space = space_within_reach(graph, INTRA_KERNEL, sparsity)
    values = importance_for(space, graph, seed)

    def kept_importance(masks):
        kept = {n: positions_kept(p, graph.layer(n).positions) for n, p in masks.intra_kernel.items()}
        return sum(float((values[n] * kept[n])[:, space.blocks[n].alive].sum()) for n in space.blocks)

    best = kept_importance(space.top(values))
    assert all(best >= kept_importance(space.sample(np.random.default_rng(s))) - 1e-9 for s in range(5))


def test_top_breaks_ties_by_the_lower_index():
    space = mask_space(chain_graph([2, 4, 4, 4, 3]), FEATURE_MAP, 0.75)
    masks = space.top({name: np.ones(4) for name in space.blocks})
    kept = {name: int(mask.sum()) for name, mask in masks.feature_map.items()}
    assert all(0 < count < 4 for count in kept.values())
    assert all(mask[: kept[name]].all() for name, mask in masks.feature_map.items())


def test_sparsity_zero_keeps_everything():
    graph = chain_graph([2, 4, 4, 4, 3])
    for kind in GRANULARITIES:
        masks = mask_space(graph, kind, 0.0).sample(np.random.default_rng(0))
        assert sparsity_of(graph, masks) == 0


@pytest.mark.parametrize("polarity, kept", zip(POLARITIES, (3, 6), strict=True))
def test_a_single_stride_gives_its_own_sparsity(polarity, kept):
    graph, options = chain_graph([2, 4, 4, 4, 3]), PatternOptions((3,), polarity)
    space = mask_space(graph, INTRA_KERNEL, 0.2, patterns=options)
    for masks in candidates_of(space, graph, 0):
        assert sparsity_of(graph, masks, polarity) == pytest.approx(1 - kept / 9)


@pytest.mark.parametrize("polarity", POLARITIES)
def test_maps_that_are_gone_have_the_pattern_that_keeps_all(polarity):
    graph = chain_graph([2, 6, 6, 6, 3])
    gone = np.arange(6) < 3
    base = MaskSet(feature_map={group.name: ~gone for group in graph.prunable_groups})
    space = mask_space(graph, INTRA_KERNEL, 0.8, base=base, patterns=PatternOptions(polarity=polarity))
    for masks in candidates_of(space, graph, 0):
        for name, patterns in masks.intra_kernel.items():
            assert (patterns[~space.alive[name]] == [1, 0]).all()
    assert any((~alive).any() for alive in space.alive.values())


def test_strides_bound_what_may_be_drawn():
    space = mask_space(chain_graph([2, 4, 4, 4, 3]), INTRA_KERNEL, 0.5, patterns=PatternOptions((1, 3)))
    drawn = [p for seed in range(5) for p in space.sample(np.random.default_rng(seed)).intra_kernel.values()]
    assert set(np.concatenate(drawn)[:, 0]) == {1, 3}


def test_a_layer_without_any_kernel_left_loses_no_more():
    base = MaskSet(kernel={"layer_1": np.zeros((4, 4), bool)})
    graph = chain_graph([2, 4, 4, 4, 3])
    masks = mask_space(graph, KERNEL, 0.75, base=base).sample(np.random.default_rng(0))
    assert {name: int(mask.sum()) for name, mask in masks.kernel.items()} == {"layer_1": 0, "layer_2": 8}
