"""Tiny models for the tests of this room."""

import keras
import numpy as np
import pytest


def residual_cnn(policy="float32", name="residual"):
    """A conv, batch norm, ReLU and pooling network with one residual addition and random statistics."""
    keras.utils.set_random_seed(0)
    layer = {"dtype": policy}
    inputs = keras.Input((8, 8, 2), name="pixels")
    x = keras.layers.Conv2D(6, 3, padding="same", name="stem", **layer)(inputs)
    x = keras.layers.BatchNormalization(name="norm", **layer)(x)
    x = keras.layers.ReLU(name="relu", **layer)(x)
    branch = keras.layers.Conv2D(6, 3, padding="same", activation="relu", name="branch", **layer)(x)
    x = keras.layers.Add(name="add", **layer)([x, branch])
    x = keras.layers.MaxPooling2D(name="pool", **layer)(x)
    x = keras.layers.Flatten(name="flatten", **layer)(x)
    outputs = keras.layers.Dense(5, activation="softmax", dtype="float32", name="scores")(x)
    model = keras.Model(inputs, outputs, name=name)
    rng = np.random.default_rng(0)
    norm = model.get_layer("norm")
    norm.set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in norm.get_weights()])
    return model


@pytest.fixture(scope="session")
def build():
    return residual_cnn


@pytest.fixture(scope="session")
def samples():
    return np.random.default_rng(1).uniform(-1, 1, (40, 8, 8, 2)).astype(np.float32)
