"""Equalized models compute the same to the last bit, with the ranges of their channels brought together."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings

from tests import zoo
from tests.marks import sweep_but
from tests.random_models import functional_models
from tf_structprune.graph import layer_inputs
from tflite_export.quantize import equalize

_L = keras.layers
OFTEN = ("chain", "batch_norm_chain", "flatten_head", "residual_projection", "shared_layer", "leaky", "sequential")


def spread(model, name, x):
    """Largest over smallest range of the channels that a layer reads."""
    (tensor,) = layer_inputs(model, [name], x)[name]
    ranges = np.abs(keras.ops.convert_to_numpy(tensor)).reshape(-1, tensor.shape[-1]).max(axis=0)
    return ranges.max() / ranges[ranges > 0].min()


@pytest.mark.parametrize("name", sweep_but(OFTEN, {name: (name,) for name in zoo.ZOO}))
def test_outputs_are_the_same_to_the_last_bit(name):
    model, x = zoo.build(name), zoo.batch()
    before = model.get_weights()
    equal = equalize(model, x)
    for mine, theirs in zip(keras.tree.flatten(equal.predict(x, verbose=0)), _outputs(model, x), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    assert [layer.name for layer in equal.layers] == [layer.name for layer in model.layers]


def _outputs(model, x):
    return keras.tree.flatten(model.predict(x, verbose=0))


@pytest.mark.sweep
@settings(max_examples=100)
@given(functional_models())
def test_outputs_of_random_models_are_the_same(model):
    x = zoo.batch(shape=model.input_shape[1:])
    for mine, theirs in zip(_outputs(equalize(model, x), x), _outputs(model, x), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def network(*between, reader=None, first=None):
    """Two layers with others in between, the first with channels of very different ranges."""
    inputs = keras.Input((8, 8, 2))
    x = (first or _L.Conv2D(5, 3, padding="same", use_bias=True, name="first"))(inputs)
    for layer in between:
        x = layer(x)
    model = keras.Model(inputs, _L.Dense(3, name="last")(_L.Flatten()((reader or _L.Conv2D(4, 3, name="second"))(x))))
    zoo.randomize(model)
    loud = model.get_layer("first")
    kernel = np.asarray(loud.kernel)
    channels = kernel.shape[-2:] if isinstance(loud, _L.DepthwiseConv2D) else kernel.shape[-1:]
    factors = np.geomspace(1, 1e3, int(np.prod(channels)))
    loud.kernel.assign(kernel * factors.reshape(channels))
    return model


CHAINS = {
    "relu": (_L.ReLU,),
    "nothing": (),
    "normalization": (_L.BatchNormalization, _L.ReLU),
    "pooling": (lambda: _L.Activation("relu"), _L.MaxPooling2D, lambda: _L.AveragePooling2D(2, 1)),
    "leaky": (_L.LeakyReLU, _L.ZeroPadding2D, lambda: _L.Dropout(0.5)),
}


@pytest.mark.parametrize("kinds", CHAINS.values(), ids=CHAINS)
def test_channels_come_together(kinds):
    model, x = network(*(kind() for kind in kinds)), zoo.batch()
    equal = equalize(model, x)
    if kinds is CHAINS["normalization"]:  # which has ranges of its own
        model.layers[2].gamma.assign(np.geomspace(1, 1e3, 5))
        equal = equalize(model, x)
    assert spread(model, "second", x) > 50
    assert spread(equal, "second", x) < spread(model, "second", x) / 5
    np.testing.assert_array_equal(*(m.predict(x, verbose=0) for m in (equal, model)))


def test_depthwise_reader_gets_channels_of_one_range():
    model, x = network(_L.ReLU(), reader=_L.DepthwiseConv2D(3, depth_multiplier=2, name="second")), zoo.batch()
    equal = equalize(model, x)
    assert spread(equal, "second", x) <= 3.0  # powers of two on either side, and one thousand is the most
    np.testing.assert_array_equal(*(m.predict(x, verbose=0) for m in (equal, model)))


def test_dense_reader_behind_flatten_has_one_factor_a_channel():
    inputs = keras.Input((8, 8, 2))
    x = _L.Flatten()(_L.Conv2D(5, 3, activation="relu", name="first")(inputs))
    model = keras.Model(inputs, _L.Dense(3, name="second")(x))
    zoo.randomize(model)
    first = model.get_layer("first")
    first.kernel.assign(np.asarray(first.kernel) * np.geomspace(1, 1e3, 5))
    x = zoo.batch()
    equal = equalize(model, x)
    old, new = (np.asarray(m.get_layer("second").kernel).reshape(36, 5, 3) for m in (model, equal))
    factors = new / old
    np.testing.assert_array_equal(factors, np.broadcast_to(factors[:1, :, :1], factors.shape))
    np.testing.assert_array_equal(np.log2(factors) % 1, 0)
    np.testing.assert_array_equal(*(m.predict(x, verbose=0) for m in (equal, model)))


def test_depthwise_layer_in_front_is_scaled():
    first = _L.DepthwiseConv2D(3, depth_multiplier=3, name="first")
    model, x = network(_L.ReLU(), first=first), zoo.batch()
    equal = equalize(model, x)
    assert spread(equal, "second", x) < spread(model, "second", x) / 5
    np.testing.assert_array_equal(*(m.predict(x, verbose=0) for m in (equal, model)))


STOPPED = {
    "relu6": lambda x: _L.ReLU(max_value=6)(x),
    "sigmoid": lambda x: _L.Activation("sigmoid")(x),
    "threshold": lambda x: _L.ReLU(threshold=0.1)(x),
    "residual": lambda x: _L.Add()([x, _L.ReLU()(x)]),
    "no scale": lambda x: _L.BatchNormalization(scale=False)(x),
    "reshaped": lambda x: _L.Reshape((64, 5))(x),
    "unknown": lambda x: _L.LayerNormalization()(x),
}


@pytest.mark.parametrize("between", STOPPED.values(), ids=STOPPED)
def test_nothing_is_scaled_through_other_functions(between):
    inputs = keras.Input((8, 8, 2))
    x = between(_L.Conv2D(5, 3, padding="same", name="first")(inputs))
    model = keras.Model(inputs, (_L.Conv1D if len(x.shape) == 3 else _L.Conv2D)(4, 3, name="second")(x))
    zoo.randomize(model)
    assert equalize(model, zoo.batch()) is model


def test_dead_channels_are_left_alone_and_pruned_weights_stay_zero():
    model, x = network(_L.ReLU()), zoo.batch()
    first, second = model.get_layer("first"), model.get_layer("second")
    kernel, bias = np.asarray(first.kernel).copy(), np.zeros(5)
    kernel[..., 1] = 0
    first.set_weights([kernel, bias])
    gone = np.asarray(second.kernel).copy()
    gone[:, :, 2] = 0
    second.kernel.assign(gone)
    equal = equalize(model, x)
    np.testing.assert_array_equal(np.asarray(equal.get_layer("first").kernel)[..., 1:3], kernel[..., 1:3])
    assert ((np.asarray(equal.get_layer("second").kernel) == 0) == (gone == 0)).all()
    np.testing.assert_array_equal(*(m.predict(x, verbose=0) for m in (equal, model)))


def test_channel_that_the_samples_hardly_show_is_not_blown_up():
    model, x = network(_L.ReLU()), zoo.batch()
    first = model.get_layer("first")
    first.kernel.assign(np.asarray(first.kernel) * np.array([1e-12, 1, 1, 1, 1]))
    equal = equalize(model, x)
    grown = np.asarray(equal.get_layer("first").kernel) / np.asarray(first.kernel)
    assert grown.max() < 1e5
