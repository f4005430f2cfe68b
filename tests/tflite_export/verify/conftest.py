"""Tiny models and their files for the tests of this room, made once."""

import keras
import numpy as np
import pytest

from tflite_export.quantize import convert


def network(make_head, seed=0, policy="float32"):
    keras.utils.set_random_seed(seed)  # before any layer is made: initializers draw their seeds then
    return keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            keras.layers.Conv2D(6, 3, padding="same", activation="relu", dtype=policy),
            keras.layers.MaxPooling2D(dtype=policy),
            *make_head(),
        ],
        name="network",
    )


def classifier(seed=0, policy="float32"):
    def make_head():
        return [keras.layers.Flatten(), keras.layers.Dense(5, activation="softmax")]

    return network(make_head, seed, policy)


@pytest.fixture(scope="session")
def build():
    return classifier


@pytest.fixture(scope="session")
def samples():
    return np.random.default_rng(1).uniform(-1, 1, (40, 8, 8, 2)).astype(np.float32)


@pytest.fixture(scope="session")
def exported(samples):
    model = classifier()
    return model, convert(model), convert(model, quantize="int8", representative_data=samples)


@pytest.fixture(scope="session")
def other(samples):
    """Files of the same network with other weights."""
    model = classifier(seed=9)
    return convert(model), convert(model, quantize="int8", representative_data=samples)


@pytest.fixture(scope="session", params=["one_unit", "image"])
def regressor(request, samples):
    heads = {
        "one_unit": lambda: [keras.layers.Flatten(), keras.layers.Dense(1)],
        "image": lambda: [keras.layers.Conv2D(2, 3)],
    }
    model = network(heads[request.param])
    return model, convert(model), convert(model, quantize="int8", representative_data=samples)
