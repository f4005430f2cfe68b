"""How weights follow the maps of their layers."""

import keras
import numpy as np
import pytest

import tf_structprune as sp
from tests import zoo
from tf_structprune.channels import WeightShape
from tf_structprune.graph import trace, weight_shapes

_L = keras.layers
# Behind a convolution of 6 maps on 8 x 8 pixels: a layer, and the factor of each of its weights with what it follows.
LAYERS = {
    "convolution": (_L.Conv2D(4, 3), [(9, True, True), (1, False, True)]),
    "transposed": (_L.Conv2DTranspose(4, (3, 2)), [(6, True, True), (1, False, True)]),
    "depthwise": (_L.DepthwiseConv2D(3, depth_multiplier=2), [(18, True, False), (1, False, True)]),
    "separable": (
        _L.SeparableConv2D(4, 3, depth_multiplier=2),
        [(9, True, False), (1, True, True), (1, False, True)],
    ),
    "grouped": (_L.Conv2D(4, 3, groups=2, use_bias=False), [(27, False, True)]),
    "normalization": (_L.BatchNormalization(), [(1, False, True)] * 4),
    "slopes of maps": (_L.PReLU(shared_axes=(1, 2)), [(1, False, True)]),
    "slopes of pixels": (_L.PReLU(), [(64, False, True)]),
    "one slope": (_L.PReLU(shared_axes=(1, 2, 3)), [(1, False, False)]),
}


def shapes_of(layer):
    inputs = keras.Input((8, 8, 2))
    x = zoo.conv(inputs, 6, name="first")
    made = layer(x, x) if isinstance(layer, _L.MultiHeadAttention) else layer(x)
    model = keras.Model(inputs, _L.Dense(3)(_L.Dense(4)(_L.Flatten()(made))))
    return [shape for shape in weight_shapes(model, trace(model)) if shape.layer == layer.name]


@pytest.mark.parametrize("layer, expected", LAYERS.values(), ids=LAYERS)
def test_weights_follow_the_maps_of_their_layer(layer, expected):
    layer = layer.from_config(layer.get_config())
    assert shapes_of(layer) == [WeightShape(layer.name, *values) for values in expected]


def test_weights_of_a_layer_without_a_rule_stay():
    layer = _L.MultiHeadAttention(1, 2)
    shapes = shapes_of(layer)
    assert [shape.factor for shape in shapes] == [int(np.prod(weight.shape)) for weight in layer.weights]
    assert not any(shape.by_input or shape.by_output for shape in shapes)


def test_dense_layer_behind_a_flatten_has_a_weight_for_each_pixel():
    model = zoo.build("flatten_head")
    first, *_ = (shape for shape in weight_shapes(model, trace(model)) if shape.layer == "hidden")
    assert first == WeightShape("hidden", 4, by_input=True, by_output=True)


@pytest.mark.parametrize("name", ["chain", "batch_norm_behind_flatten", "unknown_layer"])
def test_masks_are_no_weights(name):
    model = zoo.build(name)
    masked = sp.wrap(model)
    assert weight_shapes(masked, trace(masked)) == weight_shapes(model, trace(model))
