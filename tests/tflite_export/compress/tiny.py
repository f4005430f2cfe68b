"""A classifier and data so small that a whole run takes seconds; what the tests of compress share."""

import functools
import os

import keras
import numpy as np

from tf_structprune.layers import build_optimizer
from tflite_export.compress import CompressSettings, Data, Job, run_job

CLASSES = 3
_L = keras.layers


def arrays(samples=320, seed=0, shape=(8, 8, 1)):
    """Images in which class c lights row 2 c + 1, on noise, and their labels."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, CLASSES, samples)
    x = rng.normal(0, 0.3, (samples, *shape)).astype(np.float32)
    x[np.arange(samples), 2 * y + 1] += 1
    return x, y


def data():
    (x_train, y_train), (x_val, y_val), (x_test, y_test) = arrays(), arrays(60, 1), arrays(80, 2)
    return Data(x_train, y_train, x_val, y_val, x_test, y_test)


def files(samples=320):
    """The contents of a good DATA.npz."""
    (x_train, y_train), (x_test, y_test) = arrays(samples), arrays(80, 2)
    return {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}


def build(activation="softmax"):
    """An untrained network; two convolutions and one dense layer may be pruned."""
    inputs = keras.Input((8, 8, 1))
    x = _L.Conv2D(6, 3, padding="same", activation="relu", name="first")(inputs)
    x = _L.Conv2D(8, 3, padding="same", use_bias=False, name="a")(x)
    x = _L.MaxPooling2D()(_L.ReLU()(_L.BatchNormalization(momentum=0.8)(x)))
    x = _L.Conv2D(8, 3, padding="same", activation="relu", name="b")(x)
    x = _L.Dense(12, activation="relu", name="hidden")(_L.Flatten()(x))
    return keras.Model(inputs, _L.Dense(CLASSES, activation=activation, name="classifier")(x), name="tiny")


@functools.cache
def trained(activation="softmax"):
    """The network after training; shared by all tests, so it must not be changed."""
    keras.utils.set_random_seed(0)
    model = build(activation)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=activation != "softmax")
    model.compile(keras.optimizers.Adam(5e-3), loss, jit_compile=False)
    build_optimizer(model)
    model.fit(*arrays(), epochs=6, verbose=0)
    model.compile = _refuse
    return model


def _refuse(*args, **kwargs):
    raise AssertionError("The network is shared by all tests, which compile a copy of it: fresh().")


def fresh(activation="softmax"):
    """A copy of the trained network that a test may change."""
    model = keras.models.clone_model(trained(activation))
    model.set_weights(trained(activation).get_weights())
    return model


def forget(model):
    """Make a model say class 1 of everything, the rarest of the validation data; masked or not."""
    layer = model.get_layer("classifier")
    values = {"kernel": 0.0, "bias": np.eye(CLASSES)[1]}
    for variable in layer.variables:
        if variable.name in values:
            variable.assign(np.broadcast_to(values[variable.name], variable.shape))


def run(dense, data, settings, **kept):
    """What the stages of a run leave."""
    return run_job(Job.of(dense, data, settings, **kept))


def task(activation="softmax"):
    return Job.of(trained(activation), data(), CompressSettings()).task


def accuracy(model, x, y):
    return float(np.mean(np.asarray(model.predict(x, verbose=0)).argmax(axis=1) == y))


def tree(folder):
    """Content of every file below a folder, by relative path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def entries(folder):
    """Names in a folder, hidden ones included, so that nothing half-written is overlooked."""
    return sorted(os.listdir(folder))
