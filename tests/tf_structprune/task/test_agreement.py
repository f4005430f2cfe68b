import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tf_structprune.task import Agreement, range_error, relative_error, same_class_fraction

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
