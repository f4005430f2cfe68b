"""Tiny files for the tests of this room, made once."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tflite_export.quantize import convert


@pytest.fixture(scope="session")
def samples():
    return np.random.default_rng(1).uniform(-1, 1, (40, 8, 8, 2)).astype(np.float32)


@pytest.fixture(scope="session")
def cnn():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            keras.layers.Conv2D(6, 3, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(5, activation="softmax"),
        ],
        name="cnn",
    )


@pytest.fixture(scope="session")
def float_file(cnn):
    return convert(cnn)


@pytest.fixture(scope="session")
def int8_file(cnn, samples):
    return convert(cnn, quantize="int8", representative_data=samples)


@pytest.fixture(scope="session")
def raw_file():
    """Converts a TensorFlow function, for files that `convert` refuses to make."""

    def make(function, *shapes):
        signature = [tf.TensorSpec(shape, tf.float32) for shape in shapes]
        concrete = tf.function(function, input_signature=signature).get_concrete_function()
        return tf.lite.TFLiteConverter.from_concrete_functions([concrete], tf.Module()).convert()

    return make
