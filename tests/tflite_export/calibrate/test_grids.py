"""A grid of least error rounds finer than one from the least to the largest value, and never worse."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tflite_export.calibrate._grids import Grid, Seen, least_error

DRAWS = {
    "normal": lambda rng: rng.normal(size=20000),
    "relu": lambda rng: np.maximum(rng.normal(size=20000), 0),
    "laplace": lambda rng: rng.laplace(size=20000),
    "shifted": lambda rng: rng.gamma(2, size=20000) - 0.5,
    "outlier": lambda rng: np.append(rng.normal(size=20000), 100),
    "uniform": lambda rng: rng.uniform(-1, 3, 20000),
    "negative": lambda rng: -np.maximum(rng.normal(size=20000), 0),
}


def seen_in(grid, *parts):
    seen = Seen(grid)
    for part in parts:
        seen.add(part.astype(np.float32))
    return seen


def wide(values):
    return Grid.between(min(values.min(), 0.0), max(values.max(), 0.0))


def square_error(values, grid):
    return np.square(grid.rounded(values) - values).mean() / values.var()


@given(low=st.floats(-1e3, 0), high=st.floats(1e-3, 1e3))
def test_a_grid_has_zero_and_256_numbers_as_far_as_asked(low, high):
    grid = Grid.between(low, high)
    assert grid.rounded(np.zeros(1)) == 0
    assert -128 <= grid.zero_point <= 127
    assert grid.high - grid.low == pytest.approx(high - low, rel=1e-5)
    assert grid.low == pytest.approx(low, abs=grid.scale)


@pytest.mark.parametrize("name", DRAWS)
def test_the_counted_error_is_that_of_the_values(name):
    values = DRAWS[name](np.random.default_rng(0))
    grid = wide(values)
    seen = seen_in(grid, values[:7000], values[7000:])
    assert seen.variance == pytest.approx(values.var(), rel=1e-4)
    for each in (grid, Grid.between(grid.low / 2, grid.high / 2)):
        assert seen.error(each) == pytest.approx(square_error(values, each), rel=0.03)


@pytest.mark.parametrize("name", DRAWS)
def test_the_least_error_is_never_above_that_of_the_whole_range(name):
    values = DRAWS[name](np.random.default_rng(1))
    grid = wide(values)
    found = least_error([seen_in(grid, values)], grid)
    assert square_error(values, found) <= square_error(values, grid) * 1.001
    assert grid.low - grid.scale <= found.low <= 0 <= found.high <= grid.high + grid.scale


def test_a_far_outlier_is_cut_off():
    values = np.append(np.random.default_rng(0).normal(size=1_000_000), [30.0, -30.0])
    grid = wide(values)
    found = least_error([seen_in(grid, values)], grid)
    assert found.high < 15
    assert square_error(values, found) < square_error(values, grid) / 3


def test_evenly_spread_values_keep_their_range():
    values = np.linspace(-1, 3, 10_001)
    grid = wide(values)
    assert least_error([seen_in(grid, values)], grid).scale > 0.95 * grid.scale


def test_one_end_is_cut_off_without_the_other():
    values = np.append(np.random.default_rng(0).uniform(-1, 0, 1_000_000), [20.0])
    grid = wide(values)
    found = least_error([seen_in(grid, values)], grid)
    assert found.low == pytest.approx(-1, abs=0.1)
    assert found.high < 10


def test_values_of_one_sign_keep_zero_at_the_end():
    values = DRAWS["relu"](np.random.default_rng(0))
    grid = wide(values)
    assert grid.zero_point == least_error([seen_in(grid, values)], grid).zero_point == -128


def test_signals_that_share_a_grid_are_served_together():
    rng = np.random.default_rng(0)
    small, large = rng.uniform(0, 1, 5000), rng.uniform(0, 8, 5000)
    grid = wide(large)
    alone = least_error([seen_in(grid, small)], grid)
    both = least_error([seen_in(grid, small), seen_in(grid, large)], grid)
    assert alone.high < both.high
    assert both.high > 6
