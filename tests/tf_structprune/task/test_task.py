"""The task of a model follows from its loss, its outputs and the targets, or is asked for in words."""

import keras
import numpy as np
import pytest

from tf_structprune.task import task_of

X = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
CLASSES = np.arange(40) % 3
BITS = np.random.default_rng(1).integers(0, 2, (40, 3))


def model(width, activation=None, loss=None):
    keras.utils.set_random_seed(0)
    found = keras.Sequential([keras.Input((6,)), keras.layers.Dense(width, activation)], name="net")
    if loss is not None:
        found.compile("sgd", loss)
    return found


TASKS = {
    "softmax, indices": (model(3, "softmax"), CLASSES, "3 classes, sparse categorical crossentropy, judged by the MCR"),
    "softmax, column": (model(3, "softmax"), CLASSES[:, None], "3 classes, "),
    "softmax, one-hot": (model(3, "softmax"), np.eye(3)[CLASSES], "3 classes, "),
    "logits, indices": (model(3), CLASSES.astype(np.float32), "3 classes, "),
    "one sigmoid": (model(1, "sigmoid"), BITS[:, 0], "yes or no, binary crossentropy, judged by the MCR"),
    "one logit": (model(1), BITS[:, :1], "yes or no, "),
    "labels": (model(3, "sigmoid"), BITS, "3 labels, binary crossentropy, judged by the error a label"),
    "labels that look one-hot": (model(3, "sigmoid", "binary_crossentropy"), np.eye(3)[CLASSES], "3 labels, "),
    "numbers": (model(3), X[:, :3], "3 numbers, mean squared error, judged by the mean_squared_error"),
    "numbers by a loss of its own": (model(1, None, keras.losses.Huber()), X[:, 0], "1 numbers, huber loss, judged"),
    "whole numbers": (model(1), np.arange(40), "1 numbers, "),
    "zeros and ones as numbers": (model(1, None, "mse"), BITS[:, 0], "1 numbers, "),
}


@pytest.mark.parametrize("net, y, told", TASKS.values(), ids=TASKS)
def test_task_is_told_in_words(net, y, told):
    assert str(task_of(net, X, y)).startswith(told)


@pytest.mark.parametrize("net, y, told", TASKS.values(), ids=TASKS)
def test_score_loss_and_teacher_take_the_targets_and_outputs_of_the_task(net, y, told):
    task = task_of(net, X, y)
    targets, outputs = task.targets(y, "y"), net.predict(X, verbose=0)
    assert np.isfinite(float(task.loss(targets, outputs)))
    assert np.isfinite(float(task.teacher_loss.compute_loss(outputs, outputs + 0.01)))
    assert task.score.samples(targets, outputs).shape == (40,)
    assert task.score(targets, outputs) == pytest.approx(task.score.samples(targets, outputs).mean())


@pytest.mark.parametrize("activation, threshold", [("sigmoid", 0.5), (None, 0.0)], ids=["probabilities", "logits"])
def test_labels_are_told_apart_at_the_threshold_of_the_outputs(activation, threshold):
    task = task_of(model(3, activation), X, BITS)
    outputs = np.where(BITS, threshold + 0.1, threshold - 0.1)
    outputs[:4, 0] = 2 * threshold - outputs[:4, 0]  # four wrong labels of 120
    assert task.score(task.targets(BITS, "y"), outputs) == pytest.approx(-4 / 120)
    assert task.score.metric.text(-4 / 120) == "3.33 %"
    assert task.figure.value(-4 / 120) == pytest.approx(116 / 120)


@pytest.mark.parametrize("activation, logits", [("softmax", False), (None, True)])
def test_loss_knows_probabilities_from_logits(activation, logits):
    assert task_of(model(3, activation), X, CLASSES).loss.from_logits is logits


@pytest.mark.parametrize(
    "net, y, bad, message",
    [
        (model(3), CLASSES, CLASSES + 1, r"y_val has labels that the model does not know\. .* 1 to 3\. Use 0 to 2"),
        (model(3), CLASSES, CLASSES + 0.5, r"y_val must be class indices or one-hot rows\. Received: dtype=float64"),
        (model(3), CLASSES, BITS[:, :2], r"y_val must be class indices or one-hot rows\. .*shape=\(40, 2\)"),
        (model(3, "sigmoid"), BITS, CLASSES, r"y_val must be 3 zeros and ones a sample\. .*shape=\(40,\)"),
        (model(3), X[:, :3], X[:, :2], r"y_val must be numbers in the shape of the outputs\. .*Use shape \(3,\)"),
    ],
    ids=["class unknown", "class no index", "rows of another width", "labels missing", "numbers missing"],
)
def test_targets_of_another_task_are_refused_by_name(net, y, bad, message):
    with pytest.raises(ValueError, match=message):
        task_of(net, X, y).targets(bad, "y_val")


def test_several_outputs_are_refused_with_words():
    inputs = keras.Input((6,))
    net = keras.Model(inputs, [keras.layers.Dense(1)(inputs), keras.layers.Dense(1)(inputs)], name="two")
    with pytest.raises(ValueError, match="Model 'two' must have one output for its task .* with a score for each"):
        task_of(net, X, CLASSES)


def test_targets_that_fit_no_task_are_asked_for_in_words():
    with pytest.raises(ValueError, match=r"The task of model 'net' does not follow .*targets of shape \(40, 2\).*Use"):
        task_of(model(3), X, X[:, :2])
