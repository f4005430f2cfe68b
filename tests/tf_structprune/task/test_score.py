"""Scores against values by hand."""

import keras
import numpy as np
import pytest

from tf_structprune.task import SampleScore, as_score, class_labels, divergence, misclassification_rate

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
    "score, sign",
    [
        ("sparse_categorical_crossentropy", -1),
        (keras.losses.SparseCategoricalCrossentropy(), -1),
        (keras.losses.SparseCategoricalCrossentropy(reduction="sum"), -4),
        (keras.losses.get("sparse_categorical_crossentropy"), 1),
    ],
    ids=["name", "loss", "sum", "function"],
)
def test_losses_are_negated_and_functions_taken_as_they_are(score, sign):
    assert as_score(score)(LABELS, OUTPUTS) == pytest.approx(sign * LIKELIHOOD, rel=1e-4)


@pytest.mark.parametrize(
    "score",
    [
        "mcr",
        "sparse_categorical_crossentropy",
        keras.losses.SparseCategoricalCrossentropy(),
        SampleScore(lambda y_true, y_pred: y_pred[:, 1] - y_true),
    ],
    ids=["mcr", "name", "loss", "function"],
)
def test_scores_of_samples_average_to_the_score(score):
    judge = as_score(score)
    assert judge.by_sample
    samples = judge.samples(LABELS, OUTPUTS)
    assert samples.shape == (4,)
    assert judge(LABELS, OUTPUTS) == pytest.approx(samples.mean())
    parts = [judge.samples(LABELS[at : at + 2], OUTPUTS[at : at + 2]) for at in (0, 2)]
    assert np.concatenate(parts) == pytest.approx(samples)


@pytest.mark.parametrize(
    "score",
    [
        keras.metrics.SparseCategoricalAccuracy(),
        lambda y_true, y_pred: 3.5,
        keras.losses.SparseCategoricalCrossentropy(reduction="sum"),
    ],
    ids=["metric", "number", "sum"],
)
def test_scores_of_all_samples_together_tell_so(score):
    assert not as_score(score).by_sample
    with pytest.raises(ValueError, match=r"Samples have no score by themselves\. Received: _\w+\. Use SampleScore"):
        as_score(score).samples(LABELS, OUTPUTS)


def test_metric_is_reset_between_looks():
    score = as_score(keras.metrics.SparseCategoricalAccuracy())
    assert [score(LABELS, OUTPUTS), score(LABELS[:2], OUTPUTS[:2]), score(LABELS, OUTPUTS)] == [0.75, 1.0, 0.75]


def test_score_is_taken_as_it_is():
    score = as_score("mcr")
    assert as_score(score) is score


def test_regression_loss_averages_all_axes():
    y_true, y_pred = np.zeros((2, 3, 4)), np.arange(24.0).reshape(2, 3, 4)
    assert as_score("mse").samples(y_true, y_pred) == pytest.approx(-np.square(y_pred).mean(axis=(1, 2)))


def test_divergence_by_hand_from_probabilities_and_logits():
    target, output = np.array([[0.5, 0.5], [0.9, 0.1]]), np.array([[0.25, 0.75], [0.9, 0.1]])
    expected = [0.5 * np.log(2) + 0.5 * np.log(2 / 3), 0.0]
    assert divergence(target, output) == pytest.approx(expected)
    assert divergence(np.log(target) + 7, np.log(output) - 3) == pytest.approx(expected)
    assert as_score("kl")(target, output) == pytest.approx(-np.mean(expected))


def test_labels_may_be_the_outputs_of_another_model():
    assert as_score("mcr")(OUTPUTS, OUTPUTS) == 0
    assert as_score("mcr")(np.array([[0.9], [0.2]]), np.array([[0.6], [0.7]])) == -0.5


def test_several_outputs_have_a_score_each():
    judge = as_score(["mcr", None, "mse"])
    targets, outputs = [LABELS, LABELS, np.zeros((4, 1))], [OUTPUTS, OUTPUTS, np.full((4, 1), 2.0)]
    assert judge(targets, outputs) == (-0.25 - 4) / 2
    assert judge.samples(targets, outputs) == pytest.approx([-2, -2, -2.5, -2])
    assert judge.by_sample
    assert not as_score(["mcr", keras.metrics.MeanSquaredError()]).by_sample


