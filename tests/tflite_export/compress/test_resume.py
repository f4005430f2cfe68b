"""A run that was killed or interrupted goes on where it stopped, and ends as if nothing had happened."""

import csv
import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import tf_structprune as sp
from tests.marks import HANG_SECONDS
from tests.tflite_export.compress import killed_run, tiny
from tf_structprune.resume import StateFolder
from tflite_export.compress import CompressSettings, RefusedError, _job, _prune_stage, _run, _train, compress, retrain
from tflite_export.compress._epochs import EpochFiles
from tflite_export.compress._work import Work, fingerprint, open_work
from tflite_export.devices import HOST, Host

pytestmark = pytest.mark.usefixtures("given_once")
ROOT = Path(__file__).parents[3]
SETTINGS = CompressSettings(
    sparsity=0.6,
    granularity=("feature_map", "kernel"),
    candidates=3,
    tolerance=0.5,
    epochs=3,
    finetune_batch=32,
    finetune_rate=5e-3,
    distill=0.0,
    augment=("flip",),
)


class Killed(BaseException):
    """In place of the signal, within one process."""


def stop_writing(monkeypatch, epochs, *, before=False):
    """Stop at the end of so many epochs, after or before the last is written."""
    write, left = StateFolder.write, [epochs]

    def writing(self, epoch, state):
        left[0] -= 1
        if before and not left[0]:
            raise Killed
        write(self, epoch, state)
        if not left[0]:
            raise Killed

    monkeypatch.setattr(StateFolder, "write", writing)


def weights_equal(first, second):
    for one, other in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def with_dropout(seed=7):
    """The trained network with a layer that draws numbers."""
    model = tiny.trained()
    inputs = keras.Input((8, 8, 1))
    x = inputs
    for layer in model.layers[1:]:
        copy = type(layer).from_config(layer.get_config())
        x = copy(x)
        copy.set_weights(layer.get_weights())
        if layer.name == "hidden":
            x = keras.layers.Dropout(0.3, seed=seed)(x)
    return keras.Model(inputs, x, name="with_dropout")


@pytest.fixture(scope="module", params=[pytest.param(0.0, marks=pytest.mark.sweep), 0.3], ids=["alone", "taught"])
def retrained(request):
    """Settings, and the model and figures of a retraining that nothing stops."""
    settings = dataclasses.replace(SETTINGS, distill=request.param)
    model = with_dropout()
    return settings, model, retrain(model, tiny.trained(), tiny.data(), settings, task=tiny.task())


SELDOM = pytest.mark.sweep


@pytest.mark.parametrize(
    "epochs, before",
    [
        pytest.param(1, True, marks=SELDOM),
        pytest.param(1, False, marks=SELDOM),
        (2, False),
        pytest.param(3, True, marks=SELDOM),
        pytest.param(3, False, marks=SELDOM),
    ],
)
def test_retraining_goes_on_with_the_next_epoch(retrained, tmp_path, monkeypatch, epochs, before):
    settings, whole, figures = retrained
    states = StateFolder(tmp_path / "epochs", {}, keep=1)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        stop_writing(patch, epochs, before=before)
        retrain(with_dropout(), tiny.trained(), tiny.data(), settings, task=tiny.task(), files=EpochFiles(states))
    model = with_dropout()
    again = retrain(model, tiny.trained(), tiny.data(), settings, task=tiny.task(), files=EpochFiles(states))
    weights_equal(model, whole)
    assert again.keys() == figures.keys()
    for name, values in figures.items():
        assert again[name] == pytest.approx(values, abs=1e-5)
    assert states.epochs() == [3]


def test_a_rate_that_was_found_is_not_looked_for_again(tmp_path, monkeypatch):
    settings = dataclasses.replace(SETTINGS, finetune_rate="auto", epochs=2)
    given = (tiny.trained(), tiny.data(), settings)
    states = StateFolder(tmp_path / "epochs", {}, keep=1)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        stop_writing(patch, 1)
        retrain(with_dropout(), *given, task=tiny.task(), files=EpochFiles(states))
    monkeypatch.setattr(_train, "range_test", lambda *_, **__: pytest.fail("tested again"))
    found = states.read(1).values["rate"]
    model = with_dropout()
    retrain(model, *given, task=tiny.task(), files=EpochFiles(states))
    assert float(model.optimizer._learning_rate(0)) == pytest.approx(found)
    assert states.read(2).values["rate"] == found


def test_a_retraining_that_ended_early_does_not_go_on(tmp_path):
    settings = dataclasses.replace(SETTINGS, granularity=("feature_map",), early_end=True, tolerance=1.0)
    work = Work(tmp_path, {"run": 1})
    done = tiny.run(tiny.trained(), tiny.data(), settings, work=work)
    assert [row["epoch"] for row in done.history] == [1]
    check_same(tiny.run(tiny.trained(), tiny.data(), settings, work=work), done)


