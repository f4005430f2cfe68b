"""Tiny files for the tests of this room, made once."""

import keras
import numpy as np
import pytest

from tflite_export.quantize import convert


@pytest.fixture(scope="session")
def cnn():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            keras.layers.Conv2D(5, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(4, activation="softmax"),
        ]
    )


@pytest.fixture(scope="session")
def bundle_files(cnn):
    """The same network as a float and as an int8 file."""
    samples = np.random.default_rng(1).uniform(-1, 1, (30, 6, 6, 2)).astype(np.float32)
    return {"float32": convert(cnn), "int8": convert(cnn, quantize="int8", representative_data=samples)}
