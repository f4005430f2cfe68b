"""Measures against sums taken by hand."""

import keras
import numpy as np
import pytest

import tf_structprune as sp
from tests import zoo
from tf_structprune.graph import trace
from tf_structprune.masks import FEATURE_MAP, GRANULARITIES, INTRA_KERNEL, KERNEL, mask_space
from tf_structprune.measure import MEASURES, activation_sums, l1

X = zoo.batch(3)


def kernel_of(model, name):
    return np.abs(model.get_layer(name).get_weights()[0].astype(np.float64))


def maps_read_by(model, name):
    probe = keras.Model(model.input, model.get_layer(name).input)
    return zoo.outputs_of(probe, X)[0].astype(np.float64)


@pytest.mark.parametrize("name", zoo.ZOO)
def test_l1_has_the_shapes_that_spaces_rank(name):
    model = zoo.build(name)
    graph = trace(model)
    for kind in GRANULARITIES:
        space = mask_space(graph, kind, 0.1)
        masks = space.top(l1(model, graph, kind, X))
        assert sp.sparsity_of(graph, masks) >= 0.1


def test_l1_by_hand_for_a_chain():
    model = zoo.build("chain")
    graph, kernel = trace(model), kernel_of(model, "b")
    assert np.allclose(l1(model, graph, FEATURE_MAP, X)["b"], kernel.sum(axis=(0, 1, 2)))
    assert np.allclose(l1(model, graph, KERNEL, X)["b"], kernel.sum(axis=(0, 1)))
    patterns = l1(model, graph, INTRA_KERNEL, X)["b"]
    assert patterns.shape == (9, 4)
    assert np.isclose(patterns[5, 2], kernel[1, 2, 2, :].sum())


def test_l1_sums_over_the_producers_of_a_group():
    model = zoo.build("residual_projection")
    sums = l1(model, trace(model), FEATURE_MAP, X)["main_2"]
    expected = kernel_of(model, "main_2").sum(axis=(0, 1, 2)) + kernel_of(model, "short").sum(axis=(0, 1, 2))
    assert np.allclose(sums, expected)


def test_l1_behind_flatten_goes_by_map():
    model = zoo.build("flatten_head")
    graph, kernel = trace(model), kernel_of(model, "hidden")  # (4 positions * 5 maps, 7)
    assert np.allclose(l1(model, graph, KERNEL, X)["hidden"][2, 3], sum(kernel[p * 5 + 2, 3] for p in range(4)))
    assert np.allclose(l1(model, graph, INTRA_KERNEL, X)["hidden"][1, 2], kernel[1 * 5 + 2].sum())


def test_activation_sums_by_hand():
    model = zoo.build("batch_norm_chain")
    sums = activation_sums(model, trace(model), FEATURE_MAP, X)
    assert sums["b"].shape == (3, 6)
    assert np.allclose(sums["b"], np.abs(maps_read_by(model, "c")).sum(axis=(1, 2)), rtol=1e-5)
    assert np.allclose(sums["c"], np.abs(maps_read_by(model, "classifier")), rtol=1e-5)


def test_activation_sums_add_over_the_readers_of_a_group():
    model = zoo.build("residual_identity")
    sums = activation_sums(model, trace(model), FEATURE_MAP, X)["wide"]
    expected = np.abs(maps_read_by(model, "main_1")).sum(axis=(1, 2)) + np.abs(maps_read_by(model, "classifier"))
    assert np.allclose(sums, expected, rtol=1e-5)


def test_activation_sums_behind_flatten_go_by_map():
    model = zoo.build("flatten_head")
    sums = activation_sums(model, trace(model), FEATURE_MAP, X)["b"]
    assert np.allclose(sums, np.abs(maps_read_by(model, "hidden")).reshape(3, 4, 5).sum(axis=1), rtol=1e-5)


@pytest.mark.parametrize("measure", MEASURES)
def test_measures_see_through_wrappers(measure):
    model = zoo.build("residual_twice")
    masked = sp.wrap(model)
    plain = MEASURES[measure](model, trace(model), FEATURE_MAP, X)
    wrapped = MEASURES[measure](masked, trace(masked), FEATURE_MAP, X)
    assert plain.keys() == wrapped.keys()
    assert all(np.allclose(plain[name], wrapped[name], rtol=1e-5) for name in plain)


def test_activation_sums_see_the_masks():
    masked = sp.wrap(zoo.build("leaky"))
    before = activation_sums(masked, trace(masked), FEATURE_MAP, X)["c"]
    sp.set_masks(masked, sp.random_masks(masked, {"kernel": 0.5}))
    assert not np.allclose(before, activation_sums(masked, trace(masked), FEATURE_MAP, X)["c"])


def test_activation_sums_without_a_free_group_are_empty():
    model = zoo.build("chain")
    assert activation_sums(model, trace(model, keep=["b", "c"]), FEATURE_MAP, X) == {}


@pytest.mark.parametrize("granularity", [KERNEL, INTRA_KERNEL])
def test_activation_sums_refuse_other_granularities(granularity):
    model = zoo.build("chain")
    with pytest.raises(
        ValueError, match=rf"feature maps only\. Received: granularity='{granularity}'\. Use the measur"
    ):
        activation_sums(model, trace(model), granularity, X)


def test_activation_sums_refuse_no_samples():
    model = zoo.build("chain")
    with pytest.raises(ValueError, match=r"need samples\. Received: 0 images\. Give validation data"):
        activation_sums(model, trace(model), FEATURE_MAP, X[:0])
