"""A loss and a score of one's own take the place of the task's, and targets keep their form."""

import keras
import numpy as np
import pytest

from tests.tf_structprune.task.test_task import BITS, CLASSES, X, model
from tf_structprune.task import Objective, task_of

ROWS = np.eye(3)[CLASSES]


def focal(y, found):
    """Focal loss of one-hot rows (Lin et al., arXiv 1708.02002, equation 4), shape (samples,)."""
    found = keras.ops.clip(found, 1e-6, 1.0)
    y = keras.ops.cast(y, found.dtype)
    return -keras.ops.sum(y * (1 - found) ** 2 * keras.ops.log(found), axis=-1)


def best_two(y, found):
    """Share of the samples whose class is one of the two best."""
    return float(np.mean((np.argsort(-found, axis=1)[:, :2] == np.argmax(y, axis=1)[:, None]).any(axis=1)))


def spread(y, found):
    """Of targets that are no numbers in the shape of the outputs."""
    return -float(np.mean(np.abs(np.asarray(found).sum(axis=1) - y[:, 0, 0])))


def of_sums(y, found):
    return keras.ops.square(keras.ops.sum(found, axis=-1) - keras.ops.cast(y[:, 0, 0], found.dtype))


OWN = {
    "a function and a function": (
        *(model(3, "softmax"), ROWS, Objective(focal, best_two)),
        "3 classes, focal, judged by the best_two",
    ),
    "a Keras metric alone": (
        *(model(3, "softmax"), ROWS, Objective(score=keras.metrics.TopKCategoricalAccuracy(2))),
        "3 classes, categorical crossentropy, judged by the top_k_categorical_accuracy",
    ),
    "a metric of indices": (
        *(model(3), CLASSES, Objective(score=keras.metrics.SparseTopKCategoricalAccuracy(2))),
        "3 classes, sparse categorical crossentropy, judged by the sparse_top_k_categorical_accuracy",
    ),
    "a loss by name": (model(3), X[:, :3], Objective("log_cosh"), "3 numbers, log cosh, judged by the log_cosh"),
    "a loss with settings": (
        *(model(3, "softmax"), ROWS, Objective(keras.losses.CategoricalCrossentropy(label_smoothing=0.1))),
        "3 classes, categorical crossentropy, judged by the MCR",
    ),
    "labels": (model(3, "sigmoid"), BITS, Objective(score="mean_absolute_error"), "3 labels, binary crossentropy, j"),
    "targets of any form": (
        *(model(3), np.ones((40, 2, 5)), Objective(of_sums, spread)),
        "3 outputs, targets of a form of their own, of sums, judged by the spread",
    ),
    "no labels": (
        model(3, "softmax"),
        None,
        Objective(score="kl"),
        "the given model's 3 classes, categorical crossent",
    ),
}


@pytest.mark.parametrize("net, y, objective, told", OWN.values(), ids=OWN)
def test_own_loss_and_score_are_those_of_the_task(net, y, objective, told):
    task = task_of(net, X, y, objective)
    assert str(task).startswith(told)
    outputs = net.predict(X, verbose=0)
    targets = task.targets(outputs if y is None else y, "y")
    assert np.isfinite([float(task.loss(targets, outputs)), task.score(targets, outputs)]).all()
    assert np.isfinite(float(task.teacher_loss.compute_loss(outputs, outputs + 0.01)))
    assert task.figure == task.score.metric or objective.score is None
    if y is not None:
        np.testing.assert_array_equal(targets, y)


def test_own_values_are_what_the_functions_give():
    net = model(3, "softmax")
    task, outputs = task_of(net, X, ROWS, Objective(focal, best_two)), net.predict(X, verbose=0)
    assert task.score(ROWS, outputs) == best_two(ROWS, outputs)
    assert float(task.loss(ROWS, outputs)) == pytest.approx(float(np.mean(focal(ROWS, outputs))), rel=1e-5)


def two_outputs():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,))
    heads = {"kind": keras.layers.Dense(3, "softmax")(inputs), "size": keras.layers.Dense(1)(inputs)}
    return keras.Model(inputs, heads)


@pytest.mark.parametrize("loss", [[focal, "mse"], {"size": "mse", "kind": focal}], ids=["list", "by name"])
@pytest.mark.parametrize("score", [[best_two, None], {"kind": best_two, "size": None}], ids=["list", "by name"])
def test_each_of_several_outputs_has_its_own(loss, score):
    net, y = two_outputs(), {"kind": ROWS, "size": X[:, :1]}
    task, outputs = task_of(net, X, y, Objective(loss, score)), net.predict(X, verbose=0)
    assert [each.name for each in task.loss] == ["focal", "mean_squared_error"]
    targets = task.targets([y["kind"], y["size"]], "y")
    assert task.score(targets, [outputs["kind"], outputs["size"]]) == best_two(ROWS, outputs["kind"])


def broken(y, found):
    raise TypeError("nothing\nof this")


REFUSED = {
    "loss unknown": (Objective("lozz"), ValueError, r"Unknown loss\. Received: loss='lozz'\. Use a Keras loss"),
    "score unknown": (Objective(score="skore"), ValueError, r"Unknown score\. Received: score='skore'"),
    "no score": (Objective(score=3), TypeError, r"score must be a name, a Keras loss or metric, or a function"),
    "too many losses": (
        Objective(["mse", "mse"]),
        ValueError,
        r"A loss is needed for each output\. .*for each of dens",
    ),
    "loss that raises": (
        Objective(broken),
        ValueError,
        r"The loss 'broken' does not take .*TypeError: nothing of this",
    ),
    "score that raises": (
        Objective(score=broken),
        ValueError,
        r"The score 'broken' does not take the targets and outp",
    ),
    "score of nothing": (
        Objective(score=lambda y, found: np.nan),
        ValueError,
        r"The score '<lambda>' must be a finite number\. Received: nan of score\. Use one that averages over samples",
    ),
}


@pytest.mark.parametrize("objective, error, message", REFUSED.values(), ids=REFUSED)
def test_what_is_no_loss_or_score_is_refused_before_any_work(objective, error, message):
    with pytest.raises(error, match=message):
        task_of(model(3, "softmax"), X, ROWS, objective)
