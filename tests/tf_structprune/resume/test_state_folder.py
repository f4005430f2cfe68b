"""States in files: what is written comes back, what is torn or foreign is refused by name."""

import hashlib
import os

import ml_dtypes
import numpy as np
import pytest

from tf_structprune.resume import State, StateFolder, read_state, write_state

PRINT = {"model": "m", "seed": 0}
STATE = State(
    {"stage": 1, "best": -np.inf, "told": None, "flag": np.bool_(True), "rows": [{"a": 0.1}]},
    {"0": np.arange(6.0).reshape(2, 3), "kernel/a": np.array([True, False]), "empty": np.zeros((0, 2), np.int32)},
)


@pytest.fixture
def file(tmp_path):
    """A state that was written."""
    write_state(tmp_path / "epoch_000001.npz", STATE, PRINT)
    return tmp_path / "epoch_000001.npz"


def test_state_comes_back(file):
    found = read_state(file, PRINT)
    assert found.values == {**STATE.values, "flag": True}
    assert found.arrays.keys() == STATE.arrays.keys()
    for name, array in STATE.arrays.items():
        assert found.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(found.arrays[name], array)


def test_types_that_numpy_does_not_know_come_back_as_bytes(tmp_path):
    array = np.array([1.5, -2.0], ml_dtypes.bfloat16)
    write_state(tmp_path / "s", State({}, {"0": array}), PRINT)
    found = read_state(tmp_path / "s", PRINT).arrays["0"]
    np.testing.assert_array_equal(found.view(ml_dtypes.bfloat16), array)


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt("Ctrl-C")], ids=repr)
def test_a_write_that_dies_leaves_the_old_state(file, monkeypatch, step, error):
    """Whether while the bytes are written or at its last step, when they take the old file's place."""
    before = file.read_bytes()

    def dies(*_):
        raise error

    monkeypatch.setattr(os, step, dies)
    with pytest.raises(type(error), match="No space left|Ctrl-C"):
        write_state(file, State({"stage": 2}, {}), PRINT)
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    assert file.read_bytes() == before


def test_bytes_are_on_the_disk_before_they_take_the_old_place_and_then_the_name_is(file, monkeypatch):
    """After a power failure the name leads to the old state or the whole new one, which once written is not lost."""
    steps = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *given, name=name, real=real: steps.append(name) or real(*given))
    write_state(file, State({"stage": 2}, {}), PRINT)
    assert steps == ["fsync", "replace", "fsync"]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_torn_file_is_refused(file, share):
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(
        ValueError, match=r"epoch_000001\.npz cannot be read as a state of a run\. Received: \d+ bytes that are not"
    ):
        read_state(file, PRINT)


def _foreign(path, kind):
    if kind == "text":
        path.write_text("my thesis\n")
    elif kind == "arrays":
        np.savez(path, x=np.zeros(3))
    elif kind == "objects":
        np.savez(path, **{"state.json": np.array([{}], object)})
    else:
        np.savez(path, **{"state.json": np.frombuffer(b"[1]", np.uint8)})


@pytest.mark.parametrize("kind", ["text", "arrays", "objects", "json"])
def test_file_of_something_else_is_refused(tmp_path, kind):
    _foreign(tmp_path / "s.npz", kind)
    with pytest.raises(ValueError, match=r"s\.npz cannot be read as a state of a run\. .* Delete its folder and begin"):
        read_state(tmp_path / "s.npz", PRINT)


def test_every_flipped_byte_is_noticed(file):
    whole = file.read_bytes()
    for place in range(len(whole)):
        content = bytearray(whole)
        content[place] ^= 1 << place % 8
        file.write_bytes(content)
        with pytest.raises(ValueError, match=r"cannot be read as a state of a run\. .* not those that were written"):
            read_state(file, PRINT)


def test_archive_of_a_stranger_is_refused_though_its_checksum_is_right(tmp_path):
    for kind in ("arrays", "objects", "json"):
        _foreign(tmp_path / "s.npz", kind)
        content = (tmp_path / "s.npz").read_bytes()
        (tmp_path / "s.npz").write_bytes(content + hashlib.sha256(content).digest())
        with pytest.raises(ValueError, match=r"s\.npz cannot be read as .*\. Delete its folder and begin anew\."):
            read_state(tmp_path / "s.npz", PRINT)


@pytest.mark.parametrize(
    "change, named",
    [({"seed": 1}, "another seed"), ({"seed": 1, "model": "n"}, "another model, another seed")],
    ids=["one", "two"],
)
def test_state_of_another_run_is_refused_by_what_differs(file, change, named):
    with pytest.raises(ValueError, match=rf"is the state of another run\. Received: {named}\. Go on with what"):
        read_state(file, PRINT | change)


def test_folder_keeps_the_most_recent_states(tmp_path):
    folder = StateFolder(tmp_path / "a" / "b", PRINT)
    assert folder.epochs() == []
    for epoch in range(4):
        folder.write(epoch, State({"epoch": epoch}, {}))
    assert folder.epochs() == [2, 3]
    assert [folder.read(epoch).values["epoch"] for epoch in (2, 3)] == [2, 3]
    folder.write(3, State({"epoch": "again"}, {}))
    assert folder.epochs() == [2, 3]
    assert folder.read(3).values["epoch"] == "again"


def test_folder_bears_what_a_killed_write_left_and_clears_it(tmp_path):
    folder = StateFolder(tmp_path / "states", PRINT)
    folder.write(0, STATE)
    (tmp_path / "states" / ".epoch_000001.npz.0123abcd.partial").write_bytes(b"PK")
    assert folder.epochs() == [0]
    folder.clear()
    assert list(tmp_path.iterdir()) == []
    folder.clear()


@pytest.mark.parametrize("name", ["notes.txt", "an empty folder", "epoch_1.npz", "epoch_000001.npz.old"])
def test_folder_with_files_of_the_user_is_refused_and_kept(tmp_path, name):
    (tmp_path / name).mkdir() if "folder" in name else (tmp_path / name).write_text("mine")
    folder = StateFolder(tmp_path, PRINT)
    for use in (folder.epochs, folder.clear, lambda: folder.write(0, STATE)):
        with pytest.raises(ValueError, match=rf"holds files that are no states of a run\. Received: {name}\. Give"):
            use()
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "s").write_text("mine")
    with pytest.raises(NotADirectoryError, match=r"s must be a folder\. Received: a file\. Give another path"):
        StateFolder(tmp_path / "s", PRINT).epochs()
