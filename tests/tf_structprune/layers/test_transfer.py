"""Masks put on another network; what a new model would hold."""

import keras
import numpy as np
import pytest

import tf_structprune as sp
from tests import zoo
from tf_structprune import pretext
from tf_structprune.layers import fresh_weights
from tf_structprune.masks import GRANULARITIES


def wrapped(name="chain", seed=0, granularity="weight", **settings):
    return sp.wrap(zoo.build(name, seed), granularity=granularity, **settings)


def test_masks_of_one_task_are_put_on_another():
    source = pretext.features_of(wrapped(granularity=GRANULARITIES))
    sp.set_masks(source, sp.random_masks(source, {"kernel": 0.3, "weight": 0.5}))
    target = wrapped(seed=1, granularity=GRANULARITIES)
    before = sp.unwrap(target).get_weights()[0]
    told = sp.transfer_masks(source, target)
    for kind in ("kernel", "weight"):
        for name, mask in sp.get_masks(source).of(kind).items():
            np.testing.assert_array_equal(sp.get_masks(target).of(kind)[name], mask)
    assert told.only_source == () and "c" in told.only_target  # its maps are the outputs of the source
    np.testing.assert_array_equal(before, sp.unwrap(target).get_weights()[0])


def test_layers_that_one_of_them_has_are_told():
    found = sp.MaskSet(weight={"b": np.arange(9 * 4 * 6).reshape(9, 4, 6) % 2 == 0, "head": np.ones((1, 2, 3), bool)})
    target = wrapped(keep_last=False)
    told = sp.transfer_masks(found, target)
    assert told.only_source == ("head",) and told.only_target == ("c", "classifier")
    assert told.masks.equals(sp.MaskSet(weight={"b": found.weight["b"]}))
    np.testing.assert_array_equal(sp.get_masks(target).weight["b"], found.weight["b"])


def test_masks_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="no layer or group with masks whose name the source has. Received: no masks"):
        sp.transfer_masks(sp.MaskSet(), wrapped())
    with pytest.raises(ValueError, match=r"'b' has masks of another shape in the target. Received: shape=\(1, 2, 3\)"):
        sp.transfer_masks(sp.MaskSet(weight={"b": np.ones((1, 2, 3), bool)}), wrapped())


def test_new_initial_values_follow_the_seed_and_leave_what_is_not_trained():
    layers = keras.layers
    fixed = keras.initializers.HeNormal(seed=1)
    stack = [layers.Normalization(name="scale"), layers.Conv2D(3, 3, kernel_initializer=fixed, name="a")]
    stack += [layers.BatchNormalization(), layers.Conv2D(3, 3, name="frozen"), layers.Flatten(), layers.Dense(3)]
    model = sp.wrap(zoo.randomize(keras.Sequential([keras.Input(zoo.INPUT_SHAPE), *stack])), granularity="weight")
    model.get_layer("frozen").trainable = False
    sp.set_masks(model, sp.random_masks(model, {"weight": 0.5}))
    first, again, other = (fresh_weights(model, model, seed) for seed in (0, 0, 1))
    for variable, now, one, two, three in zip(model.weights, model.get_weights(), first, again, other, strict=True):
        np.testing.assert_array_equal(one, two)
        assert np.array_equal(one, now) is not (variable.trainable or "moving" in variable.path), variable.path
        assert np.array_equal(one, three) is not (variable.trainable and one.ndim > 1), variable.path


def test_model_that_cannot_be_made_anew_is_told():
    class Own(keras.layers.Layer):
        def call(self, inputs):
            return inputs

    inputs = keras.Input(zoo.INPUT_SHAPE)
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(Own()(inputs))), name="net")
    with pytest.raises(ValueError, match="'net' cannot be made anew from its configuration: .*Register its layers"):
        fresh_weights(model, model, 0)
