"""Stages are judged one after the other; each begins with what the accepted ones before it left."""

import dataclasses

import keras
import numpy as np
import pytest

from tf_structprune.stages import Begun, Judge, Judgement, Ledger, StageReport, run_stages
from tf_structprune.task import Interval, SampleScore, Validation, check_validation


class Model:
    """Stands for a network: it says one number of every sample."""

    def __init__(self, says):
        self.says = says


class Validated(Validation):
    def outputs_of(self, model):
        return np.full((4, 1), model.says)


def judge(given=-0.1, tolerance=0.05):
    samples = np.zeros((4, 1))
    return Judge(Validated(samples, samples, SampleScore(lambda y, p: p)), given, tolerance)


@dataclasses.dataclass(frozen=True)
class Adding:
    """A stage whose model says more than what it began with."""

    name: str
    more: float
    granularity: str = "test"

    def begin(self, present):
        report = StageReport(self.granularity, "", 0.0, present, present, accepted=False)
        return Begun(Model(present), report)

    def callbacks(self):
        return ()

    def end(self, present, model):
        return model.says


def train(stage, model):
    model.says += stage.more


def run(*steps):
    ledger = Ledger(judge(), kept=-0.1)
    run_stages(ledger, [Adding(str(index), more) for index, more in enumerate(steps)], train)
    return ledger


def test_accepted_stages_are_built_upon():
    ledger = run(-0.02, -0.02)
    assert [report.accepted for report in ledger.reports] == [True, True]
    assert ledger.kept == pytest.approx(-0.14)
    assert ledger.open is None


def test_stage_beyond_the_tolerance_is_taken_back():
    ledger = run(-0.02, -0.5, -0.02)
    assert [report.accepted for report in ledger.reports] == [True, False, True]
    assert [report.score_before for report in ledger.reports] == pytest.approx([-0.1, -0.12, -0.12])
    assert [report.score_after for report in ledger.reports] == pytest.approx([-0.12, -0.62, -0.14])
    assert ledger.kept == pytest.approx(-0.14)


@pytest.mark.parametrize("score", [float("nan"), float("inf"), -float("inf")])
def test_score_that_is_not_finite_is_never_accepted(score):
    ledger = run(score)
    assert [report.accepted for report in ledger.reports] == [False]
    assert ledger.kept == -0.1


def test_tolerance_itself_is_accepted_and_anything_below_is_not():
    assert judge().accepts(-0.15) and not judge().accepts(-0.1501)


def test_closing_without_an_open_stage_says_nothing():
    ledger = Ledger(judge(), kept=None)
    ledger.close(Judgement(-0.1, accepted=True, interval=None))
    assert ledger.reports == ()


def test_reports_say_what_the_samples_tell_of_the_loss():
    samples = np.zeros((4, 1))
    validation = Validated(samples, samples, SampleScore(lambda y, p: p))
    given = Judge(validation, -0.1, 0.05, np.full(4, -0.1))
    ledger = Ledger(given, kept=-0.1)
    run_stages(ledger, [Adding("0", -0.02)], train)
    (report,) = ledger.reports
    wanted = Interval.of_loss(np.full(4, -0.1), np.full(4, -0.12), unit=0.02)
    assert dataclasses.astuple(report.interval) == pytest.approx(dataclasses.astuple(wanted))
    assert report.interval.low < 0.02 < report.interval.high


@pytest.mark.parametrize("score", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_has_no_interval(score):
    samples = np.zeros((4, 1))
    judge = Judge(Validated(samples, samples, SampleScore(lambda y, p: p)), -0.1, 0.05, np.full(4, -0.1))
    assert judge.judge(Model(score)) == Judgement(-float("inf"), accepted=False, interval=None)


def test_model_whose_own_score_is_not_finite_is_refused():
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(3)(inputs), name="blown_up")
    model.layers[-1].kernel.assign(np.full((2, 3), np.nan))
    x, y = np.ones((4, 2), np.float32), np.zeros(4, np.int64)
    with pytest.raises(
        ValueError, match=r"Model 'blown_up' must have a finite score .* Received: inf %\. Look for NaN"
    ):
        Judge.of(model, check_validation((x, y), "mcr", 4), 0.01)
