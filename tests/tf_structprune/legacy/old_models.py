"""Tiny tf_keras models, and what the tests do with them."""

import json
import warnings

import h5py
import keras
import numpy as np
import pytest

from tf_structprune.legacy import from_legacy

# What imports this is skipped without it: Keras 2 models are made by tf_keras alone, and by that in TensorFlow.
tf_keras = pytest.importorskip("tf_keras")
L = tf_keras.layers
IMAGE = (8, 8, 3)


def randomise(model, seed=0, scale=0.3):
    """Give every weight a random value, so that no two can be mistaken for each other."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        value = rng.normal(size=weight.shape) * scale
        if weight.dtype.is_floating:
            weight.assign(np.abs(value) + 0.5 if "variance" in weight.name else value)
    for layer in model.layers:
        if isinstance(layer, L.Normalization):
            layer.finalize_state()
    return model


def batch_for(model, seed=1):
    rng = np.random.default_rng(seed)
    arrays = [rng.normal(size=(2, *tensor.shape[1:])).astype("float32") for tensor in model.inputs]
    return arrays[0] if len(arrays) == 1 else arrays


def save(model, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # tf_keras would like another format
        model.save(path, save_format="h5")
    return path


def edit(path, change):
    """Rewrite the configuration inside a .h5 file."""
    with h5py.File(path, "a") as file:
        config = json.loads(file.attrs["model_config"])
        change(config["config"])
        file.attrs["model_config"] = json.dumps(config)
    return path


def converted(model, tmp_path, how):
    """The Keras 3 model of a live model ("live"), or of its file ("file")."""
    return from_legacy(model if how == "live" else save(model, tmp_path / "old.h5"))


def assert_same_outputs(new, old, x=None, tolerance=1e-5):
    x = batch_for(old) if x is None else x
    expected = [np.asarray(each) for each in keras.tree.flatten(old(x, training=False))]
    found = [keras.ops.convert_to_numpy(each) for each in keras.tree.flatten(new(x, training=False))]
    assert len(found) == len(expected)
    for got, want in zip(found, expected, strict=True):
        assert np.std(want) > 0
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance * np.abs(want).max())


def layer_model(layer, shape=IMAGE):
    inputs = L.Input(shape)
    return tf_keras.Model(inputs, layer(inputs))


def sequential():
    return tf_keras.Sequential(
        [L.Conv2D(4, 3, activation="relu", input_shape=IMAGE), L.MaxPooling2D(), L.Flatten(), L.Dense(3)], name="plain"
    )


def residual():
    inputs = L.Input(IMAGE, name="image")
    x = L.Conv2D(4, 3, padding="same", use_bias=False, name="first")(inputs)
    y = L.ReLU()(L.BatchNormalization()(x))
    y = L.Conv2D(4, 3, padding="same", name="second")(y)
    x = L.GlobalAveragePooling2D()(L.Add(name="join")([x, y]))
    return tf_keras.Model(inputs, L.Dense(3, activation="softmax", name="scores")(x), name="residual")


def depthwise():
    inputs = L.Input(IMAGE)
    x = L.ZeroPadding2D(((0, 1), (0, 1)))(inputs)
    x = L.DepthwiseConv2D(3, strides=2, depth_multiplier=2, use_bias=False, name="spatial")(x)
    x = L.ReLU(6.0)(L.BatchNormalization()(x))
    x = L.Conv2D(5, 1, name="pointwise")(x)
    return tf_keras.Model(inputs, L.GlobalMaxPooling2D(keepdims=True)(L.Dropout(0.5)(x)))


def _block(name):
    inputs = L.Input(IMAGE)
    x = L.BatchNormalization(name=f"{name}_bn")(inputs)
    return tf_keras.Model(inputs, L.Conv2D(3, 3, padding="same", name=f"{name}_conv")(x), name=name)


def nested(frozen=()):
    """A shared nested model, a nested Sequential, a model two levels down; equal shapes everywhere."""
    block, deep = _block("block"), _block("deep")
    stack = tf_keras.Sequential(
        [L.InputLayer(IMAGE), L.BatchNormalization(name="stack_bn"), L.Conv2D(3, 1), L.BatchNormalization()]
    )
    middle = L.Input(IMAGE)
    outer = tf_keras.Model(middle, L.BatchNormalization(name="outer_bn")(deep(middle)), name="outer")
    inputs = L.Input(IMAGE)
    x = block(outer(stack(block(inputs))))
    model = tf_keras.Model(inputs, L.Flatten()(stack(x)))
    parts = {layer.name: layer for layer in (block, block.layers[1], deep.layers[1], stack.layers[0])}
    for name in frozen:
        parts[name].trainable = False
    return model


def shared():
    """A layer that is called three times, once on what comes of another of its calls."""
    once = L.Conv2D(3, 3, padding="same", name="once")
    inputs = L.Input(IMAGE)
    x = once(L.Conv2D(3, 1)(once(inputs)))
    return tf_keras.Model(inputs, L.Subtract()([once(L.ReLU()(x)), x]))


def two_inputs_two_outputs():
    left, right = L.Input(IMAGE, name="left"), L.Input((8, 8, 2), name="right")
    x = L.Concatenate()([left, right])
    return tf_keras.Model([left, right], [L.Conv2D(3, 1)(x), L.Flatten()(right)])


MODELS = {
    "sequential": sequential,
    "residual": residual,
    "depthwise": depthwise,
    "nested": nested,
    "shared": shared,
    "two_inputs_two_outputs": two_inputs_two_outputs,
}
