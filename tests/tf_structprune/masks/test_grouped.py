"""Counts and mask spaces where layers have groups, or units several channels."""

import keras
import numpy as np
import pytest

import tf_structprune as sp
from tests import zoo
from tests.grouped_nets import any_masks, build, each_net, graph_of, nonzero
from tf_structprune.graph import kernel_view, named_layers
from tf_structprune.layers import get_masks
from tf_structprune.masks import (
    FEATURE_MAP,
    GRANULARITIES,
    INTRA_KERNEL,
    KERNEL,
    POLARITIES,
    MaskSet,
    PatternOptions,
    kept_weights,
    mask_space,
    masks_by_layer,
    sparsity_of,
)

_L = keras.layers


# counts


@pytest.mark.parametrize("polarity", POLARITIES)
@each_net
def test_kept_weights_are_the_nonzero_ones_of_the_masked_kernels(name, polarity):
    masked = sp.wrap(build(name), polarity=polarity)
    graph, rng = sp.trace(masked), np.random.default_rng(0)
    for _ in range(2):
        masks = any_masks(graph, rng)
        sp.set_masks(masked, masks, graph=graph)
        assert nonzero(sp.unwrap(masked), masked) == kept_weights(graph, masks, polarity)


@each_net
def test_no_masks_count_every_weight(name):
    graph, layers = graph_of(name), named_layers(build(name))
    assert kept_weights(graph, MaskSet()) == {layer.name: layer.weights for layer in graph.layers}
    assert sparsity_of(graph, MaskSet()) == 0
    for layer in graph.layers:
        view = kernel_view(layers[layer.name], graph.channels[layer.name].positions)
        assert (layer.positions, layer.group_inputs, layer.outputs) == view.view_shape
        assert layer.weights == np.prod(layer.kernel_shape)


def test_counts_of_a_grouped_layer_by_hand():
    graph = graph_of("grouped")
    layer = graph.layer("grouped")
    assert (layer.groups, layer.group_inputs, layer.inputs, layer.outputs) == (2, 4, 8, 12)
    assert (layer.weights, layer.macs) == (9 * 4 * 12, 9 * 4 * 12 * 64)
    (group,) = (group for group in graph.prunable_groups if "grouped" in group.producers)
    assert (group.size, group.producers, group.unit_channels) == (2, ("before", "grouped"), 4)
    masks = MaskSet(feature_map={group.name: np.array([False, True])})
    assert kept_weights(graph, masks) == {
        "stem": 9 * 2 * 4,
        "before": 9 * 4 * 4,
        "grouped": 9 * 4 * 6,
        "after": 9 * 6 * 9,
        "classifier": 9 * 3,
    }
    kernels = np.ones((4, 12), bool)
    kernels[1, 3] = kernels[2, 7] = False  # the first lies in the group that is gone
    both = masks.updated(KERNEL, {"grouped": kernels})
    assert kept_weights(graph, both)["grouped"] == 9 * (4 * 6 - 1)
    alive = masks_by_layer(graph, both)["grouped"].alive
    assert not alive[:, :6].any()
    assert np.argwhere(~alive[:, 6:]).tolist() == [[2, 1]]


def test_pattern_of_a_grouped_layer_is_that_of_the_map_in_its_group():
    graph = graph_of("grouped")
    pattern = np.tile([[1, 0]], (8, 1))
    pattern[6] = (9, 0)  # keeps one of nine positions; map 6 is the third of the second group
    masks = MaskSet(intra_kernel={"grouped": pattern})
    weights = masks_by_layer(graph, masks)["grouped"].kernel_weights
    expected = np.full((4, 12), 9)
    expected[2, 6:] = 1
    assert np.array_equal(weights, expected)
    assert kept_weights(graph, masks)["grouped"] == expected.sum()


def test_counts_of_a_multiplied_depthwise_layer_by_hand():
    graph = graph_of("depthwise_multiplied")
    layer = graph.layer("depthwise")
    assert (layer.groups, layer.group_inputs, layer.inputs, layer.outputs) == (7, 1, 7, 14)
    assert layer.is_depthwise
    assert (layer.weights, layer.macs) == (9 * 14, 9 * 14 * 64)
    masks = MaskSet(feature_map={"before": np.arange(7) < 5})
    assert kept_weights(graph, masks)["depthwise"] == 9 * 10
    assert kept_weights(graph, masks)["after"] == 9 * 10 * 9


def test_counts_of_a_separable_layer_by_hand():
    graph = graph_of("separable")
    layer = graph.layer("separable")
    assert (layer.groups, layer.inputs, layer.outputs, layer.positions, layer.other_weights) == (1, 12, 11, 1, 9)
    assert not layer.is_depthwise
    assert (layer.weights, layer.macs) == (12 * 11, (12 * 11 + 9 * 12) * 64)
    masks = MaskSet(feature_map={"before": np.arange(6) < 4})
    assert kept_weights(graph, masks)["separable"] == 8 * 11


# mask spaces


def largest_sparsity(graph, granularity, **options):
    """What a space says is in reach."""
    try:
        mask_space(graph, granularity, 0.9999, **options)
    except ValueError as error:
        return float(str(error).split("Use at most ")[1].split(",")[0])
    return 0.9999


TARGETS = (0.0, 0.15, 0.4, 0.65, 0.97)  # of what is in reach
each_target = pytest.mark.parametrize("target", TARGETS)


