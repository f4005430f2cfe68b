"""What is kept makes up for what is removed, also where nothing is retrained and nothing has a label."""

import numpy as np
import pytest

from tests.tflite_export.compress import tiny
from tf_structprune.allocation import METHODS, SCORING, Budget
from tf_structprune.stages import RECONSTRUCTIONS
from tflite_export.compress import CompressSettings, _allocate, compress, load_model

PRUNED = {"search": "least_squares", "epochs": 0, "tolerance": 0.5, "lower": "none", "micro": "none"}


def distance(model):
    """How far its outputs are from those of the given model, relative."""
    x = tiny.data().x_test
    wanted = tiny.trained().predict(x, verbose=0)
    return float(np.abs(model.predict(x, verbose=0) - wanted).mean() / np.abs(wanted).mean())


@pytest.fixture(scope="module")
def runs():
    return {
        mode: tiny.run(tiny.trained(), tiny.data(), CompressSettings(sparsity=0.4, reconstruct=mode, **PRUNED))
        for mode in ("none", "full")
    }


def test_nothing_is_trained_and_less_is_lost(runs):
    cut, solved = runs["none"], runs["full"]
    assert distance(solved.model) < 0.7 * distance(cut.model)
    assert solved.reports[0].score_before >= cut.reports[0].score_before
    for done in (cut, solved):
        (stage,) = done.reports
        assert stage.score_after == stage.score_before
        assert done.history == ()


def test_budget_follows_the_path_of_least_squares_without_labels(tmp_path):
    data = {name: array for name, array in vars(tiny.data()).items() if name.startswith("x_")}
    options = {**PRUNED, "tolerance": 1.0, "budget": "macs=0.6", "allocation": "least_squares"}
    report = compress(tiny.trained(), data, tmp_path / "out", **options)
    (stage,) = report.stages
    assert report.settings.epochs == 0
    assert stage.after == stage.before
    assert stage.allocation.method == "least_squares"
    assert report.compressed.macs <= 0.6 * report.baseline.macs
    assert report.compressed.int8_bytes < report.baseline.int8_bytes
    assert distance(load_model(tmp_path / "out" / "model.keras")) < 0.5


def allocated_by(monkeypatch, method, mode):
    """The metric by which a run's allocation was scored."""
    seen, made = [], _allocate.allocate

    def allocate(*given, **named):
        seen.append(made(*given, **named).metric.name)
        raise Stopped

    monkeypatch.setattr(_allocate, "allocate", allocate)
    settings = CompressSettings(sparsity=Budget("macs", 0.6), allocation=method, reconstruct=mode, **PRUNED)
    with pytest.raises(Stopped):
        tiny.run(tiny.trained(), tiny.data(), settings)
    return seen[0]


class Stopped(Exception):
    """Enough was seen."""


@pytest.mark.parametrize("mode", RECONSTRUCTIONS)
@pytest.mark.parametrize("method", METHODS)
def test_allocations_are_scored_by_what_reconstruction_leaves_of_them(monkeypatch, method, mode):
    predicted = mode == "full" and method in SCORING
    assert allocated_by(monkeypatch, method, mode) == ("reconstruction error" if predicted else "MCR")
