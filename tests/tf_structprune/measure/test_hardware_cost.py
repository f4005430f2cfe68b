"""Bit operations and memory: counted by hand, and falling with what is removed and rounded."""

import keras
import numpy as np
import pytest

import tf_structprune as sp
from tests import zoo
from tf_structprune.layers import quantized_layers
from tf_structprune.storage import as_matrix, smallest

_L = keras.layers


def net():
    inputs = keras.Input(zoo.INPUT_SHAPE)
    x = _L.ReLU()(_L.BatchNormalization()(zoo.conv(inputs, 4, strides=2, activation=None, name="a")))
    x = _L.GlobalAveragePooling2D()(_L.DepthwiseConv2D(3, padding="same", name="b")(x))
    return zoo.randomize(keras.Model(inputs, _L.Dense(3, activation="softmax", name="classifier")(x)))


def by_name(cost):
    return {layer.name: layer for layer in cost.layers}


def test_dense_float_model_by_hand():
    """Biases, and four numbers a channel of the normalization, beside the kernels."""
    model = net()
    cost = sp.hardware_cost(model)
    a, b, c = (by_name(cost)[name] for name in ("a", "b", "classifier"))
    assert (a.macs, b.macs, c.macs) == (3 * 3 * 2 * 4 * 16, 3 * 3 * 4 * 16, 4 * 3)
    assert cost.macs == sp.trace(model).macs
    assert cost.bit_operations == cost.macs * 32 * 32
    kernel = keras.ops.convert_to_numpy(model.get_layer("a").kernel)
    assert a.memory_bits == smallest(as_matrix(kernel))[1].size_bits >= 32 * kernel.size
    kernels = sum(model.get_layer(name).get_weights()[0].size for name in ("a", "b", "classifier"))
    assert cost.other_bits == 32 * (model.count_params() - kernels)
    assert cost.memory_bits == cost.other_bits + a.memory_bits + b.memory_bits + c.memory_bits


def test_masked_model_costs_what_its_zeros_leave():
    masked = sp.wrap(net(), granularity="weight", keep_first=False)
    before = by_name(sp.hardware_cost(masked))["a"]
    mask = np.arange(72).reshape(sp.get_masks(masked).weight["a"].shape) % 4 == 0
    sp.set_masks(masked, sp.MaskSet(weight={"a": mask}))
    after = by_name(sp.hardware_cost(masked))["a"]
    assert after.macs * 4 == before.macs
    assert after.memory_bits < before.memory_bits
    assert sp.hardware_cost(sp.unwrap(masked)) == sp.hardware_cost(masked)


def test_words_count_once_they_round():
    fixed = sp.to_fixed_point(net(), sp.FixedPoint(weight_bits=4, signal_bits=6))
    bare = by_name(sp.hardware_cost(fixed))["b"]
    assert (bare.weight_bits, bare.signal_bits) == (32, 32)
    sp.calibrate(fixed, zoo.batch(32))
    cost = sp.hardware_cost(fixed)
    layer = by_name(cost)["b"]
    assert (layer.weight_bits, layer.signal_bits) == (4, 6)
    assert layer.bit_operations == layer.macs * 24
    quantizer = quantized_layers(fixed)["b"]
    words = np.rint(keras.ops.convert_to_numpy(quantizer.effective_kernel()) / quantizer.step_values())
    assert layer.macs == np.count_nonzero(words) * 16
    assert layer.memory_bits == smallest(as_matrix(words.astype(np.int8)))[1].size_bits < bare.memory_bits
    assert "4 x 6 bits" in str(cost) and "bit operations" in str(cost)


@pytest.mark.parametrize("recipe", [sp.FixedPoint(4, 8, per_channel=True), sp.FixedPoint(4, 8, shared=4)], ids=str)
def test_other_grids_have_words_too(recipe):
    fixed = sp.to_fixed_point(net(), recipe)
    sp.calibrate(fixed, zoo.batch(32))
    cost = sp.hardware_cost(fixed)
    assert all(layer.weight_bits == 4 for layer in cost.layers)
    assert cost.memory_bits < sp.hardware_cost(sp.to_fixed_point(net(), recipe)).memory_bits


def test_depthwise_part_of_a_separable_convolution_is_counted():
    inputs = keras.Input(zoo.INPUT_SHAPE)
    x = _L.SeparableConv2D(5, 3, name="separable")(zoo.conv(inputs, 4, name="a"))
    model = zoo.randomize(keras.Model(inputs, _L.Dense(3)(_L.GlobalAveragePooling2D()(x))))
    assert sp.hardware_cost(model).macs == sp.trace(model).macs


def test_what_is_no_model_is_refused():
    with pytest.raises(TypeError, match=r"Received: builtins\.str"):
        sp.hardware_cost("model")
