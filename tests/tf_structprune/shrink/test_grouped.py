"""The weights that masks count as kept are those of the shrunk kernels, where layers have groups."""

import numpy as np
import pytest

import tf_structprune as sp
from tests.grouped_nets import any_masks, build, each_net, nonzero
from tf_structprune.masks import MaskSet, kept_weights, sparsity_of
from tf_structprune.shrink import shrink


@pytest.mark.every(2)
@each_net
def test_kept_weights_are_all_weights_of_the_shrunk_kernels(name):
    masked = sp.wrap(build(name))
    graph, rng = sp.trace(masked), np.random.default_rng(1)
    for _ in range(2):
        masks = MaskSet(feature_map=any_masks(graph, rng).feature_map)
        sp.set_masks(masked, masks, graph=graph)
        small = shrink(masked).model
        kept = kept_weights(graph, masks)
        assert kept == {layer.name: layer.weights for layer in sp.trace(small).layers}
        assert kept == nonzero(small, masked)
        total = sum(kept[layer.name] for layer in graph.prunable_layers)
        assert sparsity_of(graph, masks) == pytest.approx(1 - total / graph.prunable_weights)
