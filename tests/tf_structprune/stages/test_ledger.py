"""Stages are judged one after the other; each begins with what the accepted ones before it left."""

import dataclasses

import numpy as np
import pytest

from tf_structprune.stages import Begun, Judge, Ledger, StageReport, run_stages
from tf_structprune.task import SampleScore, Validation


class Model:
    """Stands for a network: it says one number of every sample."""

    def __init__(self, says):
        self.says = says


class Validated(Validation):
    def of(self, model):
        return float(model.says)


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
    ledger.close(-0.1, accepted=True)
    assert ledger.reports == ()
