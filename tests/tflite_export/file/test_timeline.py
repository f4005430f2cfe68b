"""Memory operator by operator agrees with its peak, and names who sets it."""

import pytest

from tests.tflite_export.file.test_activations import GRAPHS
from tests.tflite_export.runtime import int8_models
from tflite_export.file import activation_peak_bytes, memory_timeline, open_file


@pytest.mark.parametrize("name", GRAPHS)
def test_largest_step_is_the_peak(name):
    description, peak = GRAPHS[name]
    timeline = memory_timeline(description)
    assert timeline.peak_bytes == peak
    assert max((step.live_bytes for step in timeline.steps), default=0) == peak
    assert len(timeline.steps) == len(description.operators)


def test_peak_is_set_by_the_first_operator_that_reaches_it():
    assert memory_timeline(GRAPHS["residual"][0]).peak == 2
    assert memory_timeline(GRAPHS["chain"][0]).peak == 1
    assert memory_timeline(GRAPHS["result never read"][0]).peak == 0
    assert memory_timeline(GRAPHS["empty"][0]).peak is None


def test_steps_are_those_of_a_real_file():
    description = open_file(int8_models.network("concat")).description
    timeline = memory_timeline(description)
    assert [step.operator for step in timeline.steps] == [operator.name for operator in description.operators]
    assert timeline.peak_bytes == activation_peak_bytes(description)
