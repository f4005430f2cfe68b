"""A training that was killed and started again ends as if it had not been killed."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import tf_structprune as sp
from tests import zoo
from tests.marks import HANG_SECONDS, sweep_but
from tests.tf_structprune.callbacks import resumed_fit

ROOT = Path(__file__).parents[3]


class Killed(BaseException):
    """In place of the signal, within one process."""


def kill():
    raise Killed


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The result of the training that nothing stops."""
    folder = tmp_path_factory.mktemp("whole")
    pruning, callbacks = resumed_fit.make(folder)
    masked = resumed_fit.fit(callbacks)
    assert "load_weights" not in vars(masked)  # its own way of loading again
    found = resumed_fit.result(masked, pruning)
    assert [report.accepted for report in pruning.reports] == [True, False]  # the second is rolled back in epoch 2
    assert list(folder.iterdir()) == []
    return found


def stop(folder, place, epoch, **settings):
    """A training that is stopped; only its files are left."""
    with pytest.raises(Killed):
        resumed_fit.fit(resumed_fit.make(folder, place, epoch, kill, **settings)[1])


def check_equal(found, wanted):
    assert found["reports"].tobytes() == wanted["reports"].tobytes()
    assert found.keys() == wanted.keys()
    for name in wanted:
        np.testing.assert_allclose(found[name], wanted[name], atol=1e-5)


STOPS = {
    "search of the first epoch": ("in the search", 0),
    "batch of the first epoch": ("in a batch", 0),
    "first epoch, state unwritten": ("before the state", 0),
    "first epoch, backup unwritten": ("before the backup", 0),
    "first epoch, all written": ("after the backup", 0),
    "second search": ("in the search", 1),
    "while a step is open": ("in a batch", 2),
    "rolled back, backup unwritten": ("before the backup", 2),
    "rolled back, all written": ("after the backup", 2),
    "end, backup unwritten": ("before the backup", 4),
    "end, all written": ("after the backup", 4),
}
OFTEN = ("rolled back, backup unwritten",)


@pytest.mark.parametrize("place, epoch", sweep_but(OFTEN, STOPS))
def test_training_stopped_anywhere_ends_the_same(whole, tmp_path, place, epoch):
    stop(tmp_path, place, epoch)
    pruning, callbacks = resumed_fit.make(tmp_path)
    check_equal(resumed_fit.result(resumed_fit.fit(callbacks), pruning), whole)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.sweep
def test_student_of_a_distiller_goes_on_too(tmp_path):
    results = []
    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
        if name == "stopped":
            with pytest.raises(Killed):
                resumed_fit.fit(
                    resumed_fit.make(tmp_path / name, *STOPS["while a step is open"], kill)[1], distill=True
                )
        pruning, callbacks = resumed_fit.make(tmp_path / name)
        results.append(resumed_fit.result(resumed_fit.fit(callbacks, distill=True), pruning))
        assert pruning.reports and list((tmp_path / name).iterdir()) == []
    check_equal(*results)


def run_script(*arguments):
    command = [sys.executable, "-m", "tests.tf_structprune.callbacks.resumed_fit", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=HANG_SECONDS)


def test_killed_process_leaves_what_the_next_one_needs(tmp_path):
    """One training of two processes, the first killed by the kernel, and one that nothing stops."""
    weights = tmp_path / "weights.npz"
    np.savez(weights, *resumed_fit.trained_weights())
    for name in ("killed", "whole"):
        (tmp_path / name).mkdir()
    killed = run_script(weights, "in the search", 1, tmp_path / "killed")
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    results = []
    done = run_script(weights, "nowhere", 0, tmp_path / "killed", tmp_path / "whole")
    assert done.returncode == 0, done.stderr[-2000:]
    for name in ("killed", "whole"):
        assert [path.name for path in (tmp_path / name).iterdir()] == ["result.npz"]
        with np.load(tmp_path / name / "result.npz") as file:
            results.append(dict(file))
    check_equal(*results)


