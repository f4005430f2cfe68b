"""Masked and shrunk models are the same function."""

import keras
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import tf_structprune as sp
from tests import zoo
from tests.random_models import networks
from tf_structprune.masks import GRANULARITIES
from tf_structprune.shrink import shrink

FEW = settings(max_examples=8, deadline=None, derandomize=True, phases=[Phase.generate])  # shrinking takes minutes


def masked_at(model, sparsity, seed=0, **options):
    """The model with random masks at these sparsities."""
    masked = sp.wrap(model, granularity=GRANULARITIES, **options)
    sp.set_masks(masked, sp.random_masks(masked, sparsity, seed=seed))
    return masked


@pytest.mark.every(2)
@pytest.mark.parametrize("name, seed", [(name, at % 2) for at, name in enumerate(zoo.ZOO)])
def test_shrink_equals_masked(name, seed):
    masked = masked_at(zoo.build(name, seed), {"kernel": 0.2 + 0.3 * seed}, seed)
    groups = sp.trace(masked).prunable_groups
    if groups:
        sp.set_masks(masked, _random_maps(groups, np.random.default_rng(seed)))

    small = shrink(masked).model

    assert zoo.largest_difference(masked, small, zoo.batch()) < 1e-5
    assert (small.count_params() < sp.unwrap(masked).count_params()) == bool(groups)


def _random_maps(groups, rng):
    """Masks that remove at least one channel of every group and leave at least one."""
    masks = {}
    for group in groups:
        masks[group.name] = np.zeros(group.size, bool)
        masks[group.name][rng.choice(group.size, rng.integers(1, group.size), replace=False)] = True
    return sp.MaskSet(feature_map=masks)


@FEW
@given(networks(), st.integers(0, 99), st.booleans(), st.booleans())
def test_shrink_equals_masked_for_random_networks(model, seed, keep_first, keep_last):
    masked = sp.wrap(model, granularity=GRANULARITIES, keep_first=keep_first, keep_last=keep_last)
    rng = np.random.default_rng(seed)
    groups = [group for group in sp.trace(masked).prunable_groups if group.size > 1]
    masks = sp.get_masks(masked)
    kernels = {name: rng.random(mask.shape) < 0.7 for name, mask in masks.kernel.items()}
    patterns = {name: rng.integers((1, 0), (4, 3), mask.shape) for name, mask in masks.intra_kernel.items()}
    singles = {name: rng.random(mask.shape) > 0.4 for name, mask in masks.weight.items()}
    sp.set_masks(masked, sp.MaskSet(_random_maps(groups, rng).feature_map, kernels, patterns, singles))

    small = shrink(masked)

    assert zoo.largest_difference(masked, small.model, zoo.batch()) < 1e-5
    assert zoo.largest_difference(masked, sp.unwrap(masked), zoo.batch()) < 1e-5


@pytest.mark.every(3)
@pytest.mark.parametrize("polarity", ["keep_on_grid", "prune_on_grid"])
@pytest.mark.parametrize("name", ["flatten_head", "residual_twice"])
def test_shrink_hands_over_the_masks_that_are_left(name, polarity):
    everything = {"feature_map": 0.3, "kernel": 0.2, "intra_kernel": 0.15, "weight": 0.1}
    masked = masked_at(zoo.build(name), everything, polarity=polarity)

    small = shrink(masked)
    again = sp.wrap(small.model, polarity=polarity, granularity=GRANULARITIES)
    sp.set_masks(again, small.masks)

    assert not small.masks.feature_map
    assert small.masks.kernel
    assert small.masks.intra_kernel
    assert small.masks.weight
    assert zoo.largest_difference(masked, again, zoo.batch()) < 1e-5
    assert sum(kept_of(again, polarity)) == sum(kept_of(masked, polarity))
    _retrain(again)  # the masks hold the removed weights of the thin model
    assert zoo.largest_difference(again, sp.unwrap(again), zoo.batch()) < 1e-5


def kept_of(masked, polarity):
    return sp.kept_weights(sp.trace(masked), sp.get_masks(masked), polarity).values()