def test_outputs_must_be_as_many_as_scores():
    with pytest.raises(ValueError, match=r"must be as many\. Received: 2 scores, 1 targets, 1 outputs\. Give one of"):
        as_score(["mcr", "mcr"])([LABELS], [OUTPUTS])


def test_sample_score_refuses_one_number():
    with pytest.raises(ValueError, match=r"one value for each sample\. Received: shape=\(\) for 4 samples\. Leave the"):
        SampleScore(lambda y_true, y_pred: 1.0).samples(LABELS, OUTPUTS)


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


@pytest.mark.parametrize("first", [-1, 1])
def test_mcr_refuses_labels_of_no_class(first):
    found = (
        rf"label for each of 3 classes\. Received: labels from {min(LABELS) + first} to {max(LABELS) + first}\. Number"
    )
    with pytest.raises(ValueError, match=found):
        misclassification_rate(LABELS + first, OUTPUTS)


def test_unknown_names_are_refused():
    with pytest.raises(
        ValueError, match=r"Unknown score\. Received: score='acc'\. Use 'mcr', 'kl', the name of a Keras loss"
    ):
        as_score("acc")


@pytest.mark.parametrize(
    "score",
    [None, 3, np.ones(2), [], {"a": "mcr"}, keras.losses.MeanSquaredError],
    ids=["none", "number", "array", "empty", "by name", "class"],
)
def test_other_kinds_are_refused(score):
    with pytest.raises(TypeError, match=r"score must be a name, a Keras loss or metric, or a function\. Received"):
        as_score(score)


def test_loss_whose_configuration_does_not_describe_it_is_used_as_it_is():
    class Power(keras.losses.Loss):
        def __init__(self, power):
            super().__init__()
            self.power = power

        def call(self, y_true, y_pred):
            return keras.ops.mean(keras.ops.abs(y_true - y_pred) ** self.power, axis=-1)

    score = as_score(Power(3.0))
    y_true, y_pred = np.zeros((4, 2)), np.arange(8.0).reshape(4, 2)
    assert score.samples(y_true, y_pred) == pytest.approx(-(y_pred**3).mean(axis=1))
    assert score(y_true, y_pred) == pytest.approx(-(y_pred**3).mean())


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "score",
    ["mcr", "sparse_categorical_crossentropy", keras.metrics.SparseCategoricalAccuracy(), lambda y, p: 1.0],
    ids=["mcr", "loss", "metric", "function"],
)
def test_no_score_is_read_out_of_outputs_that_are_not_finite(score, bad):
    """`argmax` finds class 0 in a row of NaN."""
    judge, outputs = as_score(score), OUTPUTS.copy()
    outputs[1, 2] = bad
    assert np.isfinite(judge(LABELS, OUTPUTS))
    assert judge(LABELS, outputs) == -np.inf
    if judge.by_sample:
        assert judge.samples(LABELS, outputs).tolist() == [
            -np.inf if index == 1 else value for index, value in enumerate(judge.samples(LABELS, OUTPUTS))
        ]
        assert judge.samples(LABELS, np.full_like(outputs, bad)).tolist() == [-np.inf] * 4


def test_one_output_that_is_not_finite_is_enough():
    judge = as_score(["mcr", "mse"])
    good, bad = np.zeros((4, 2)), np.array([[0.0, 0.0], [0.0, np.nan], [0.0, 0.0], [0.0, 0.0]])
    assert judge([LABELS, good], [OUTPUTS, bad]) == -np.inf
    values = judge.samples([LABELS, good], [OUTPUTS, bad])
    assert np.isneginf(values).tolist() == [False, True, False, False]
    assert as_score(["mcr", None])([LABELS, good], [OUTPUTS, bad]) == -np.inf  # also where nobody scores it


@pytest.mark.parametrize("rows", [[[1, 1, 0], [0, 1, 0]], [[0, 0, 0], [0, 0, 1]]], ids=["two", "none"])
def test_mcr_refuses_several_labels_or_none_a_sample(rows):
    """`argmax` would take the first of two, and class 0 for none."""
    with pytest.raises(
        ValueError, match=r"needs one class for each sample\. Received: rows of \d to \d ones\. For seve"
    ):
        misclassification_rate(np.array(rows, float), OUTPUTS[:2])
