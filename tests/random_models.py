"""Hypothesis strategy for small random networks: chains, residuals, flatten and pooling heads."""

import keras
from hypothesis import strategies as st

from tests import zoo

_L = keras.layers


@st.composite
def networks(draw):
    """A functional model with random weights on `zoo.INPUT_SHAPE`."""
    inputs = keras.Input(zoo.INPUT_SHAPE)
    x = zoo.conv(inputs, draw(st.integers(1, 4)))
    for _ in range(draw(st.integers(1, 3))):
        x = draw(st.sampled_from([_plain, _residual]))(draw, x)
        if draw(st.booleans()):
            x = _L.BatchNormalization()(x)
        if draw(st.booleans()):
            x = _L.MaxPooling2D(2, padding="same")(x)
    x = _L.Flatten()(x) if draw(st.booleans()) else _L.GlobalAveragePooling2D()(x)
    if draw(st.booleans()):
        x = _L.Dense(draw(st.integers(2, 5)), activation="relu")(x)
    outputs = _L.Dense(3, activation="softmax")(x)
    return zoo.randomize(keras.Model(inputs, outputs), draw(st.integers(0, 99)))


def _plain(draw, x):
    size, strides = draw(st.sampled_from([1, 2, 3])), draw(st.sampled_from([1, 2]))
    return zoo.conv(x, draw(st.integers(2, 5)), size, strides=strides, use_bias=draw(st.booleans()))


def _residual(draw, x):
    """An identity or a projection shortcut beside one or two convolutions."""
    project = draw(st.booleans())
    filters = draw(st.integers(2, 5)) if project else x.shape[-1]
    y = zoo.conv(x, filters, activation=None)
    if draw(st.booleans()):
        y = zoo.conv(_L.LeakyReLU()(_L.BatchNormalization()(y)), filters, activation=None)
    short = zoo.conv(x, filters, 1, activation=None) if project else x
    return _L.ReLU()(_L.Add()([y, short]))