def _retrain(model):
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(zoo.batch(8), np.arange(8) % 3, verbose=0)


def test_shrink_twice_equals_once():
    masked = masked_at(zoo.build("residual_projection"), {"feature_map": 0.3})
    once = shrink(masked).model
    again = shrink(masked_at(once, {"feature_map": 0.3}, seed=3)).model
    assert again.count_params() < once.count_params()
    assert zoo.largest_difference(once, shrink(sp.wrap(once)).model, zoo.batch()) == 0


def test_shrink_keeps_names_and_settings():
    model = zoo.build("strides_and_dilations")
    model.get_layer("strided").kernel_regularizer = keras.regularizers.L2(0.125)
    masked = masked_at(model, {"feature_map": 0.5})

    small = shrink(masked).model

    assert [layer.name for layer in small.layers] == [layer.name for layer in model.layers]
    assert [type(layer) for layer in small.layers] == [type(layer) for layer in model.layers]
    assert small.name == model.name
    assert small.get_layer("strided").strides == (2, 2)
    assert small.get_layer("strided").kernel_regularizer.l2 == 0.125
    assert small.get_layer("dilated").dilation_rate == (2, 2)
    assert small.output_shape == model.output_shape
    assert small.input_shape == model.input_shape


def test_shrink_keeps_the_compile_state():
    model = zoo.build("chain")
    model.compile(keras.optimizers.SGD(0.125), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(zoo.batch(6), np.arange(6) % 3, verbose=0)

    small = shrink(masked_at(model, {"feature_map": 0.5})).model

    assert float(small.optimizer.learning_rate) == 0.125
    assert small.loss == "sparse_categorical_crossentropy"
    assert int(small.optimizer.iterations) == 0
    history = small.fit(zoo.batch(6), np.arange(6) % 3, verbose=0).history
    assert "accuracy" in history


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_shrink_keeps_the_dtype_policy(policy):
    keras.config.set_dtype_policy(policy)
    try:
        model = zoo.build("batch_norm_chain")
    finally:
        keras.config.set_dtype_policy("float32")
    masked = masked_at(model, {"feature_map": 0.4, "kernel": 0.3})
    small = shrink(masked).model
    assert {layer.dtype_policy.name for layer in small.layers if layer.weights} == {policy}
    assert zoo.largest_difference(masked, small, zoo.batch()) < 0.05


def test_shrink_leaves_the_masked_model_unchanged():
    masked = masked_at(zoo.build("residual_twice"), {"feature_map": 0.4, "kernel": 0.3})
    weights, config = masked.get_weights(), masked.to_json()
    shrink(masked)
    assert masked.to_json() == config
    assert all(np.array_equal(old, new) for old, new in zip(weights, masked.get_weights(), strict=True))


def test_shrink_without_removed_maps_folds_zeros():
    masked = masked_at(zoo.build("chain"), {"kernel": 0.5})
    small = shrink(masked)
    zeros = sum(int((layer.get_weights()[0] == 0).sum()) for layer in small.model.layers if layer.weights)
    assert zeros == sum(layer.weights for layer in sp.trace(masked).layers) - sum(kept_of(masked, "keep_on_grid"))
    assert small.model.count_params() == zoo.build("chain").count_params()


def test_shrink_refuses_a_plain_model():
    with pytest.raises(ValueError, match=r"Model 'chain' has no masks\. .* Use wrap\(model\) first"):
        shrink(zoo.build("chain"))


def test_shrunk_model_survives_saving(tmp_path):
    small = shrink(masked_at(zoo.build("residual_projection"), {"feature_map": 0.4})).model
    small.save(tmp_path / "small.keras")
    assert zoo.largest_difference(small, keras.models.load_model(tmp_path / "small.keras"), zoo.batch()) == 0


def test_shrunk_model_is_told_in_one_line():
    small = shrink(sp.wrap(zoo.build("chain")))
    assert repr(small) == f"ShrunkModel('{small.model.name}', {small.model.count_params():,} parameters, 0 masks left)"