@pytest.mark.parametrize(
    "change, named",
    [
        ({"seed": 1}, "another seed"),
        ({"sparsity": 0.5, "tolerance": 0.2}, "another tolerance, another sparsity"),
        ({"search": sp.search.RandomMask()}, "another search"),
        ({"racing": False, "early_stop": True}, "another racing, another early_stop"),
        ({"score": "mcr"}, "another score"),
        ({"validation_data": (zoo.lit_rows(48)[0] + 1, zoo.lit_rows(48)[1])}, "another validation data"),
    ],
    ids=["seed", "two", "search", "how it is scored", "score", "data"],
)
def test_state_of_another_run_is_refused(stopped, change, named):
    callbacks = resumed_fit.make(stopped, **change)[1]
    names = {part.strip() for part in named.split(",")}
    with pytest.raises(ValueError, match=r"is the state of another run\. Received: ") as caught:
        resumed_fit.fit(callbacks)
    told = str(caught.value).split("Received: ")[1].split(". Go on")[0]
    assert set(told.split(", ")) == names


@pytest.fixture(scope="module")
def stopped_once(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stopped")
    stop(folder, "after the backup", 1)
    return folder


@pytest.fixture
def stopped(stopped_once, tmp_path):
    """A folder of a training that was stopped after two epochs."""
    return shutil.copytree(stopped_once, tmp_path / "run")


def test_torn_state_is_refused(stopped):
    for file in (stopped / "pruning").iterdir():
        file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"epoch_000002\.npz cannot be read as a state of a run\. .* begin anew"):
        resumed_fit.fit(resumed_fit.make(stopped)[1])


def test_folder_of_the_backup_is_refused(tmp_path):
    callbacks = resumed_fit.make(tmp_path, state_dir=tmp_path / "backup")[1]
    with pytest.raises(ValueError, match=r"backup holds files that are no states of a run\. Received: latest\.weights"):
        resumed_fit.fit(callbacks)


def test_backup_of_an_epoch_without_a_state_is_refused(stopped):
    (stopped / "pruning" / "epoch_000002.npz").unlink()
    message = r"no state for epoch 2, with which training begins\. Received: states for the epochs 1\. Put the pruning"
    with pytest.raises(ValueError, match=message):
        resumed_fit.fit(resumed_fit.make(stopped)[1])


def test_training_without_the_backup_is_refused(stopped):
    pruning, _ = resumed_fit.make(stopped)
    message = (
        r"no state for epoch 0, with which training begins\. Received: states for the epochs 1, 2\. Put the prunin"
    )
    with pytest.raises(ValueError, match=message):
        resumed_fit.fit([pruning])


def test_backup_without_any_state_is_refused(stopped):
    for file in (stopped / "pruning").iterdir():
        file.unlink()
    with pytest.raises(ValueError, match=r"no state for epoch 2, .* Received: no state at all\. Put the pruning"):
        resumed_fit.fit(resumed_fit.make(stopped)[1])


def test_model_of_another_moment_is_refused(stopped):
    """Weights of an epoch and the number of another, as a process leaves that was killed while it wrote them."""
    metadata = stopped / "backup" / "training_metadata.json"
    metadata.write_text(metadata.read_text().replace('"epoch": 2', '"epoch": 1'))
    with pytest.raises(ValueError, match=r"is not as it was when epoch 1 began\. Received: other masks, 6 training st"):
        resumed_fit.fit(resumed_fit.make(stopped)[1])


