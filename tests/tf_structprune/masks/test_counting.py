"""Kept weights against a count by brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.graphs import chain_graph, graphs
from tf_structprune.masks import POLARITIES, MaskSet, kept_weights, positions_kept, sparsity_of, unit_mask

LAWS = settings(max_examples=100, deadline=None, derandomize=True)


def random_mask_set(graph, rng):
    """Any masks that fit, without regard to counts."""
    return MaskSet(
        {g.name: rng.random(g.size) < 0.6 for g in graph.prunable_groups},
        {
            layer.name: rng.random((layer.inputs // layer.groups, layer.outputs)) < 0.6
            for layer in graph.prunable_layers
        },
        {layer.name: rng.integers((1, 0), (5, 5), (layer.inputs, 2)) for layer in graph.prunable_layers},
    )


@LAWS
@given(graph=graphs(), seed=st.integers(0, 9999), polarity=st.sampled_from(POLARITIES))
def test_kept_weights_equal_a_brute_force_count(graph, seed, polarity):
    masks = random_mask_set(graph, np.random.default_rng(seed))
    gone = {int(u) for g in graph.prunable_groups for u in g.units[~masks.feature_map[g.name]]}
    expected = {}
    for layer in graph.layers:
        channels, count = graph.channels[layer.name], 0
        patterns = masks.intra_kernel.get(layer.name, np.tile([1, 0], (layer.inputs, 1)))
        size, made = layer.inputs // layer.groups, layer.outputs // layer.groups  # of one convolution group
        for o, target in enumerate(channels.outputs):
            for row in range(size):
                i = o // made * size + row
                kernel = layer.name not in masks.kernel or masks.kernel[layer.name][row, o]
                kept = int(positions_kept(patterns[i : i + 1], layer.positions, polarity).sum())
                count += kept * bool(kernel and int(channels.inputs[i]) not in gone and int(target) not in gone)
        expected[layer.name] = count

    assert kept_weights(graph, masks, polarity) == expected
    left = sum(expected[layer.name] for layer in graph.prunable_layers)
    assert sparsity_of(graph, masks, polarity) == pytest.approx(1 - left / graph.prunable_weights)


@LAWS
@given(graphs())
def test_no_masks_keep_everything(graph):
    assert kept_weights(graph, MaskSet()) == {layer.name: layer.weights for layer in graph.layers}
    assert sparsity_of(graph, MaskSet()) == 0


def test_a_removed_map_takes_both_its_sides():
    graph = chain_graph([2, 4, 5, 6, 3])
    masks = MaskSet(feature_map={"layer_1": np.array([True, False, True, True, False])})
    assert kept_weights(graph, masks) == {
        "layer_0": 9 * 2 * 4,
        "layer_1": 9 * 4 * 3,
        "layer_2": 9 * 3 * 6,
        "layer_3": 9 * 6 * 3,
    }


def test_unit_mask_refuses_an_unknown_group():
    with pytest.raises(
        ValueError, match=r"'made_up' has no channel group of that name\. Received: group='x'\. Use one"
    ):
        unit_mask(chain_graph([2, 4, 4, 3]), MaskSet({"x": np.ones(4, bool)}))


def test_unit_mask_refuses_a_wrong_shape():
    with pytest.raises(ValueError, match=r"Group 'layer_1': .* Received: shape=\(3,\)\. Use shape \(4,\)"):
        unit_mask(chain_graph([2, 4, 4, 3, 2]), MaskSet({"layer_1": np.ones(3, bool)}))


def test_unit_mask_refuses_a_kept_group():
    with pytest.raises(ValueError, match=r"Group 'layer_0': .* because it is kept\. Received: 4 removed.*Leave the gr"):
        unit_mask(chain_graph([2, 4, 4, 3]), MaskSet({"layer_0": np.zeros(4, bool)}))


def test_unit_mask_accepts_a_kept_group_that_stays_whole():
    assert unit_mask(chain_graph([2, 4, 4, 3]), MaskSet({"layer_0": np.ones(4, bool)})).all()
