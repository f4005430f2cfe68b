"""Masked and shrunk models are the same function however the layers are wired."""

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from tests import zoo
from tests.random_models import describe, functional_models
from tf_structprune.graph import trace
from tf_structprune.layers import get_masks, set_masks, wrap
from tf_structprune.masks import MaskSet
from tf_structprune.shrink import shrink

TOLERANCE = 1e-4  # of the largest output
ALWAYS = {"deadline": None, "derandomize": True, "phases": [Phase.generate], "suppress_health_check": list(HealthCheck)}


def _random_masks(masked, groups, rng):
    """Masks that leave at least one unit of every group, often only one; every other time also zeros in the kernels."""
    maps = {}
    for group in groups:
        maps[group.name] = np.zeros(group.size, bool)
        maps[group.name][rng.permutation(group.size)[: rng.integers(1, group.size + 1)]] = True
    if rng.random() < 0.5:
        return MaskSet(feature_map=maps)
    masks = get_masks(masked)
    kernels = {name: rng.random(mask.shape) < 0.7 for name, mask in masks.kernel.items()}
    patterns = {name: rng.integers((1, 0), (4, 3), mask.shape) for name, mask in masks.intra_kernel.items()}
    return MaskSet(maps, kernels, patterns)


def _check_agreement(model, seed):
    note(describe(model))
    masked = wrap(model, keep_first=seed % 2 == 0, keep_last=seed % 3 != 0)
    graph = trace(masked)
    note(str(graph))
    masks = _random_masks(masked, graph.prunable_groups, np.random.default_rng(seed))
    note(str(masks.feature_map))
    set_masks(masked, masks, graph=graph)

    small = shrink(masked).model

    x = zoo.batch(3, shape=model.input_shape[1:])
    largest = max(float(np.abs(value).max()) for value in zoo.outputs_of(masked, x))
    assert zoo.largest_difference(masked, small, x) < TOLERANCE * largest
    removed = not all(keep.all() for keep in masks.feature_map.values())
    assert (small.count_params() < model.count_params()) == removed or masks.kernel  # these may kill a map or none


@settings(max_examples=15, **ALWAYS)
@given(functional_models(), st.integers(0, 999))
def test_shrink_equals_masked_for_random_graphs(model, seed):
    _check_agreement(model, seed)


@pytest.mark.sweep
@pytest.mark.filterwarnings("ignore:Exception encountered when calling Softmax")  # over a single channel
@settings(max_examples=3000, **ALWAYS)
@given(functional_models(most_nodes=10), st.integers(0, 999))
def test_shrink_equals_masked_for_thousands_of_random_graphs(model, seed):
    _check_agreement(model, seed)
