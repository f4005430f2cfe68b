"""sHAM for microcontrollers: every matrix comes back, everything is charged, and damage is told."""

import numpy as np
import pytest

from tests.tflite_export.micro.layers import changed, matrix
from tf_structprune.storage import huffman
from tflite_export.micro import matrix_bytes, matrix_values

PAPER = np.array([[1, 0, 4, 0, 0], [0, 10, 0, 0, 0], [2, 3, 0, 0, 5], [0, 0, 0, 0, 0], [0, 0, 0, 0, 6]], np.int8)


def test_the_example_of_the_paper():
    """Marino et al. 2020: columns are outputs; rows and counts one less than printed, as they begin with 0."""
    data = matrix_bytes(PAPER.T)
    assert data[:12] == bytes([1, 1, 5, 0, 5, 0, 7, 0, 0, 0, 7, 3])
    assert data[12 + 3 + 7 : -3 - 4] == bytes([2, 2, 1, 0, 2, 0, 2, 1, 2, 0, 2, 4])
    np.testing.assert_array_equal(matrix_values(data), PAPER.T)


@pytest.mark.parametrize("start", range(0, 300, 50))
def test_every_matrix_comes_back_and_everything_is_charged(start):
    for seed in range(start, start + 50):
        values = matrix(seed)
        data = matrix_bytes(values)
        again = matrix_values(data)
        assert again.dtype == np.int8
        np.testing.assert_array_equal(again, values)
        times = np.unique(values[values != 0], return_counts=True)[1]
        code = huffman(times, least=1) if len(times) else None
        bits, longest = (code.bits(times), code.most) if code else (0, 0)
        wide = 1 if values.shape[1] < 256 else 2
        numbers = len(values) + np.count_nonzero(values)
        assert len(data) == 12 + longest + len(times) + wide * numbers + -(-bits // 8) + 4


@pytest.mark.parametrize("shape", [(1, 255), (1, 256), (300, 2), (1, 65535), (3, 0), (0, 3)], ids=str)
def test_sides_at_their_limits_come_back(shape):
    values = np.random.default_rng(0).integers(-2, 3, shape).astype(np.int8)
    np.testing.assert_array_equal(matrix_values(matrix_bytes(values)), values)


@pytest.mark.parametrize("start", range(0, 300, 100))
def test_damage_is_one_clear_line(start):
    for seed in range(start, start + 100):
        data = matrix_bytes(matrix(seed))
        broken = changed(data, np.random.default_rng(seed))
        if broken == data:
            continue
        with pytest.raises(ValueError, match=r"A sHAM matrix is damaged\. Received: .*\. Export the model again\.$"):
            matrix_values(broken)


@pytest.mark.parametrize(
    "values", [np.zeros((2, 2)), np.zeros(4, np.int8), np.zeros((1, 65536), np.int8)], ids=["float", "flat", "long"]
)
def test_what_is_no_int8_matrix_is_refused(values):
    with pytest.raises(ValueError, match=r"Weights must be an int8 matrix of at most 65,535 rows and columns"):
        matrix_bytes(values)
