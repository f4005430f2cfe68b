"""Steps that signals take, counted on arrays whose counts are known."""

import numpy as np
import pytest

from tflite_export.file import TensorDescription
from tflite_export.sensitivity._scorer import decibels
from tflite_export.sensitivity._usage import UsageMeter

GRID = TensorDescription("signal", (1, 4), "int8", (0.5,), (-128,), constant=False)  # 0 to 127.5


def usage(*batches):
    meter = UsageMeter(GRID)
    for batch in batches:
        meter.see(np.asarray(batch, np.float32))
    return meter.usage()


def test_channels_are_told_in_steps_and_constant_ones_do_not_count():
    found = usage([[0, 1, 2, 7]], [[100, 2, 6, 7]])
    assert (found.largest_channel, found.median_channel) == (200, 8)


def test_channel_takes_no_more_than_all_steps():
    assert usage([[0.0], [1000.0]]).largest_channel == 255


def test_signal_that_never_changes_has_no_median():
    assert usage([[3.0, 3.0]]).median_channel == 0


def test_outliers_do_not_count_among_most_values():
    values = np.append(np.linspace(0, 10, 9999), 127.0)[:, None]
    assert 19 <= usage(values).most_values <= 21
    assert usage(np.linspace(0, 127.5, 5000)[:, None]).most_values >= 253


@pytest.mark.parametrize("value, share", [(128.0, 0.0), (128.5, 0.25), (1e6, 0.25), (-0.5, 0.0), (-1.0, 0.25)])
def test_values_a_step_and_more_beyond_the_ends_are_clipped(value, share):
    assert usage([[value, 1, 2, 3]]).clipped == share


def test_batches_count_as_one():
    values = np.random.default_rng(0).normal(50, 30, (60, 3, 4))
    assert usage(values[:7], values[7:]) == usage(values)


def test_decibels_are_powers():
    signal = np.full(100, 10.0)
    assert decibels(signal, signal + 1) == pytest.approx(20)
    assert decibels(signal, signal) == 200
    assert decibels(np.zeros(3), np.ones(3)) == -200
