"""Networks whose layers have groups, or whose units are several channels, and masks for them."""

import functools

import keras
import numpy as np
import pytest

import tf_structprune as sp
from tests import zoo
from tf_structprune.graph import named_layers
from tf_structprune.layers import MaskedLayer
from tf_structprune.masks import MaskSet

_L = keras.layers


def grouped(x):
    x = _L.Conv2D(12, 3, groups=2, padding="same", name="grouped")(zoo.conv(x, 8, name="before"))
    return zoo.conv(x, 9, name="after")


def grouped_in_a_residual(x):
    x = zoo.conv(x, 12, name="before")
    y = _L.Conv2D(12, 3, groups=4, padding="same", name="grouped")(zoo.conv(x, 8, name="inner"))
    return zoo.conv(_L.Add()([x, y]), 9, name="after")


def depthwise(x):
    x = _L.DepthwiseConv2D(3, padding="same", name="depthwise")(zoo.conv(x, 10, name="before"))
    return zoo.conv(x, 9, 1, name="after")


def depthwise_multiplied(x):
    x = _L.DepthwiseConv2D(3, depth_multiplier=2, padding="same", name="depthwise")(zoo.conv(x, 7, name="before"))
    return zoo.conv(x, 9, name="after")


def separable(x):
    x = _L.SeparableConv2D(11, 3, depth_multiplier=2, padding="same", name="separable")(zoo.conv(x, 6, name="before"))
    return zoo.conv(x, 9, name="after")


def inverted_residual(x):
    x = zoo.conv(x, 6, name="before")
    y = _L.DepthwiseConv2D(3, padding="same", name="depthwise")(zoo.conv(x, 14, 1, name="expand"))
    return _L.Add()([x, zoo.conv(y, 6, 1, name="project")])


def group_normalization(x):
    x = _L.GroupNormalization(4)(zoo.conv(x, 12, name="before"))
    return zoo.conv(x, 9, name="after")


def flattened(x):
    x = _L.MaxPooling2D(4)(_L.Conv2D(12, 3, groups=3, padding="same", name="grouped")(zoo.conv(x, 6, name="before")))
    return _L.Dense(8, name="hidden")(_L.Flatten()(x))


def shared(x):
    twice = _L.Conv2D(9, 3, padding="same", name="shared")
    return zoo.conv(twice(twice(zoo.conv(x, 9, name="before"))), 7, name="after")


NETS = {
    net.__name__: net
    for net in (
        grouped,
        grouped_in_a_residual,
        depthwise,
        depthwise_multiplied,
        separable,
        inverted_residual,
        group_normalization,
        flattened,
        shared,
    )
}
each_net = pytest.mark.parametrize("name", NETS)


@functools.cache  # nothing here trains
def build(name):
    inputs = keras.Input(zoo.INPUT_SHAPE)
    x = NETS[name](zoo.conv(inputs, 4, name="stem"))
    x = x if len(x.shape) == 2 else _L.GlobalAveragePooling2D()(x)
    return zoo.randomize(keras.Model(inputs, _L.Dense(3, name="classifier")(x)))


@functools.cache
def graph_of(name):
    return sp.trace(build(name))


def any_masks(graph, rng, share=0.6):
    """Masks of all granularities that leave something of each group, without regard to counts."""
    maps = {group.name: rng.random(group.size) < share for group in graph.prunable_groups}
    for group in graph.prunable_groups:
        maps[group.name][0] = True
    layers = graph.prunable_layers
    return MaskSet(
        maps,
        {layer.name: rng.random((layer.group_inputs, layer.outputs)) < share for layer in layers},
        {layer.name: rng.integers((1, 0), (4, 3), (layer.inputs, 2)) for layer in layers if layer.positions > 1},
    )


def nonzero(model, masked):
    """Kernel weights of each layer that are not zero."""
    layers = named_layers(model)
    return {
        name: int(np.count_nonzero(getattr(layers[name], wrapper.kernel_variable.name)))
        for name, wrapper in named_layers(masked).items()
        if isinstance(wrapper, MaskedLayer)
    }
