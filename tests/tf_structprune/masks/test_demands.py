"""Masks that are drawn such that they run fast: kernels in blocks, few patterns a layer."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.graphs import chain_graph
from tf_structprune.masks import (
    COLUMNS,
    FEATURE_MAP,
    INTRA_KERNEL,
    KERNEL,
    FeatureMap,
    IntraKernelStrided,
    Kernel,
    MaskSet,
    as_granularity,
    lowerable,
    mask_space,
    positions_kept,
    sparsity_of,
)

MANY = settings(max_examples=50, deadline=None, derandomize=True)
WIDTHS = [2, 8, 12, 16, 3]
seeds = st.integers(0, 2**16)


def candidates(space, graph, seed):
    """One candidate by each way of making one."""
    rng = np.random.default_rng(seed)
    if space.granularity == INTRA_KERNEL:
        values = {n: rng.random((graph.layer(n).positions, graph.layer(n).inputs)) for n in space.blocks}
    else:
        values = {name: rng.random(block.alive.shape) for name, block in space.blocks.items()}
    first, second = space.sample(rng), space.sample(rng)
    moved = space.perturb(first, rng.random(), rng)
    return [first, second, moved, space.cross(first, moved, rng), space.cross(second, first, rng), space.top(values)]


def tiles_of(mask, blocks, groups):
    """(blocks, groups, inputs a block, outputs a group) of a kernel mask."""
    inputs, outputs = mask.shape
    return mask.reshape(blocks, inputs // blocks, groups, outputs // groups).transpose(0, 2, 1, 3)


@pytest.mark.parametrize("groups, blocks", [(2, None), (4, None), (4, 2), (2, 4), (1, 4)], ids=str)
@MANY
@given(sparsity=st.floats(0, 0.5), seed=seeds)
def test_kernels_go_in_blocks_and_every_group_reads_as_many(groups, blocks, sparsity, seed):
    graph = chain_graph(WIDTHS)
    space = mask_space(graph, Kernel(groups, blocks), sparsity)
    for candidate in candidates(space, graph, seed):
        assert sparsity_of(graph, candidate) >= sparsity - 1e-9
        for mask in candidate.kernel.values():
            tiles = tiles_of(mask, blocks or groups, groups)
            assert (tiles == tiles[:, :, :1, :1]).all()
            read = tiles[:, :, 0, 0].sum(axis=0)
            assert read.min() >= 1
            assert read.max() - read.min() <= 1


@pytest.mark.parametrize("groups, blocks, keep", [(4, 4, 1), (4, 4, 2), (8, 4, 1), (2, 4, 2)], ids=str)
@MANY
@given(seed=seeds)
def test_every_block_of_inputs_is_read_equally_often(groups, blocks, keep, seed):
    graph = chain_graph([2, 16, 16, 8, 3])
    space = mask_space(graph, Kernel(groups, blocks), 1 - keep / blocks)
    for candidate in candidates(space, graph, seed):
        for mask in candidate.kernel.values():
            if mask.shape[0] % blocks == 0 and mask.shape[1] % groups == 0:
                readers = tiles_of(mask, blocks, groups)[:, :, 0, 0].sum(axis=1)
                assert readers.max() - readers.min() <= 1


@pytest.mark.parametrize("groups, keep", [(6, 3), (8, 2), (8, 4)], ids=str)
@MANY
@given(seed=seeds)
def test_children_of_blocks_have_what_both_parents_have_and_nothing_that_neither_has(groups, keep, seed):
    """Also where that takes a chain of exchanges between blocks to have all of them read."""
    space = mask_space(chain_graph([2, 24, 24, 3]), Kernel(groups), 1 - keep / groups)
    rng = np.random.default_rng(seed)
    first, second = space.sample(rng), space.sample(rng)
    child = space.cross(first, second, rng)
    for name, mask in child.kernel.items():
        one, two = first.kernel[name], second.kernel[name]
        assert mask[one & two].all()
        assert not mask[~(one | two)].any()
        readers = tiles_of(mask, groups, groups)[:, :, 0, 0].sum(axis=1)
        assert readers.min() == readers.max() == keep


def test_top_gives_up_least_importance_to_leave_no_block_unread():
    graph = chain_graph([2, 4, 4, 3])
    space = mask_space(graph, Kernel(2), 0.5)
    values = {name: np.zeros(block.alive.shape) for name, block in space.blocks.items()}
    (name,) = (n for n, block in space.blocks.items() if block.alive.shape == (4, 4))
    values[name][:2] = [[5, 5, 3, 3], [5, 5, 3, 3]]  # both groups want the first block
    expected = np.kron([[1, 0], [0, 1]], np.ones((2, 2))).astype(bool)
    assert (space.top(values).kernel[name] == expected).all()


def test_blocks_are_even_runs_of_the_maps_that_are_left():
    graph = chain_graph([2, 16, 16, 16, 3])
    halves = np.arange(16) >= 8
    base = MaskSet(feature_map={group.name: halves for group in graph.prunable_groups})
    space = mask_space(graph, Kernel(2), 1 - 0.5 * (1 - sparsity_of(graph, base)), base=base)
    for candidate in candidates(space, graph, 1):
        (mask,) = (m for m in candidate.kernel.values() if m.shape == (16, 16) and not m[:8].any())
        tiles = tiles_of(mask[8:, 8:], 2, 2)
        assert (tiles == tiles[:, :, :1, :1]).all()
        assert (tiles[:, :, 0, 0].sum(axis=0) == 1).all()


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("sparsity", [0.6, 0.75, 0.85])
def test_poorer_patterns_lie_within_the_richer_ones(sparsity, seed):
    graph = chain_graph(WIDTHS)
    space = mask_space(graph, IntraKernelStrided((3, 9), 2), sparsity)
    rng = np.random.default_rng(seed)
    values = {n: rng.random((graph.layer(n).positions, graph.layer(n).inputs)) for n in space.blocks}
    for candidate in (space.sample(rng), space.top(values)):
        for patterns in candidate.intra_kernel.values():
            kept = positions_kept(patterns, 9)
            assert kept.any(axis=1).sum() <= kept.sum(axis=0).max()
    for candidate in candidates(space, graph, seed):
        assert all(len(np.unique(patterns, axis=0)) <= 2 for patterns in candidate.intra_kernel.values())


@pytest.mark.parametrize("groups", [2, 3, 4])
@settings(MANY, max_examples=25)
@given(widths=st.lists(st.integers(4, 9), min_size=3, max_size=3), sparsity=st.floats(0, 0.5), seed=seeds)
def test_blocks_of_uneven_size_reach_the_sparsity(groups, widths, sparsity, seed):
    """Seven maps go in runs of four and three, so that tiles weigh 16, 12 or 9 kernels."""
    graph = chain_graph([2, *widths, 3])
    space = mask_space(graph, Kernel(groups), sparsity)
    for candidate in candidates(space, graph, seed):
        assert sparsity_of(graph, candidate) >= sparsity - 1e-9
        assert all(mask.any() for mask in candidate.kernel.values())


@pytest.mark.parametrize("groups", [2, 4])
@settings(MANY, max_examples=25)
@given(seed=seeds)
def test_children_of_uneven_blocks_have_what_both_parents_have(groups, seed):
    space = mask_space(chain_graph([2, 7, 7, 7, 3]), Kernel(groups), 0.5)
    rng = np.random.default_rng(seed)
    first, second = space.sample(rng), space.sample(rng)
    for name, mask in space.cross(first, second, rng).kernel.items():
        assert mask[first.kernel[name] & second.kernel[name]].all()


def test_search_moves_among_blocks():
    space = mask_space(chain_graph(WIDTHS), Kernel(4), 0.5)
    rng = np.random.default_rng(0)
    first = space.sample(rng)
    assert any(not space.perturb(first, 0.5, rng).equals(first) for _ in range(5))
    assert any(not space.sample(rng).equals(first) for _ in range(5))


def test_top_keeps_the_blocks_of_most_importance():
    graph = chain_graph([2, 4, 4, 3])
    space = mask_space(graph, Kernel(2), 0.5)
    values = {name: np.zeros(block.alive.shape) for name, block in space.blocks.items()}
    (name,) = (n for n, block in space.blocks.items() if block.alive.shape == (4, 4))
    values[name][:2, 2:] = 1.0
    values[name][2:, :2] = 1.0
    expected = np.kron([[0, 1], [1, 0]], np.ones((2, 2))).astype(bool)
    assert (space.top(values).kernel[name] == expected).all()


def test_blocks_respect_the_maps_that_are_gone():
    graph = chain_graph(WIDTHS)
    group = graph.prunable_groups[0]
    keep = np.arange(group.size) % 2 == 0
    base = MaskSet(feature_map={group.name: keep})
    present = sparsity_of(graph, base)
    space = mask_space(graph, Kernel(2), present + 0.2, base=base)
    for candidate in candidates(space, graph, 3):
        assert sparsity_of(graph, candidate) >= present + 0.2 - 1e-9


@pytest.mark.parametrize("most", [1, 2, 3])
@pytest.mark.parametrize("strides", [None, (3,), (1, 2)], ids=str)
@MANY
@given(sparsity=st.floats(0.05, 0.4), seed=seeds)
def test_layers_have_few_patterns(most, strides, sparsity, seed):
    graph = chain_graph(WIDTHS)
    space = mask_space(graph, IntraKernelStrided(strides, most), sparsity)
    for candidate in candidates(space, graph, seed):
        assert sparsity_of(graph, candidate) >= sparsity - 1e-9
        for patterns in candidate.intra_kernel.values():
            assert len(np.unique(patterns, axis=0)) <= most
            assert strides is None or set(patterns[:, 0].tolist()) <= set(strides)


def test_top_with_one_pattern_takes_the_best_for_all_maps():
    graph = chain_graph([2, 4, 4, 3])
    space = mask_space(graph, IntraKernelStrided((3,), 1), 0.6)
    values = {n: np.zeros((graph.layer(n).positions, graph.layer(n).inputs)) for n in space.blocks}
    for value in values.values():
        value[[1, 4, 7]] = 1.0
        value[[0, 3, 6], 0] = 2.0  # the best of one map only
    for patterns in space.top(values).intra_kernel.values():
        assert (patterns == [3, 1]).all()


def test_demands_without_limits_are_the_plain_granularity():
    graph = chain_graph(WIDTHS)
    rng = np.random.default_rng
    for plain, demands in ((KERNEL, Kernel()), (INTRA_KERNEL, IntraKernelStrided()), ("feature_map", FeatureMap())):
        assert mask_space(graph, plain, 0.3).sample(rng(0)).equals(mask_space(graph, demands, 0.3).sample(rng(0)))
        assert as_granularity(plain) == demands
        assert demands.name == plain


def test_sparsity_beyond_the_blocks_is_refused():
    with pytest.raises(ValueError, match=r"'kernel' cannot remove that much here\. Received: sparsity=0\.9000"):
        mask_space(chain_graph(WIDTHS), Kernel(2), 0.9)


WRONG = {
    "no groups": (lambda: Kernel(0), r"groups must be at least 1\. Received: groups=0"),
    "blocks alone": (lambda: Kernel(blocks=2), r"blocks of inputs need groups of outputs"),
    "no patterns": (lambda: IntraKernelStrided(patterns=0), r"patterns must be at least 1\. Received: patterns=0"),
    "stride zero": (lambda: IntraKernelStrided((0,)), r"strides must be positive\. Received: strides=\(0,\)"),
    "strides of no name": (lambda: IntraKernelStrided("rows"), r"Unknown intra-kernel strides\. .*strides='rows'"),
    "other": (lambda: as_granularity(3), r"Unknown granularity\. Received: granularity=3"),
    "name": (lambda: as_granularity("filter"), r"Unknown granularity\. Received: granularity='filter'"),
}


@pytest.mark.parametrize("make, message", WRONG.values(), ids=WRONG)
def test_wrong_demands_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def shaped_graph(kernel_shape, positions):
    """A chain whose layers have kernels of that height and width, or dense ones behind a `Flatten`."""
    graph = chain_graph(WIDTHS, positions)
    layers = tuple(
        dataclasses.replace(layer, kernel_shape=(*kernel_shape, layer.inputs, layer.outputs)) for layer in graph.layers
    )
    return dataclasses.replace(graph, layers=layers)


SHAPES = {
    "3x3": ((3, 3), 9, (1, 3, 9)),
    "5x5": ((5, 5), 25, (1, 5, 25)),
    "10x4": ((10, 4), 40, (1, 4, 40)),
    "7x1": ((7, 1), 7, (1, 7)),
    "1x7": ((1, 7), 7, (1, 7)),
    "3 long": ((3,), 3, (1, 3)),
    "3x3x3": ((3, 3, 3), 27, (1, 3, 27)),
    "behind a Flatten of 7x7": ((), 49, (1, 7, 49)),
}


@pytest.mark.parametrize("kernel_shape, positions, strides", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("sparsity", [0.3, 0.5, 0.6])
def test_columns_are_as_wide_as_the_kernels_of_each_layer(kernel_shape, positions, strides, sparsity):
    graph = shaped_graph(kernel_shape, positions)
    by_rule, by_name = (
        mask_space(graph, IntraKernelStrided(each, 2), sparsity).sample(np.random.default_rng(0))
        for each in (COLUMNS, strides)
    )
    assert by_rule.equals(by_name)
    assert sparsity_of(graph, by_rule) >= sparsity - 1e-9


def test_layers_of_different_kernels_have_columns_of_their_own():
    graph = shaped_graph((3, 3), 9)
    wide = graph.prunable_layers[1]
    wider = dataclasses.replace(wide, kernel_shape=(5, 5, *wide.kernel_shape[2:]), positions=25)
    graph = dataclasses.replace(graph, layers=tuple(wider if each is wide else each for each in graph.layers))
    patterns = mask_space(graph, IntraKernelStrided(COLUMNS), 0.5).sample(np.random.default_rng(0)).intra_kernel
    assert {name: set(p[:, 0].tolist()) for name, p in patterns.items()} == {
        layer.name: {1, 5} if layer is wider else {1, 3} for layer in graph.prunable_layers
    }


@pytest.mark.parametrize("kernel_shape, positions, _", SHAPES.values(), ids=SHAPES)
def test_columns_reach_whatever_strides_can(kernel_shape, positions, _):
    graph = shaped_graph(kernel_shape, positions)
    assert sparsity_of(
        graph, mask_space(graph, IntraKernelStrided(COLUMNS), 1 - 1 / positions).sample(np.random.default_rng(0))
    ) == pytest.approx(1 - 1 / positions)


GROUPS = {0.0: 2, 0.5: 2, 0.51: 4, 0.75: 4, 0.76: 8, 0.875: 8, 0.88: 16}


@pytest.mark.parametrize("share, groups", GROUPS.items())
def test_lowerable_kernels_go_in_as_few_blocks_as_can_remove_the_share(share, groups):
    assert lowerable(KERNEL, share) == Kernel(groups)
    assert lowerable(KERNEL, 1 - (1 - share)) == Kernel(groups)  # a share that was computed


@MANY
@given(share=st.floats(0, 0.9375), seed=seeds)
def test_lowerable_kernels_reach_the_share_where_blocks_are_even(share, seed):
    graph = chain_graph([2, 16, 32, 16, 3])
    masks = mask_space(graph, lowerable(KERNEL, share), share).sample(np.random.default_rng(seed))
    assert share - 1e-9 <= sparsity_of(graph, masks)


@pytest.mark.parametrize("share", [0.0, 0.5, 2 / 3, 0.8])
def test_lowerable_patterns_are_columns_and_two_a_layer(share):
    assert lowerable(INTRA_KERNEL, share) == IntraKernelStrided(COLUMNS, 2)
    assert lowerable(FEATURE_MAP, share) == FeatureMap()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("filter", 0.5), r"Unknown granularity\. Received: granularity='filter'"),
        ((KERNEL, 1.0), r"Granularity 'kernel': sparsity must be in \[0, 1\)\. Received: sparsity=1\.0"),
    ],
    ids=["name", "share"],
)
def test_lowerable_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        lowerable(*arguments)
