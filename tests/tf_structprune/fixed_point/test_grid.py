"""What every grid does, and what is special about each."""

import json

import numpy as np
import pytest

from tests.grids import Codebook
from tf_structprune.fixed_point import GRIDS, SignalGrid, WeightGrid, grid_config, grid_of, to_integers

ALL = {
    **{f"weight {bits}": WeightGrid(bits, power_of_two=False) for bits in range(2, 9)},
    "weight, power of two": WeightGrid(4),
    **{f"rectified {bits}": SignalGrid(bits, power_of_two=bits % 2 == 0) for bits in range(3, 9)},
    "signed": SignalGrid(kind="signed", power_of_two=False),
    "measured": SignalGrid(kind="measured"),
    "codebook": Codebook(),
}
each_grid = pytest.mark.parametrize("grid", ALL.values(), ids=ALL)
RNG = np.random.default_rng(0)
VALUES = RNG.normal(0.3, 1.0, 400)


def all_words(grid, calibration):
    smallest, largest = grid.ends(calibration)
    return np.arange(smallest, largest + 1.0)


@each_grid
def test_words_are_whole_and_in_their_range(grid):
    calibration = grid.fit(VALUES)
    words = grid.words(VALUES * 9, calibration)
    smallest, largest = grid.ends(calibration)
    assert (words == np.rint(words)).all() and words.min() == smallest and words.max() == largest
    assert largest - smallest < 2**grid.bits


@each_grid
def test_the_number_of_a_word_is_the_nearest(grid):
    calibration = grid.fit(VALUES)
    numbers = grid.numbers(all_words(grid, calibration), calibration)
    found = grid.numbers(grid.words(VALUES, calibration), calibration)
    assert np.allclose(np.abs(found - VALUES), np.abs(VALUES[:, None] - numbers).min(axis=1), rtol=0, atol=1e-12)


@each_grid
def test_numbers_stay_where_they_are_and_grow_with_their_words(grid):
    calibration = grid.fit(VALUES)
    words = all_words(grid, calibration)
    numbers = grid.numbers(words, calibration)
    assert (np.diff(numbers) > 0).all()
    assert (grid.words(numbers, calibration) == words).all()


@each_grid
def test_numbers_are_multiples_of_the_step(grid):
    calibration = grid.fit(VALUES)
    numbers, step = grid.numbers(all_words(grid, calibration), calibration), grid.step(calibration)
    assert step == 0 or np.allclose(numbers / step, np.rint(numbers / step), rtol=0, atol=1e-9)


@each_grid
def test_channels_are_rounded_as_if_alone(grid):
    channels = VALUES.reshape(-1, 4) * [0.1, 1, 3, 20]
    calibrations = np.stack([grid.fit(channel) for channel in channels.T], axis=-1)
    assert calibrations.shape == (*grid.shape, 4)
    together = grid.numbers(grid.words(channels, calibrations), calibrations)
    for channel, calibration, found in zip(channels.T, np.moveaxis(calibrations, -1, 0), together.T, strict=True):
        assert (found == grid.numbers(grid.words(channel, calibration), calibration)).all()


@each_grid
def test_a_grid_is_plain_values(grid, monkeypatch):
    monkeypatch.setitem(GRIDS, "codebook", Codebook)
    assert grid_of(json.loads(json.dumps(grid_config(grid)))) == grid == grid_of(grid)


def test_ties_of_weights_go_away_from_zero_and_those_of_signals_up():
    ties = np.array([-1.5, -0.5, 0.5, 1.5])
    assert WeightGrid().words(ties, 1.0).tolist() == [-2, -1, 1, 2]
    assert SignalGrid(kind="signed").words(ties, np.array([1, -128, 127])).tolist() == [-1, 0, 1, 2]
    assert (WeightGrid().words(ties, 1.0) == to_integers(ties, 1.0, 8)).all()


@pytest.mark.parametrize("kind, low, ends", [("measured", 0, (0, 255)), ("measured", -1, (-128, 127))])
def test_measured_signals_are_unsigned_if_their_samples_are(kind, low, ends):
    grid = SignalGrid(kind=kind)
    assert grid.ends(grid.fit([low, 1.0])) == ends


def test_unknown_grids_are_refused():
    with pytest.raises(ValueError, match="unknown name. Received: name='odd'. Use: weight, signal"):
        grid_of({"name": "odd"})
