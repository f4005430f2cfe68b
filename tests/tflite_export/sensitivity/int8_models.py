"""Small models whose int8 files hold what the sweep must follow: every kind of wiring once."""

import keras
import numpy as np

_L = keras.layers


def spread(model, factor=1000.0):
    """Makes one channel of layer `b` so many times as large, and what reads it as many times smaller.

    Args:
        model: a `tiny` network; it is changed and computes the same.
        factor: a power of ten or two.
    """
    factors = np.ones(8, np.float32)
    factors[3] = factor
    made, reader = model.get_layer("b"), model.get_layer("hidden")
    kernel, bias = made.get_weights()
    made.set_weights([kernel * factors, bias * factors])
    kernel, bias = reader.get_weights()
    reader.set_weights([kernel / np.tile(factors, len(kernel) // 8)[:, None], bias])
    return model


def branches():
    """Two inputs, two outputs, a concatenation of other ranges, a separable convolution, a dense layer without bias."""
    keras.utils.set_random_seed(1)
    image, extra = keras.Input((8, 8, 2), name="image"), keras.Input((3,), name="extra")
    x = _L.SeparableConv2D(6, 3, padding="same", name="separable")(image)
    x = _L.Activation("sigmoid", name="gate")(x)
    wide = _L.Conv2D(4, 1, activation="relu", name="wide")(image)
    x = _L.Concatenate(name="joined")([x, 5 * wide])
    x = _L.GlobalAveragePooling2D(name="mean")(x)
    x = _L.Concatenate(name="both")([x, extra])
    first = _L.Dense(4, use_bias=False, name="first")(x)
    return keras.Model([image, extra], [first, _L.Dense(2, activation="tanh", name="second")(x)], name="branches")


def nested():
    """A model inside a model, with names that TensorFlow numbers anew."""
    keras.utils.set_random_seed(2)
    inside = keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            _L.Conv2D(4, 3, name="conv"),
            _L.BatchNormalization(name="norm"),
            _L.ReLU(name="conv_2"),
            _L.DepthwiseConv2D(3, name="conv_1"),
        ],
        name="inside",
    )
    inputs = keras.Input((8, 8, 2), name="pixels")
    x = inside(inputs)
    x = _L.Conv2D(4, 1, activation="relu", name="conv")(x)
    return keras.Model(inputs, _L.Dense(3, name="conv_1_1")(_L.Flatten(name="flat")(x)), name="nested")


MODELS = {"branches": branches, "nested": nested}


def samples(model, count=24):
    """Random inputs, in the order of the model's."""
    rng = np.random.default_rng(3)
    return [rng.normal(size=(count, *tensor.shape[1:])).astype(np.float32) for tensor in model.inputs]
