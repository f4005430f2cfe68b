"""What a refused run reached is kept, and the same run goes on from there."""

import csv
import json
import shutil
from itertools import islice

import keras
import numpy as np
import pytest

from tests.tflite_export.compress import tiny
from tf_structprune.stages import Judgement
from tflite_export.compress import RefusedError, _hand_over, _job, _prune_stage, _run, compress

pytestmark = pytest.mark.usefixtures("given_once")
ASKED = {
    "sparsity": 0.6,
    "search": "best_of_n",
    "candidates": 2,
    "tolerance": 0.0,
    "epochs": 2,
    "distill": 0.0,
    "finetune_rate": 1e-7,
    "micro": "none",
    "reconstruct": "none",
}


def run(folder, **changed):
    return compress(tiny.trained(), tiny.data(), folder / "out", **ASKED | changed)


def history(folder):
    with (folder / "history.csv").open() as file:
        return list(csv.DictReader(file))


def never(*_, **__):
    raise AssertionError("This was done before.")


@pytest.fixture(scope="module")
def first(tmp_path_factory, given_once):
    """A folder in which a run was refused, and its error."""
    folder = tmp_path_factory.mktemp("refused")
    with pytest.raises(RefusedError) as error:
        run(folder)
    assert tiny.entries(folder) == ["out.refused"]
    return folder, str(error.value)


@pytest.fixture
def refused(first, tmp_path):
    """A copy of that folder."""
    return shutil.copytree(first[0], tmp_path, dirs_exist_ok=True)


def test_refused_run_keeps_the_model_its_history_and_by_how_much_it_missed(first):
    folder, told = first
    folder /= "out.refused"
    names = [name for name in tiny.entries(folder) if not name.startswith(".")]
    assert names == ["history.csv", "model.keras", "summary.json", "work"]
    assert told.startswith("No stage stayed within the tolerance of 0.00 points.")
    assert f"What was reached is in {folder}; the same with more --epochs, a larger --tolerance or another" in told
    summary = json.loads((folder / "summary.json").read_text())
    model = keras.models.load_model(folder / "model.keras")
    assert model.count_params() < tiny.trained().count_params()
    error = 1 - tiny.accuracy(model, tiny.data().x_val, tiny.data().y_val)
    assert summary["reached"] == pytest.approx(error) and error > 0
    assert summary["missed_by"] == pytest.approx(error - summary["given"] - summary["tolerance"])
    assert (summary["stage"], summary["epoch"], summary["metric"]) == ("stage_1", 2, "MCR")
    assert [row["epoch"] for row in history(folder)] == ["1", "2"]


def test_wider_tolerance_takes_what_was_reached(refused, monkeypatch):
    folder = refused
    reached = keras.models.load_model(folder / "out.refused" / "model.keras").get_weights()
    monkeypatch.setattr(_prune_stage, "find_masks", never)
    (folder / "out.refused" / "notes.txt").write_text("mine")
    report = run(folder, tolerance=1.0)
    assert report.stages[0].accepted
    assert tiny.entries(folder) == ["out", "out.refused"]
    assert tiny.entries(folder / "out.refused") == ["notes.txt"]
    found = keras.models.load_model(folder / "out" / "model.keras").get_weights()
    for one, other in zip(found, reached, strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(history(folder / "out")) == 2


@pytest.mark.parametrize(
    "changed, epochs",
    [({"epochs": 3}, 3), pytest.param({"finetune_rate": 2e-7}, 4, marks=pytest.mark.sweep)],
    ids=["more epochs", "another rate"],
)
def test_run_trains_on_from_what_was_reached(refused, monkeypatch, changed, epochs):
    folder = refused
    before = history(folder / "out.refused")
    monkeypatch.setattr(_prune_stage, "find_masks", never)
    with pytest.raises(RefusedError):
        run(folder, **changed)
    assert tiny.entries(folder) == ["out.refused"]
    after = history(folder / "out.refused")
    assert after[:2] == before and len(after) == epochs
    run(folder, **changed, tolerance=1.0)  # what went on is gone on from too
    assert tiny.entries(folder) == ["out"]
    assert history(folder / "out") == after


@pytest.mark.sweep
def test_run_that_asks_for_something_else_leaves_what_was_reached_alone(refused):
    folder = refused
    before = tiny.tree(folder)
    with pytest.raises(RefusedError, match=r"out\.refused-2; the same"):
        run(folder, seed=1)
    assert tiny.entries(folder) == ["out.refused", "out.refused-2"]
    assert {name: tiny.tree(folder)[name] for name in before} == before


def test_budget_is_named_where_one_was_given(tmp_path, monkeypatch):
    monkeypatch.setattr(_job, "retrain", lambda model, *_, **__: tiny.forget(model) or {"loss": [0.5]})
    with pytest.raises(RefusedError, match=r"Use a larger --budget, more --epochs, or a larger --tolerance\. What"):
        asked = {"budget": "macs=0.5", "candidates": 1, "epochs": 1, "distill": 0.5, "micro": "none"}
        compress(tiny.trained(), tiny.data(), tmp_path / "out", **asked)


def test_refused_file_keeps_the_nearest_model(tmp_path, monkeypatch, given_files):
    """Pruning is accepted, its integer file is not."""
    scores, ways = iter([0.0, -0.5, -0.3, -0.6]), _hand_over._ways
    monkeypatch.setattr(_run, "hand_over", given_files.hand_over)
    monkeypatch.setattr(_hand_over, "_ways", lambda *a, **k: islice(ways(*a, **k), 3))
    monkeypatch.setattr(
        _hand_over, "judge_file", lambda _, job: Judgement(score := next(scores), job.judge.accepts(score), None)
    )
    with pytest.raises(RefusedError, match=r"The integer file is not within .* What was reached is in"):
        run(tmp_path, tolerance=0.2, finetune_rate=5e-3, epochs=1)
    summary = json.loads((tmp_path / "out.refused" / "summary.json").read_text())
    assert (summary["stage"], summary["reached"]) == ("int8", 0.3)
    stages = [row["granularity"] for row in history(tmp_path / "out.refused")]
    assert stages[0] == "feature_map"


def test_score_that_is_no_number_is_none(tmp_path, monkeypatch):
    def broken(model, *_, **__):
        layer = model.get_layer("classifier")
        layer.set_weights([np.full_like(weights, np.nan) for weights in layer.get_weights()])
        return {"loss": [np.nan]}

    monkeypatch.setattr(_job, "retrain", broken)
    with pytest.raises(RefusedError):
        compress(tiny.trained(), tiny.data(), tmp_path / "out", candidates=1, epochs=1, micro="none")
    summary = json.loads((tmp_path / "out.refused" / "summary.json").read_text())
    assert summary["reached"] is None and summary["missed_by"] is None