def cut(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


DAMAGES = {
    "weights cut": lambda backup: cut(backup / "latest.weights.h5"),
    "weights empty": lambda backup: (backup / "latest.weights.h5").write_bytes(b""),
    "weights of something else": lambda backup: (backup / "latest.weights.h5").write_bytes(b"PK" * 500),
    "epoch cut": lambda backup: cut(backup / "training_metadata.json"),
    "epoch empty": lambda backup: (backup / "training_metadata.json").write_bytes(b""),
}


@pytest.mark.parametrize(
    "damage", sweep_but(("weights cut", "epoch empty"), {name: (damage,) for name, damage in DAMAGES.items()})
)
def test_backup_that_was_cut_short_is_refused_by_name(stopped, damage):
    damage(stopped / "backup")
    message = (
        r"backup/latest\.weights\.h5 was cut short, or is damaged\. Received: .*\. Delete its folder and state_dir"
    )
    with pytest.raises(ValueError, match=message):
        resumed_fit.fit(resumed_fit.make(stopped)[1])


def test_first_backup_without_its_epoch_is_refused(tmp_path):
    stop(tmp_path, "after the backup", 0)
    (tmp_path / "backup" / "training_metadata.json").unlink()
    message = (
        r"is not as it was when epoch 0 began\. Received: other masks, 3 training steps instead of 0\. .* delete both"
    )
    with pytest.raises(ValueError, match=message):
        resumed_fit.fit(resumed_fit.make(tmp_path)[1])


def test_backup_that_outlived_its_state_is_refused(tmp_path):
    """Killed when training had ended and one of the two folders was removed."""
    stop(tmp_path, "after the backup", resumed_fit.EPOCHS - 1)
    shutil.rmtree(tmp_path / "pruning")
    with pytest.raises(
        ValueError, match=r"no state for epoch 5, .* Received: no state at all\. .* delete both folders"
    ):
        resumed_fit.fit(resumed_fit.make(tmp_path)[1])


@pytest.mark.parametrize("damage", ["weights cut", pytest.param("epoch empty", marks=pytest.mark.sweep)])
def test_training_goes_on_from_the_backup_before_where_there_is_one(whole, tmp_path, damage):
    stop(tmp_path, "after the backup", 2, double_checkpoint=True)
    DAMAGES[damage](tmp_path / "backup")
    pruning, callbacks = resumed_fit.make(tmp_path, double_checkpoint=True)
    check_equal(resumed_fit.result(resumed_fit.fit(callbacks), pruning), whole)


def test_backup_before_the_callback_is_refused_where_it_does_not_fit(tmp_path):
    def wrong_order(*place):
        callbacks = resumed_fit.make(tmp_path, *place)[1]
        return sorted(callbacks, key=lambda callback: isinstance(callback, sp.StructuredPruning))

    with pytest.raises(Killed):
        resumed_fit.fit([*wrong_order(), resumed_fit.Stop("after the backup", 2, kill, None)])
    message = r"other masks, 9 training steps instead of 9\. Put BackupAndRestore behind the pruning callback and leave"
    with pytest.raises(ValueError, match=message):  # the backup holds what was rolled back afterwards
        resumed_fit.fit(wrong_order())


def test_settings_store_the_folder_and_make_none(tmp_path):
    pruning, _ = resumed_fit.make(tmp_path)
    assert pruning.state_dir == tmp_path / "pruning"
    assert list(tmp_path.iterdir()) == []


def test_weights_of_a_type_that_numpy_does_not_know_come_back(tmp_path):
    keras.config.set_dtype_policy("bfloat16")
    try:
        stop(tmp_path, "after the backup", 1)
        pruning, callbacks = resumed_fit.make(tmp_path)
        masked = resumed_fit.fit(callbacks)
    finally:
        keras.config.set_dtype_policy("float32")
    assert len(pruning.reports) == 2
    assert all(np.isfinite(weight.astype(np.float32)).all() for weight in masked.get_weights())


@pytest.mark.sweep
def test_targets_of_an_unlabelled_run_are_kept(tmp_path):
    """They are the outputs of the dense model, which a resumed process no longer has."""
    settings = {"validation_data": (zoo.lit_rows(48)[0], None), "score": "kl", "tolerance": 5.0}
    pruning, callbacks = resumed_fit.make(tmp_path / "whole", **settings)
    wanted = resumed_fit.result(resumed_fit.fit(callbacks), pruning)
    targets = pruning.validation.y
    stop(tmp_path / "killed", "in a batch", 2, **settings)
    pruning, callbacks = resumed_fit.make(tmp_path / "killed", **settings)
    check_equal(resumed_fit.result(resumed_fit.fit(callbacks), pruning), wanted)
    np.testing.assert_array_equal(pruning.validation.y, targets)
