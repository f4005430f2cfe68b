"""Shrinking a pruned fixed-point model gives the same function on the same grids."""

import keras
import numpy as np
import pytest

import tf_structprune as sp
from tests import zoo
from tf_structprune.fixed_point import word_range
from tf_structprune.layers import quantized_layers, signal_quantizers
from tf_structprune.masks import GRANULARITIES
from tf_structprune.shrink import shrink

TOPOLOGIES = ["chain", "flatten_head", "residual_projection", "grouped_convolution"]
RECIPES = {
    "a step a layer": sp.FixedPoint(4, 6),
    "a step a channel": sp.FixedPoint(3, 8, power_of_two=False, per_channel=True),
}
each_topology = pytest.mark.parametrize(
    "name, recipe", list(zip(TOPOLOGIES, list(RECIPES.values()) * 2, strict=True)), ids=TOPOLOGIES
)


def masked_at(name, recipe, sparsity, seed=0):
    """A calibrated model with random masks."""
    fixed = sp.to_fixed_point(zoo.build(name), recipe)
    sp.calibrate(fixed, zoo.batch(32))
    masked = sp.wrap(fixed, granularity=GRANULARITIES)
    sp.set_masks(masked, sp.random_masks(masked, sparsity, seed=seed))
    return masked


def rounded_kernel(layer):
    return keras.ops.convert_to_numpy(layer.effective_kernel())


@pytest.mark.every(2)
@pytest.mark.parametrize("granularity", GRANULARITIES)
@each_topology
def test_shrunk_equals_masked(name, recipe, granularity):
    masked = masked_at(name, recipe, {granularity: 0.4})
    small = shrink(masked).model
    assert zoo.largest_difference(masked, small, zoo.batch(24)) < 1e-5
    assert (small.count_params() < sp.unwrap(masked).count_params()) == (granularity == "feature_map")


@each_topology
def test_all_granularities_together_shrink_to_the_same_function(name, recipe):
    masked = masked_at(name, recipe, {"feature_map": 0.3, "kernel": 0.3, "intra_kernel": 0.2}, seed=4)
    assert zoo.largest_difference(masked, shrink(masked).model, zoo.batch(24)) < 1e-5


@pytest.mark.parametrize("name, killed", [("chain", "b"), ("flatten_head", "b"), ("residual_projection", "main_1")])
def test_maps_that_are_dead_leave_the_same_function(name, killed):
    """Their constants move into the readers' biases, or, where padding shows, one of them stays."""
    masked = masked_at(name, RECIPES["a step a channel"], {"kernel": 0.01})
    kernel = {key: mask.copy() for key, mask in sp.get_masks(masked).kernel.items()}
    kernel[killed][:, :3] = False
    sp.set_masks(masked, sp.MaskSet(kernel=kernel))
    small = shrink(masked).model
    assert zoo.largest_difference(masked, small, zoo.batch(24)) < 1e-5


@each_topology
def test_shrink_keeps_the_grids(name, recipe):
    masked = masked_at(name, recipe, {"feature_map": 0.4})
    small = shrink(masked).model
    signals = {key: layer.calibration().tolist() for key, layer in signal_quantizers(masked).items()}
    assert {key: layer.calibration().tolist() for key, layer in signal_quantizers(small).items()} == signals
    old, new = quantized_layers(masked), quantized_layers(small)
    assert set(new) == set(old)
    fewer = 0
    for key, layer in new.items():
        steps, present = old[key].step_values().ravel(), layer.step_values().ravel()
        assert (layer.weight_bits, float(layer.input_step)) == (old[key].weight_bits, float(old[key].input_step))
        assert layer.calibrated and set(present) <= set(steps)
        fewer += len(present) < len(steps)
        words = rounded_kernel(layer) / layer.step_values()
        assert np.allclose(words, np.rint(words), atol=1e-3)
        assert np.abs(np.rint(words)).max() <= word_range(layer.weight_bits)[1]
    assert bool(fewer) == recipe.per_channel


def test_each_channel_keeps_its_own_step():
    masked = masked_at("chain", RECIPES["a step a channel"], {"kernel": 0.01})
    (group,) = (group for group in sp.trace(masked).prunable_groups if "b" in group.producers)
    keep = np.array([True, False, True, True, False, True])
    sp.set_masks(masked, sp.MaskSet(feature_map={group.name: keep}))
    small = quantized_layers(shrink(masked).model)["b"]
    assert np.array_equal(small.step_values(), quantized_layers(masked)["b"].step_values()[keep])


@pytest.mark.parametrize("name, granularity", zip(TOPOLOGIES, GRANULARITIES, strict=True))
def test_unwrapped_equals_masked_and_keeps_the_grids(name, granularity):
    masked = masked_at(name, RECIPES["a step a channel"], {granularity: 0.4})
    plain = sp.unwrap(masked)
    assert zoo.largest_difference(masked, plain, zoo.batch(24)) < 1e-5
    for key, layer in quantized_layers(plain).items():
        assert np.array_equal(layer.step_values(), quantized_layers(masked)[key].step_values())
        assert np.array_equal(rounded_kernel(layer) == 0, _masked_kernel(masked, key) == 0)


def _masked_kernel(masked, key):
    return keras.ops.convert_to_numpy(masked.get_layer(key).effective_kernel())


def test_shrunk_model_trains_on_with_its_zeros():
    small = shrink(masked_at("chain", RECIPES["a step a layer"], {"feature_map": 0.3, "kernel": 0.4})).model
    before = {key: rounded_kernel(layer) for key, layer in quantized_layers(small).items()}
    floats = {key: np.array(layer.kernel_variable) for key, layer in quantized_layers(small).items()}
    small.compile(keras.optimizers.SGD(0.5), "sparse_categorical_crossentropy", run_eagerly=True)
    small.fit(zoo.batch(24), np.arange(24) % 3, epochs=2, verbose=0)
    for key, layer in quantized_layers(small).items():
        assert (rounded_kernel(layer)[floats[key] == 0] == 0).all()
    assert any((rounded_kernel(layer) != before[key]).any() for key, layer in quantized_layers(small).items())
    assert any((values == 0).any() for values in floats.values())


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_shrunk_model_is_saved_and_loaded(recipe, tmp_path):
    small = shrink(masked_at("residual_projection", recipe, {"feature_map": 0.4})).model
    small.save(tmp_path / "small.keras")
    assert zoo.largest_difference(small, keras.models.load_model(tmp_path / "small.keras"), zoo.batch()) == 0


def test_shrink_leaves_the_masked_model_unchanged():
    masked = masked_at("chain", RECIPES["a step a channel"], {"feature_map": 0.4, "kernel": 0.2})
    before = [np.array(weight) for weight in masked.get_weights()]
    shrink(masked)
    assert all(np.array_equal(old, new) for old, new in zip(before, masked.get_weights(), strict=True))
