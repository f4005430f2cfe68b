import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tf_structprune.task import (
    Agreement,
    Reading,
    component_error,
    range_error,
    readings_of,
    relative_error,
    same_class_fraction,
)

outputs = arrays(np.float32, (6, 4), elements=st.floats(-100, 100, width=32))


@given(outputs)
def test_equal_outputs_agree_in_full(values):
    assert relative_error(values, values) == range_error(values, values) == 0
    assert same_class_fraction(values, values) == 1


@pytest.mark.parametrize(("scale", "expected"), [(0.01, 0.5), (1.0, 0.5), (10.0, 0.05)])
def test_relative_error_is_absolute_below_one_and_relative_above(scale, expected):
    reference = np.array([[scale, -scale]])
    assert relative_error(reference + 0.5, reference) == pytest.approx(expected)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_relative_error_of_what_is_not_finite_is_infinite(bad):
    assert relative_error(np.array([bad]), np.array([1.0])) == np.inf
    assert relative_error(np.array([1.0]), np.array([bad])) == np.inf


@given(outputs.filter(lambda values: np.ptp(values) > 1), st.floats(0.5, 20))
def test_range_error_does_not_depend_on_the_scale(reference, factor):
    noisy = reference + np.float32(0.25)
    expected = range_error(noisy.astype(float), reference)
    assert range_error(noisy.astype(float) * factor, reference.astype(float) * factor) == pytest.approx(expected)


@pytest.mark.parametrize(("value", "expected"), [(0.0, 0.5), (2.0, 0.25)])
def test_range_error_of_a_constant_is_relative_to_its_magnitude(value, expected):
    reference = np.full((3, 1), value)
    assert range_error(reference + 0.5, reference) == expected


def test_same_class_fraction_counts_samples():
    reference = np.eye(4)
    assert same_class_fraction(np.roll(reference, 1, axis=1), reference) == 0
    assert same_class_fraction(reference[[0, 1, 2, 2]], reference) == 0.75


@pytest.mark.parametrize(("shape", "told"), [((3, 2), True), ((3, 1), False), ((3, 4, 4, 2), False), ((3,), False)])
def test_only_a_vector_of_scores_names_a_class(shape, told):
    assert (Agreement.between(np.zeros(shape), np.zeros(shape)).same_class is not None) is told


def test_labels_agree_label_by_label():
    """Several labels are near 1 in int8, and which is the largest says nothing."""
    reference = np.array([[0.9, 0.8, 0.1], [0.2, 0.6, 0.55]])
    found = np.array([[0.8, 0.9, 0.2], [0.1, 0.55, 0.45]])
    assert Agreement.between(found, reference, Reading("labels")).same_class == pytest.approx(5 / 6)
    assert Agreement.between(found, reference, Reading("classes")).same_class == 0.5
    assert Agreement.between(found, reference, Reading("numbers")).same_class is None


def test_logits_of_labels_decide_at_zero():
    reference, found = np.array([[0.3], [-0.3]]), np.array([[0.1], [0.1]])
    assert Agreement.between(found, reference, Reading("labels", 0.0)).same_class == 0.5


def test_scores_beside_boxes_in_pixels_do_not_vanish():
    """Scores that are all 0 are a fortieth of the range of all, and wrong by a half of their own."""
    rng = np.random.default_rng(0)
    reference = np.concatenate([rng.uniform(0, 300, (50, 6, 4)), rng.uniform(0, 1, (50, 6, 1))], axis=-1)
    found = reference.copy()
    found[..., 4] = 0
    assert range_error(found, reference) < 0.005
    assert component_error(found, reference) > 0.5
    assert Agreement.between(found, reference).component_error == component_error(found, reference)


def test_component_that_never_varies_counts_with_the_range_of_all():
    reference = np.array([[0.0, 5.0], [10.0, 5.0]])
    assert component_error(reference + [[0.0, 0.1]], reference) == pytest.approx(0.01)


ROWS = {
    "probabilities": (np.array([[0.2, 0.8], [0.5, 0.5]]), None, Reading("classes")),
    "logits": (np.array([[2.0, -1.0], [0.5, 3.0]]), None, Reading("classes")),
    "sigmoids": (np.array([[0.9, 0.8], [0.1, 0.2]]), None, Reading("labels")),
    "sigmoids, compiled": (np.array([[0.9, 0.1], [0.1, 0.9]]), "binary_crossentropy", Reading("labels")),
    "label logits": (
        np.array([[2.0, -1.0], [0.5, 3.0]]),
        keras.losses.BinaryCrossentropy(True),
        Reading("labels", 0.0),
    ),
    "one sigmoid": (np.array([[0.9], [0.2]]), "binary_crossentropy", Reading("labels")),
    "one number": (np.array([[0.9], [0.2]]), None, Reading("numbers")),
    "regression": (np.array([[2.0, -1.0], [0.5, 3.0]]), "mse", Reading("numbers")),
    "maps": (np.zeros((2, 3, 3, 2)), None, Reading("numbers")),
    "maps of probabilities": (np.full((2, 3, 3, 2), 0.5), None, Reading("classes")),
    "maps of logits": (np.zeros((2, 3, 3, 2)), "sparse_categorical_crossentropy", Reading("classes")),
    "maps of yes or no": (np.full((2, 3, 3, 1), 0.5), "binary_crossentropy", Reading("labels")),
    "classes, compiled": (np.array([[0.2, 0.9], [0.9, 0.9]]), "categorical_crossentropy", Reading("classes")),
    "classes by a loss of one's own": (np.array([[0.2, 0.9], [0.9, 0.9]]), lambda y, p: 0.0, Reading("classes")),
}


@pytest.mark.parametrize("rows, loss, wanted", ROWS.values(), ids=ROWS)
def test_reading_follows_from_the_loss_else_from_the_outputs(rows, loss, wanted):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    if loss is not None:
        model.compile("sgd", loss)
    assert readings_of(model, [rows]) == [wanted]
