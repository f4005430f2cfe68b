"""The compile state goes over where Keras 3 can take it, else the log says why not."""

import keras
import numpy as np
import pytest

from tests.tf_structprune.legacy.old_models import converted, randomise, sequential, tf_keras
from tf_structprune.legacy import from_legacy

HOW = pytest.mark.parametrize("how", ["live", "file"])
SCHEDULE = tf_keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)


@pytest.mark.parametrize(
    "options, labels",
    [
        ({"loss": "mse", "metrics": ["mae"]}, "floats"),
        ({"loss": ["mse"], "loss_weights": [2.0]}, "floats"),
        ({"loss": tf_keras.losses.CategoricalCrossentropy(from_logits=True), "metrics": ["accuracy"]}, "one_hot"),
        ({"loss": tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True), "metrics": [["acc"]]}, "classes"),
        (
            {
                "loss": tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum"),
                "metrics": [tf_keras.metrics.SparseTopKCategoricalAccuracy(2, name="top2")],
                "weighted_metrics": ["sparse_categorical_accuracy"],
            },
            "classes",
        ),
    ],
    ids=["names", "loss_weights", "accuracy", "acc", "objects"],
)
def test_evaluation_is_the_same(tmp_path, options, labels):
    rng = np.random.default_rng(0)
    x, classes = rng.normal(size=(6, 8, 8, 3)).astype("float32"), np.arange(6) % 3
    y = {"floats": rng.normal(size=(6, 3)), "one_hot": np.eye(3)[classes], "classes": classes}[labels]
    old = randomise(sequential())
    old.compile("sgd", **options)
    expected = old.evaluate(x, y, verbose=0, return_dict=True)
    new = converted(old, tmp_path, "live" if labels == "one_hot" else "file")
    assert new.compiled
    assert new.evaluate(x, y, verbose=0, return_dict=True) == pytest.approx(expected, rel=1e-5)


def test_accuracy_saved_before_the_first_batch_means_what_the_labels_say(tmp_path):
    # tf_keras then writes categorical_accuracy into the file, whatever the loss
    old = randomise(sequential())
    old.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    new = converted(old, tmp_path, "file")
    x = np.random.default_rng(0).normal(size=(6, 8, 8, 3)).astype("float32")
    predicted = old.predict(x, verbose=0).argmax(-1)
    assert new.evaluate(x, predicted, verbose=0, return_dict=True)["accuracy"] == 1.0


@HOW
@pytest.mark.parametrize(
    "optimizer, expected",
    [
        (lambda: tf_keras.optimizers.SGD(0.25, momentum=0.5), {"name": "SGD", "learning_rate": 0.25, "momentum": 0.5}),
        (lambda: tf_keras.optimizers.AdamW(0.25, weight_decay=0.125), {"learning_rate": 0.25, "weight_decay": 0.125}),
        (lambda: tf_keras.optimizers.RMSprop(0.25, clipnorm=1.0), {"learning_rate": 0.25, "clipnorm": 1.0}),
        (lambda: tf_keras.optimizers.legacy.SGD(0.25), {"learning_rate": 0.25}),
        (lambda: tf_keras.mixed_precision.LossScaleOptimizer(tf_keras.optimizers.SGD(0.25)), {"learning_rate": 0.25}),
    ],
    ids=["sgd", "adamw", "rmsprop", "legacy", "loss_scale"],
)
def test_optimizer_keeps_its_configuration(tmp_path, optimizer, expected, how):
    old = sequential()
    old.compile(optimizer(), "mse")
    new = converted(old, tmp_path, how)
    found = new.optimizer.get_config()
    assert {key: found[key] for key in expected} == expected


@HOW
def test_learning_rate_schedule_goes_over(tmp_path, how):
    old = sequential()
    old.compile(tf_keras.optimizers.SGD(SCHEDULE), "mse")
    rate = converted(old, tmp_path, how).optimizer.get_config()["learning_rate"]
    assert rate["class_name"] == "ExponentialDecay"
    assert rate["config"]["decay_rate"] == 0.9


def test_learning_rate_changed_after_compile_counts():
    old = sequential()
    old.compile("sgd", "mse")
    old.optimizer.learning_rate = 0.5
    assert float(from_legacy(old).optimizer.learning_rate) == 0.5


@HOW
def test_model_that_was_not_compiled_stays_so(tmp_path, how):
    assert not converted(sequential(), tmp_path, how).compiled


@HOW
def test_multi_output_losses_stay_by_output(tmp_path, how):
    inputs = tf_keras.Input((4,))
    a, b = tf_keras.layers.Dense(2, name="a")(inputs), tf_keras.layers.Dense(2, name="b")(inputs)
    old = randomise(tf_keras.Model(inputs, {"a": a, "b": b}))
    old.compile("sgd", {"a": "mse", "b": "mae"}, metrics={"a": ["mae"]}, loss_weights={"a": 1.0, "b": 2.0})
    x, y = np.ones((3, 4), "float32"), {"a": np.zeros((3, 2)), "b": np.ones((3, 2))}
    expected = old.evaluate(x, y, verbose=0, return_dict=True)
    new = converted(old, tmp_path, how)
    assert new.evaluate(x, y, verbose=0, return_dict=True) == pytest.approx(expected, rel=1e-5)


def own_loss(y_true, y_pred):
    return keras.ops.mean(y_pred - y_true)


@HOW
@pytest.mark.parametrize(
    "options, reason",
    [
        ({"optimizer": "sgd", "loss": own_loss}, "own_loss"),
        ({"optimizer": tf_keras.optimizers.legacy.SGD(0.1, decay=0.5), "loss": "mse"}, "has a decay"),
    ],
    ids=["custom_loss", "decay"],
)
def test_what_cannot_go_over_leaves_the_model_uncompiled_and_is_logged(tmp_path, caplog, options, reason, how):
    old = sequential()
    old.compile(**options)
    new = converted(old, tmp_path, how)
    assert not new.compiled
    assert "left uncompiled" in caplog.text
    assert reason in caplog.text
