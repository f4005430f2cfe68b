"""Small int8 files whose weights are drawn: pruned, of few values, or of all."""

import functools

import keras
import numpy as np

from tests import zoo
from tests.tflite_export.runtime import int8_models
from tflite_export.file import TFLiteFile, slim
from tflite_export.pack._tensors import packable
from tflite_export.quantize import convert

X = int8_models.images(12)


@functools.cache
def network():
    """A convolution, a depthwise one, a pointwise one and two dense layers, slim."""
    inputs = keras.Input(zoo.INPUT_SHAPE)
    x = zoo.conv(inputs, 24)
    x = keras.layers.DepthwiseConv2D(3, padding="same", activation="relu")(x)
    x = keras.layers.Flatten()(zoo.conv(zoo.conv(x, 20, 1), 17))
    x = keras.layers.Dense(9)(keras.layers.Dense(13, activation="relu")(x))
    model = zoo.randomize(keras.Model(inputs, x))
    return TFLiteFile(convert(model, quantize="int8", representative_data=zoo.batch(50))).edited(slim)


def with_weights(draw, seed=0):
    """The network with other weights, `draw(rng, shape)` each."""
    file, rng = network(), np.random.default_rng(seed)

    def edit(model):
        for index, weights in packable(file).items():
            buffer = model.buffers[model.subgraphs[0].tensors[index].buffer]
            buffer.data = draw(rng, weights.values.shape).astype(np.int8).view(np.uint8).ravel()

    return file.edited(edit)


def pruned(rng, shape):
    return rng.integers(-127, 128, shape) * (rng.random(shape) < 0.2)


def few_values(rng, shape):
    return rng.choice(np.arange(-7, 8) * 16, shape, p=rng.dirichlet(np.ones(15)))


def bell(rng, shape):
    return rng.normal(0, 12, shape).round().clip(-127, 127)


DRAWN = {"pruned": pruned, "few values": few_values, "bell": bell}


@functools.cache
def drawn(kind, seed=0):
    return with_weights(DRAWN[kind], seed)