def test_a_retraining_does_not_end_before_half_of_the_tolerance_is_left():
    lost = {"sparsity": 0.8, "reconstruct": "none", "search": "random", "finetune_rate": 1e-7}
    settings = dataclasses.replace(SETTINGS, granularity=("feature_map",), early_end=True, tolerance=0.01, epochs=2)
    with pytest.raises(RefusedError) as refused:
        tiny.run(tiny.trained(), tiny.data(), dataclasses.replace(settings, **lost))
    assert refused.value.reached.epochs == 2


@pytest.fixture(scope="module")
def pruned():
    """What the stages give when nothing stops them."""
    return tiny.run(tiny.trained(), tiny.data(), SETTINGS)


def check_same(found, wanted):
    assert found.reports == wanted.reports
    assert found.masks.equals(wanted.masks)
    weights_equal(found.model, wanted.model)
    assert [row.keys() for row in found.history] == [row.keys() for row in wanted.history]
    for row, other in zip(found.history, wanted.history, strict=True):
        assert row == pytest.approx(other, abs=1e-5)


@pytest.mark.sweep  # the killed command below is stopped between epochs too
@pytest.mark.parametrize("epochs", [2, 4, 6], ids=["first stage", "second stage", "end"])
def test_stages_stopped_between_epochs_end_the_same(pruned, tmp_path, monkeypatch, epochs):
    work = Work(tmp_path, {"run": 1})
    with monkeypatch.context() as patch, pytest.raises(Killed):
        stop_writing(patch, epochs)
        tiny.run(tiny.trained(), tiny.data(), SETTINGS, work=work)
    searched = []
    find_masks = _prune_stage.find_masks
    monkeypatch.setattr(_prune_stage, "find_masks", lambda *a, **k: searched.append(a[1]) or find_masks(*a, **k))
    check_same(tiny.run(tiny.trained(), tiny.data(), SETTINGS, work=work), pruned)
    assert len(searched) == (1 if epochs == 2 else 0)  # only what had not been found yet


@pytest.mark.sweep
def test_stages_stopped_in_a_search_end_the_same(pruned, tmp_path, monkeypatch):
    work = Work(tmp_path, {"run": 1})
    find_masks, calls = _prune_stage.find_masks, []

    def stopped(*arguments, **settings):
        calls.append(arguments)
        found = find_masks(*arguments, **settings)
        if len(calls) == 2:
            raise Killed
        return found

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(_prune_stage, "find_masks", stopped)
        tiny.run(tiny.trained(), tiny.data(), SETTINGS, work=work)
    check_same(tiny.run(tiny.trained(), tiny.data(), SETTINGS, work=work), pruned)


def test_layers_draw_the_same_behind_a_search_that_is_known(tmp_path, monkeypatch):
    """Without seeds of their own they are given some when the thin model is made, whatever the search drew before."""
    dense, work = with_dropout(seed=None), Work(tmp_path, {"run": 1})
    settings = dataclasses.replace(SETTINGS, granularity=("feature_map",), epochs=1)
    wanted = tiny.run(dense, tiny.data(), settings)

    def stopped(*arguments, **given):
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(_job, "retrain", stopped)
        tiny.run(dense, tiny.data(), settings, work=work)
    monkeypatch.setattr(_prune_stage, "find_masks", lambda *_, **__: pytest.fail("searched again"))
    check_same(tiny.run(dense, tiny.data(), settings, work=work), wanted)


def test_allocation_of_a_budget_is_kept(tmp_path, monkeypatch):
    settings = CompressSettings(sparsity=sp.Budget("macs", 0.6), candidates=2, epochs=1, tolerance=1.0)
    work = Work(tmp_path, {"run": 1})
    first = tiny.run(tiny.trained(), tiny.data(), settings, work=work)
    monkeypatch.setattr(_prune_stage, "allocate_budget", lambda *_: pytest.fail("allocated again"))
    check_same(tiny.run(tiny.trained(), tiny.data(), settings, work=work), first)


@pytest.mark.sweep
def test_fixed_point_goes_on_with_the_next_epoch(tmp_path, monkeypatch):
    settings = dataclasses.replace(SETTINGS, sparsity=0, tolerance=1.0, fixed_point=sp.FixedPoint(4, 6))
    whole = tiny.run(tiny.trained(), tiny.data(), settings)
    work = Work(tmp_path, {"run": 1})
    with monkeypatch.context() as patch, pytest.raises(Killed):
        stop_writing(patch, 2)
        tiny.run(tiny.trained(), tiny.data(), settings, work=work)
    check_same(tiny.run(tiny.trained(), tiny.data(), settings, work=work), whole)


def run_script(*arguments):
    command = [sys.executable, "-m", "tests.tflite_export.compress.killed_run", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=HANG_SECONDS)


