"""Which sparsity an epoch begins with."""

import numpy as np
import pytest

from tf_structprune.schedule import Gradual, OneShot, StepSchedule, as_schedule


def sparsities(schedule, epochs, final=0.8, steps=10):
    return [schedule.sparsity_at(epoch, steps, final) for epoch in range(epochs)]


def test_one_shot_gives_all_at_once():
    assert sparsities(OneShot(), 3) == [0.8, 0.8, 0.8]
    assert sparsities(OneShot(begin_epoch=2), 4) == [None, None, 0.8, 0.8]


@pytest.mark.parametrize("power", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("begin", [0, 2])
@pytest.mark.parametrize("epochs", [1, 2, 5])
def test_gradual_grows_to_the_final_sparsity(epochs, begin, power):
    found = sparsities(Gradual(epochs, begin, power), begin + epochs + 2)
    assert found[:begin] == [None] * begin
    grown = found[begin:]
    assert grown == sorted(grown)
    assert grown[epochs - 1 :] == [0.8] * 3
    assert all(0 < value < 0.8 for value in grown[: epochs - 1])


def test_gradual_follows_the_equation():
    expected = [0.8 * (1 - (1 - t) ** 3) for t in (0.25, 0.5, 0.75, 1.0)]
    assert sparsities(Gradual(epochs=4), 4) == pytest.approx(expected)
    assert sparsities(Gradual(epochs=4, power=1.0), 4) == pytest.approx([0.2, 0.4, 0.6, 0.8])


def test_step_schedule_takes_the_latest_update_of_the_last_epoch():
    asked = []

    def every_seven(step):
        asked.append(step)
        return step % 7 == 0, step / 100

    schedule = StepSchedule(every_seven)
    assert sparsities(schedule, 4) == [0.0, 0.07, 0.14, 0.28]
    assert max(asked) == 30
    assert schedule.sparsity_at(1, 3, 0.8) is None  # steps 1 to 3
    assert StepSchedule(lambda step: (False, 0.5)).sparsity_at(3, 10, 0.8) is None


def test_step_schedule_is_asked_for_each_step_since_the_last_epoch_and_for_none_before_the_first():
    asked = []

    def never(step):
        asked.append(step)
        return False, 0.5

    for epoch, steps in enumerate([[0], [1, 2, 3], [4, 5, 6]]):
        asked.clear()
        assert StepSchedule(never).sparsity_at(epoch, 3, 0.8) is None
        assert sorted(asked) == steps


def test_step_schedule_takes_arrays():
    schedule = StepSchedule(lambda step: (np.array(True), np.array(0.25, np.float32)))
    assert schedule.sparsity_at(0, 10, 0.8) == 0.25
    assert isinstance(schedule.sparsity_at(0, 10, 0.8), float)


def test_as_schedule_leaves_schedules_and_wraps_callables():
    gradual = Gradual()
    assert as_schedule(gradual) is gradual

    def call(step):
        return True, 0.5

    assert as_schedule(call) == StepSchedule(call)


@pytest.mark.parametrize("value", [0.5, "gradual", None])
def test_as_schedule_refuses_others(value):
    with pytest.raises(
        TypeError, match=r"must be a schedule or a tfmot PruningSchedule\. Received: schedule=.*OneShot"
    ):
        as_schedule(value)


@pytest.mark.parametrize("value", [-1, 1.5, "2", None])
@pytest.mark.parametrize("kind", [OneShot, Gradual], ids=lambda kind: kind.__name__)
def test_schedule_refuses_a_bad_begin(kind, value):
    with pytest.raises(ValueError, match=r"begin_epoch must be a whole number\. Received: begin_epoch=.*at least 0"):
        kind(begin_epoch=value)


@pytest.mark.parametrize("value", [0, -2, 2.0])
def test_gradual_refuses_bad_epochs(value):
    with pytest.raises(ValueError, match=r"epochs must be a whole number\. Received: epochs=.*Use at least 1"):
        Gradual(epochs=value)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_gradual_refuses_a_bad_power(value):
    with pytest.raises(ValueError, match=r"power must be positive\. Received: power=.*Use e\.g\. 3"):
        Gradual(power=value)
