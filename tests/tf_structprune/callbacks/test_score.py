"""Scores against values by hand."""

import keras
import numpy as np
import pytest

from tf_structprune.callbacks import as_score, class_labels, misclassification_rate

OUTPUTS = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.5, 0.3, 0.2], [0.2, 0.2, 0.6]])
LABELS = np.array([0, 1, 2, 2])  # the third is wrong
LIKELIHOOD = -np.mean(np.log([0.7, 0.8, 0.2, 0.6]))


@pytest.mark.parametrize("labels", [LABELS, LABELS[:, None], np.eye(3)[LABELS]], ids=["flat", "column", "one_hot"])
def test_mcr_by_hand(labels):
    assert misclassification_rate(labels, OUTPUTS) == 0.25
    assert as_score("mcr")(labels, OUTPUTS) == -0.25
    assert class_labels(labels).tolist() == LABELS.tolist()


def test_mcr_of_one_output_takes_one_half_as_threshold():
    assert misclassification_rate(np.array([1, 0, 1]), np.array([[0.6], [0.4], [0.5]])) == pytest.approx(1 / 3)
    assert misclassification_rate(np.array([[1.0], [0.0]]), np.array([[0.6], [0.4]])) == 0


@pytest.mark.parametrize(
    "score",
    [
        "sparse_categorical_crossentropy",
        keras.losses.SparseCategoricalCrossentropy(),
        keras.losses.get("sparse_categorical_crossentropy"),
    ],
    ids=["name", "loss", "function"],
)
def test_loss_is_negated(score):
    value = as_score(score)(LABELS, OUTPUTS)
    sign = 1 if callable(score) and not isinstance(score, keras.losses.Loss) else -1
    assert np.mean(keras.ops.convert_to_numpy(value)) == pytest.approx(sign * LIKELIHOOD, rel=1e-4)


def test_metric_is_reset_between_looks():
    score = as_score(keras.metrics.SparseCategoricalAccuracy())
    assert [score(LABELS, OUTPUTS), score(LABELS[:2], OUTPUTS[:2]), score(LABELS, OUTPUTS)] == [0.75, 1.0, 0.75]


def test_function_is_taken_as_it_is():
    def score(y_true, y_pred):
        return 3.5

    assert as_score(score) is score


@pytest.mark.parametrize(
    "labels, outputs",
    [(LABELS, OUTPUTS[:3]), (LABELS, OUTPUTS[:, None, :]), (LABELS, OUTPUTS[:, 0])],
    ids=["length", "rank_3", "rank_1"],
)
def test_mcr_refuses_other_shapes(labels, outputs):
    with pytest.raises(
        ValueError, match=r"one row of class scores for each label\. Received: outputs of shape .*anothe"
    ):
        misclassification_rate(labels, outputs)


def test_unknown_names_are_refused():
    with pytest.raises(
        ValueError, match=r"Unknown score\. Received: score='acc'\. Use 'mcr', the name of a Keras loss"
    ):
        as_score("acc")


@pytest.mark.parametrize("score", [None, 3, np.ones(2)], ids=["none", "number", "array"])
def test_other_kinds_are_refused(score):
    with pytest.raises(TypeError, match=r"score must be a name, a Keras loss or metric, or a function\. Received"):
        as_score(score)
