"""The interval of a loss against values by hand, and how often it holds the truth."""

import numpy as np
import pytest

from tf_structprune.task import Interval


def interval(wrong_before, wrong_after, samples):
    """Of a model that errs on some samples and one that errs on some others."""
    given, found = np.zeros(samples), np.zeros(samples)
    given[:wrong_before], found[samples - wrong_after :] = -1, -1
    return Interval.of_loss(given, found, unit=1.0)


@pytest.mark.parametrize(
    "before, after, samples, middle, variance",
    [
        (0, 0, 8, 0.0, 1 / 10),  # half a sample won, half a sample lost
        (1, 3, 98, 2 / 100, 5 / 100 - 4 / 100**2),
        (0, 10, 98, 10 / 100, 11 / 100 - 1 / 100),
    ],
    ids=["eight_equal", "some_won", "only_lost"],
)
def test_ends_by_hand(before, after, samples, middle, variance):
    found = interval(before, after, samples)
    half = 1.959964 * np.sqrt(variance / (samples + 2))
    assert (found.low, found.high) == pytest.approx((middle - half, middle + half))
    assert found.half_width == pytest.approx(half)
    assert found.samples == samples


def test_gain_is_a_loss_below_zero():
    assert interval(30, 0, 100).high < 0


def test_interval_holds_the_loss_of_the_population():
    """Of 2,000 sets of 100 samples, at least 94 % of the intervals; few samples err, and mostly the same."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(2000):
        given = rng.random(100) < 0.05
        found = np.where(rng.random(100) < 0.03, rng.random(100) < 0.5, given)
        ends = Interval.of_loss(-given.astype(float), -found.astype(float), unit=1.0)
        held += ends.low <= 0.03 * (0.5 - 0.05) <= ends.high
    assert held / 2000 >= 0.94


def test_so_many_samples_tell_a_tolerance():
    few = interval(2, 4, 200)
    enough = few.samples_to_tell(0.01)
    assert enough > 200
    share = enough // 200
    many = interval(2 * share, 4 * share, 200 * share)
    assert many.half_width == pytest.approx(0.01, rel=0.1)
    assert many.samples_to_tell(0.05) == 200 * share


def test_equal_numbers_have_an_interval_of_no_width():
    same = np.linspace(0, 1, 50)
    assert Interval.of_loss(same, same, unit=0.0) == Interval(0.0, 0.0, 50)
