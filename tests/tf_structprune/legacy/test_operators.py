"""TensorFlow operators between layers become Keras 3 layers or operations."""

import numpy as np
import pytest

from tests.tf_structprune.legacy.old_models import (
    IMAGE,
    L,
    assert_same_outputs,
    batch_for,
    converted,
    edit,
    residual,
    save,
    tf_keras,
)
from tf_structprune.legacy import from_legacy

tf = pytest.importorskip("tensorflow")

OPERATORS = {
    "x + y": lambda x, y: x + y,
    "x + x": lambda x, y: x + x,
    "1 + x": lambda x, y: 1.5 + x,
    "x - y": lambda x, y: x - y,
    "x - 1": lambda x, y: x - 1.5,
    "1 - x": lambda x, y: 1.5 - x,
    "-x": lambda x, y: -x,
    "x * y": lambda x, y: x * y,
    "x * constants": lambda x, y: x * tf.constant([1.0, 2.0, 3.0]),
    "x - array": lambda x, y: x - np.float32([1, 2, 3]),
    "x / y": lambda x, y: x / (y * y + 1.0),
    "x / 3": lambda x, y: x / 3.0,
    "3 / x": lambda x, y: 3.0 / (x * x + 1.0),
    "x ** 2": lambda x, y: x**2,
    "x * mean": lambda x, y: x * tf.reduce_mean(y, [1, 2], keepdims=True),
    "x[:, 1:, ::2, 0]": lambda x, y: x[:, 1:, ::2, 0],
    "x[..., :2]": lambda x, y: x[..., :2],
    "add_n": lambda x, y: tf.add_n([x, y]),
    "maximum": lambda x, y: tf.maximum(x, y),
    "relu": lambda x, y: tf.nn.relu(x),
    "relu6": lambda x, y: tf.nn.relu6(x),
    "leaky_relu": lambda x, y: tf.nn.leaky_relu(x, 0.3),
    "gelu": lambda x, y: tf.nn.gelu(x),
    "sigmoid": lambda x, y: tf.sigmoid(x),
    "softmax": lambda x, y: tf.nn.softmax(x),
    "concat": lambda x, y: tf.concat([x, y], axis=-1),
    "concat rows": lambda x, y: tf.concat([x, y], 1),
    "mean of images": lambda x, y: tf.reduce_mean(x, axis=[1, 2]),
    "mean of channels": lambda x, y: tf.reduce_mean(x, axis=-1),
    "mean of rows": lambda x, y: tf.reduce_mean(x, axis=1, keepdims=True),
    "max of images": lambda x, y: tf.reduce_max(x, [1, 2], keepdims=True),
    "sum": lambda x, y: tf.reduce_sum(x, [2, 3]),
    "clip": lambda x, y: tf.clip_by_value(x, -0.5, 1.0),
    "reshape": lambda x, y: tf.reshape(x, (-1, 24, 8)),
    "transpose": lambda x, y: tf.transpose(x, [0, 3, 1, 2]),
    "pad": lambda x, y: tf.pad(x, [[0, 0], [1, 0], [0, 2], [0, 0]]),
    "expand_dims": lambda x, y: tf.expand_dims(x, 1),
    "square, sqrt": lambda x, y: tf.sqrt(tf.square(x)),
    "abs, exp": lambda x, y: tf.exp(-tf.abs(x)),
}
NAMED = ("x + y", "1 - x", "x * constants", "relu", "concat", "mean of images")


def model_of(operator):
    x, y = L.Input(IMAGE), L.Input(IMAGE)
    return tf_keras.Model([x, y], operator(x, y))


@pytest.mark.parametrize("name", OPERATORS)
def test_operator_computes_the_same(tmp_path, name):
    old = model_of(OPERATORS[name])
    assert_same_outputs(converted(old, tmp_path, "file"), old, x=batch_for(model_of(lambda x, y: x + y)))


@pytest.mark.parametrize("name", NAMED)
def test_operator_with_a_layer_keeps_its_name(name):
    old = model_of(OPERATORS[name])
    assert {layer.name for layer in from_legacy(old).layers} == {layer.name for layer in old.layers}


def test_preprocessing_of_bytes(tmp_path):
    inputs = L.Input(IMAGE, dtype="uint8")
    old = tf_keras.Model(inputs, L.Flatten()(tf.cast(inputs, tf.float32) / 127.5 - 1.0))
    x = np.random.default_rng(0).integers(0, 256, (2, *IMAGE)).astype("uint8")
    assert_same_outputs(converted(old, tmp_path, "file"), old, x=x)


@pytest.mark.parametrize(
    "operator, problem",
    [
        (lambda x, y: tf.stack([x, y], axis=1), "Layer 'tf.stack.*': the operator tf.stack cannot be converted"),
        (lambda x, y: tf.nn.softmax(x, axis=1), r"nn.softmax\) cannot be called.*axis must be the last one"),
        (lambda x, y: x[:, tf.newaxis], "Only integers and slices of integers"),
        (lambda x, y: x + tf.reduce_sum(y), "as many axes and one dtype"),
        (lambda x, y: x * np.ones((8, 3), "float32"), "a number or a list of numbers"),
        (lambda x, y: tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], mode="REFLECT"), r"arguments \['mode'\] cannot"),
        (lambda x, y: tf.cast(x, "int32") * 2, "needs a float tensor.*int32"),
    ],
    ids=["unknown", "softmax_axis", "newaxis", "scalar_tensor", "matrix", "argument", "integers"],
)
def test_operator_is_refused_by_name(operator, problem):
    with pytest.raises(ValueError, match=problem):
        from_legacy(model_of(operator))


def test_tensor_that_no_layer_makes_is_refused(tmp_path):
    def cut(config):
        config["layers"] = [layer for layer in config["layers"] if layer["name"] != "second"]

    with pytest.raises(ValueError, match="Layer 'join' reads a tensor that no layer makes"):
        from_legacy(edit(save(residual(), tmp_path / "old.h5"), cut))