@each_target
@pytest.mark.parametrize("granularity", GRANULARITIES)
@each_net
def test_candidates_reach_the_sparsity(name, granularity, target):
    graph = graph_of(name)
    sparsity = target * largest_sparsity(graph, granularity)
    space = mask_space(graph, granularity, sparsity)
    rng = np.random.default_rng(0)
    first, second = space.sample(rng), space.sample(rng)
    candidates = [first, second, space.perturb(first, 0.5, rng), space.cross(first, second, rng)]
    found = {sparsity_of(graph, masks) for masks in candidates}
    assert max(found) - min(found) < 1e-12
    assert min(found) >= sparsity - 1e-9
    assert min(found) < 1
    for masks in candidates:
        assert all(layer.weights > 0 for layer in masks_by_layer(graph, masks).values())


@each_target
@each_net
def test_feature_maps_stop_at_the_first_count_that_reaches(name, target):
    graph = graph_of(name)
    sparsity = target * largest_sparsity(graph, FEATURE_MAP)
    masks = mask_space(graph, FEATURE_MAP, sparsity).sample(np.random.default_rng(0))
    back = []
    for group, mask in masks.feature_map.items():
        for removed in np.flatnonzero(~mask):
            more = mask.copy()
            more[removed] = True
            back.append(sparsity_of(graph, masks.updated(FEATURE_MAP, {group: more})))
    assert target == 0 or back
    assert min(back, default=-1) < sparsity


@each_target
@each_net
def test_patterns_are_within_one_step_of_each_layer(name, target):
    graph = graph_of(name)
    for polarity in POLARITIES:
        options = PatternOptions(polarity=polarity)
        sparsity = target * largest_sparsity(graph, INTRA_KERNEL, patterns=options)
        space = mask_space(graph, INTRA_KERNEL, sparsity, patterns=options)
        found = sparsity_of(graph, space.sample(np.random.default_rng(0)), polarity)
        steps = sum(
            int(block.high_kept[:, 0].sum() - block.low_kept[:, 0].sum()) * int(block.allowance.weight.max())
            for block in space.blocks.values()
        )
        assert sparsity - 1e-9 <= found <= sparsity + steps / graph.prunable_weights + 1e-9


@each_target
@each_net
def test_kernels_are_within_one_kernel_of_each_layer(name, target):
    graph = graph_of(name)
    sparsity = target * largest_sparsity(graph, KERNEL)
    space = mask_space(graph, KERNEL, sparsity)
    found = sparsity_of(graph, space.sample(np.random.default_rng(0)))
    largest = max(graph.layer(name).positions for name in space.blocks)  # they go one by one
    assert sparsity - 1e-9 <= found <= sparsity + largest / graph.prunable_weights + 1e-9


@pytest.mark.parametrize("name", ["depthwise", "depthwise_multiplied", "inverted_residual"])
def test_depthwise_layers_get_patterns_but_no_kernel_masks(name):
    masked = sp.wrap(build(name))
    graph = sp.trace(masked)
    assert graph.layer("depthwise").prunable
    blocks = {kind: mask_space(graph, kind, 0.3).blocks for kind in (KERNEL, INTRA_KERNEL)}
    assert "depthwise" not in blocks[KERNEL]
    assert "depthwise" in blocks[INTRA_KERNEL]
    masks = sp.random_masks(masked, {KERNEL: 0.4})
    assert masks.kernel.get("depthwise", np.ones(1, bool)).all()
    sp.set_masks(masked, masks, graph=graph)
    assert get_masks(masked).kernel["depthwise"].all()


def test_group_a_channel_counts_as_depthwise():
    inputs = keras.Input(zoo.INPUT_SHAPE)
    x = zoo.conv(zoo.conv(inputs, 4, name="stem"), 5, name="before")
    x = zoo.conv(_L.Conv2D(10, 3, groups=5, name="grouped")(x), 6, name="after")
    graph = sp.trace(keras.Model(inputs, _L.Dense(3)(_L.GlobalAveragePooling2D()(x))))
    assert set(mask_space(graph, KERNEL, 0.3).blocks) == {"before", "after"}


@pytest.mark.parametrize("second", [KERNEL, INTRA_KERNEL])
@each_net
def test_sparsity_on_top_of_removed_maps_is_reached(name, second):
    graph, rng = graph_of(name), np.random.default_rng(0)
    base = mask_space(graph, FEATURE_MAP, 0.4 * largest_sparsity(graph, FEATURE_MAP)).sample(rng)
    present = sparsity_of(graph, base)
    target = present + 0.6 * (largest_sparsity(graph, second, base=base) - present)
    masks = mask_space(graph, second, target, base=base).sample(rng)
    assert sparsity_of(graph, masks) >= target - 1e-9
    assert all(np.array_equal(masks.feature_map[group], mask) for group, mask in base.feature_map.items())


@pytest.mark.parametrize("first", [KERNEL, INTRA_KERNEL])
@each_net
def test_feature_maps_on_top_of_other_masks_come_near_the_sparsity(name, first):
    graph = graph_of(name)
    base = mask_space(graph, first, 0.3 * largest_sparsity(graph, first)).sample(np.random.default_rng(0))
    present = sparsity_of(graph, base)
    target = present + 0.5 * (1 - present) * 0.5
    space = mask_space(graph, FEATURE_MAP, target, base=base)
    found = [sparsity_of(graph, space.sample(np.random.default_rng(seed))) for seed in range(5)]
    ones = [
        sparsity_of(graph, MaskSet(feature_map={group.name: np.arange(group.size) > 0}))
        for group in graph.prunable_groups
    ]
    assert target - 0.02 < np.mean(found) < target + max(ones) + 0.02


@each_net
def test_random_masks_multiply_what_is_left(name):
    masked = sp.wrap(build(name))
    masks = sp.random_masks(masked, {FEATURE_MAP: 0.3, KERNEL: 0.2, INTRA_KERNEL: 0.1}, seed=3)
    assert sparsity_of(sp.trace(masked), masks) >= 1 - 0.7 * 0.8 * 0.9 - 1e-9