def test_killed_command_goes_on_and_leaves_nothing_behind(tmp_path):
    """Killed in the second stage, so that masks of two stages and three epochs are there."""
    killed = run_script(3, tmp_path / "out")
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    names = tiny.entries(tmp_path)
    assert ".out.work" in names
    assert any(name.endswith(".partial") for name in names)
    with pytest.raises(ValueError, match=r"run\.npz is the state of another run\. Received: another tolerance\. Go on"):
        other = dataclasses.replace(killed_run.SETTINGS, tolerance=0.4)
        open_work(tmp_path / "out", saved_fingerprint(tmp_path) | {"tolerance": fingerprint_of(other)["tolerance"]})
    done = run_script(0, tmp_path / "out", tmp_path / "whole")
    assert done.returncode == 0, done.stderr[-2000:]
    assert tiny.entries(tmp_path) == ["out", "whole"]
    first, second = (keras.models.load_model(tmp_path / name / "model.keras") for name in ("out", "whole"))
    weights_equal(first, second)
    rows = [list(csv.reader((tmp_path / name / "history.csv").open())) for name in ("out", "whole")]
    assert rows[0][0] == rows[1][0]
    for one, other in zip(*rows, strict=True):
        assert one[:3] == other[:3]
    assert len(rows[0]) == 5


def fingerprint_of(settings):
    return fingerprint(tiny.trained(), tiny.data(), settings, HOST)


def saved_fingerprint(folder):
    """What the killed process wrote; its network was trained by itself."""
    import json

    with np.load(folder / ".out.work" / "run.npz") as file:
        return json.loads(file["state.json"].tobytes())["fingerprint"]


def test_interruption_keeps_what_was_done(tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(_job, "retrain", interrupted)
    with pytest.raises(
        KeyboardInterrupt, match=r"interrupted\. What was done so far is kept; the same command goes on"
    ):
        compress(tiny.trained(), tiny.data(), tmp_path / "out", settings=SETTINGS)
    assert tiny.entries(tmp_path) == [".out.work"]
    assert tiny.entries(tmp_path / ".out.work") == ["run.npz", "stage_1_search.npz"]


@pytest.mark.parametrize(
    "change, named",
    [({"seed": 1}, "seed"), ({"epochs": 9}, "epochs"), ({"sparsity": sp.Budget("macs", 0.5)}, "sparsity")],
    ids=["seed", "epochs", "budget"],
)
def test_work_of_other_settings_is_refused_and_kept(tmp_path, change, named):
    open_work(tmp_path / "out", fingerprint_of(SETTINGS))
    before = tiny.tree(tmp_path)
    settings = dataclasses.replace(SETTINGS, granularity=("feature_map",), **change)
    message = rf"\.out\.work/run\.npz is the state of another run\. Received: (another \w+, )*another {named}\b"
    with pytest.raises(ValueError, match=message):
        compress(tiny.trained(), tiny.data(), tmp_path / "out", settings=settings)
    assert tiny.tree(tmp_path) == before


def test_work_of_another_model_or_data_is_refused(tmp_path):
    open_work(tmp_path / "out", fingerprint_of(SETTINGS))
    other, data = tiny.fresh(), tiny.data()
    tiny.forget(other)
    changed = dataclasses.replace(data, x_val=data.x_val + 1)
    for model, given, named in ((other, data, "model"), (tiny.trained(), changed, "data")):
        with pytest.raises(ValueError, match=rf"state of another run\. Received: another {named}\. Go on"):
            open_work(tmp_path / "out", fingerprint(model, given, SETTINGS, HOST))


def test_work_of_another_device_is_refused(tmp_path):
    open_work(tmp_path / "out", fingerprint_of(SETTINGS))
    with pytest.raises(ValueError, match=r"state of another run\. Received: another device\. Go on"):
        compress(tiny.trained(), tiny.data(), tmp_path / "out", settings=SETTINGS, device=Host(threads=2))


def test_folder_of_the_user_in_place_of_the_work_is_refused_and_kept(tmp_path):
    (tmp_path / ".out.work").mkdir()
    (tmp_path / ".out.work" / "notes.txt").write_text("mine")
    message = r"\.out\.work holds files that are no states of a run\. Received: notes\.txt\. Move them, or choose"
    with pytest.raises(ValueError, match=message):
        compress(tiny.trained(), tiny.data(), tmp_path / "out", settings=SETTINGS)
    assert tiny.entries(tmp_path / ".out.work") == ["notes.txt"]


def test_torn_part_is_refused(tmp_path):
    work = open_work(tmp_path / "out", {"run": 1})
    (work.path / "stage_1_search.npz").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"stage_1_search\.npz cannot be read as a state of a run\. Received: 2 bytes"):
        work.known("stage_1_search", "")


def test_folder_that_was_just_made_is_taken(tmp_path):
    (tmp_path / ".out.work").mkdir()
    (tmp_path / ".out.work" / ".run.npz.01234567.partial").write_bytes(b"P")
    assert open_work(tmp_path / "out", {"run": 1}).known("stage_1_search", "") is None


def test_a_run_is_known_by_the_epochs_and_the_batch_that_follow_from_its_data(monkeypatch, tmp_path):
    seen = []

    def opened(out, found):
        seen.append(found)
        raise Killed

    monkeypatch.setattr(_run, "open_work", opened)
    with pytest.raises(Killed):
        compress(tiny.trained(), tiny.data(), tmp_path / "out", settings=CompressSettings())
    length = CompressSettings().retraining(len(tiny.data().x_train))
    assert (seen[0]["epochs"], seen[0]["finetune_batch"]) == (str(length.epochs), str(length.batch))
