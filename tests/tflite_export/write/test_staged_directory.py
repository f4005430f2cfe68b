import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tflite_export.write import staged_directory


def write_export(path, text="first", overwrite=False):
    with staged_directory(path, overwrite=overwrite) as staged:
        (staged / "summary.json").write_text(text)
        (staged / "micro").mkdir()
        (staged / "micro" / "model.cc").write_text(text)


def tree(path):
    return {
        item.relative_to(path).as_posix(): item.read_text() if item.is_file() else None
        for item in Path(path).rglob("*")
        if item.name != ".tf_structprune.json"
    }


EXPORTED = {"summary.json": "first", "micro": None, "micro/model.cc": "first"}


@pytest.mark.parametrize("name", ["out", "new/parents/out", "out/"])
def test_directory_appears_when_the_block_ends(tmp_path, name):
    path = f"{tmp_path}/{name}"
    with staged_directory(path) as staged:
        (staged / "a").write_text("1")
        assert not os.path.exists(path)
    assert tree(path) == {"a": "1"}
    assert os.listdir(tmp_path) == [name.split("/")[0]]


def test_relative_path_and_permissions_are_as_of_mkdir(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with staged_directory("out"):
        pass
    (tmp_path / "plain").mkdir()
    assert stat.S_IMODE(os.stat("out").st_mode) == stat.S_IMODE(os.stat("plain").st_mode)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("name", ["out", "new/parents/out"])
def test_nothing_is_left_after_an_exception(tmp_path, error, name):
    with pytest.raises(error), staged_directory(tmp_path / name) as staged:
        (staged / "a").write_text("half")
        raise error
    assert os.listdir(tmp_path) == []


def test_existing_directory_is_refused_and_kept(tmp_path):
    write_export(tmp_path / "out")
    with pytest.raises(FileExistsError, match=r"Output directory '.*out' exists. Choose another, or pass overwrite"):
        write_export(tmp_path / "out", "second")
    assert tree(tmp_path / "out") == EXPORTED


def test_overwrite_replaces_an_earlier_export(tmp_path):
    write_export(tmp_path / "out")
    with staged_directory(tmp_path / "out", overwrite=True) as staged:
        (staged / "b").write_text("second")
        assert tree(tmp_path / "out") == EXPORTED  # untouched until the new one is complete
    assert tree(tmp_path / "out") == {"b": "second"}
    assert os.listdir(tmp_path) == ["out"]
    write_export(tmp_path / "out", overwrite=True)
    assert tree(tmp_path / "out") == EXPORTED


@pytest.mark.parametrize("overwrite", [False, True])
def test_overwrite_of_nothing_and_of_an_empty_directory(tmp_path, overwrite):
    write_export(tmp_path / "new", overwrite=True)
    (tmp_path / "empty").mkdir()
    if overwrite:
        write_export(tmp_path / "empty", overwrite=True)
        assert tree(tmp_path / "empty") == EXPORTED
    else:
        with pytest.raises(FileExistsError, match="empty' exists"):
            write_export(tmp_path / "empty")


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_earlier_export_is_kept_after_an_exception(tmp_path, error):
    write_export(tmp_path / "out")
    with pytest.raises(error), staged_directory(tmp_path / "out", overwrite=True):
        raise error
    assert tree(tmp_path / "out") == EXPORTED
    assert os.listdir(tmp_path) == ["out"]


def test_earlier_export_is_put_back_when_the_last_rename_fails(tmp_path, monkeypatch):
    write_export(tmp_path / "out")
    rename = os.rename

    def failing(source, target):
        if str(source).endswith(".partial"):
            raise OSError("disk")
        rename(source, target)

    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(OSError, match="disk"):
        write_export(tmp_path / "out", "second", overwrite=True)
    assert tree(tmp_path / "out") == EXPORTED
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("place", ["notes.txt", "micro/mine.txt"])
def test_overwrite_refuses_files_of_the_user(tmp_path, place):
    write_export(tmp_path / "out")
    (tmp_path / "out" / place).write_text("mine")
    with pytest.raises(FileExistsError, match=f"holds files that no export wrote: {place}. Move them"):
        write_export(tmp_path / "out", "second", overwrite=True)
    assert tree(tmp_path / "out") == EXPORTED | {place: "mine"}


@pytest.mark.parametrize("place", ["mine", "micro/mine"])
def test_overwrite_refuses_an_empty_folder_of_the_user(tmp_path, place):
    write_export(tmp_path / "out")
    (tmp_path / "out" / place).mkdir()
    with pytest.raises(FileExistsError, match=f"holds files that no export wrote: {place}. Move them"):
        write_export(tmp_path / "out", "second", overwrite=True)
    assert tree(tmp_path / "out") == EXPORTED | {place: None}


def test_overwrite_refuses_a_directory_that_no_export_made(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    for name in "abcd":
        (home / name).write_text(name)
    with pytest.raises(FileExistsError, match=r"holds files that no export wrote: a, b, c, \.\.\.\. Move them"):
        write_export(home, overwrite=True)
    assert tree(home) == {name: name for name in "abcd"}


def test_overwrite_takes_files_of_a_killed_writer_for_its_own(tmp_path):
    write_export(tmp_path / "out")
    for name in (".report.html.deadbeef.partial", "micro/.model.cc.01234567.partial"):
        (tmp_path / "out" / name).write_text("half")
    write_export(tmp_path / "out", "second", overwrite=True)
    assert tree(tmp_path / "out") == dict(zip(EXPORTED, ("second", None, "second"), strict=True))


@pytest.mark.parametrize(
    "name", [".mine.partial", "mine.deadbeef.partial", ".mine.deadbeef.partial.txt", ".mine.0123.old"]
)
def test_overwrite_refuses_names_that_are_only_like_ours(tmp_path, name):
    write_export(tmp_path / "out")
    (tmp_path / "out" / name).write_text("mine")
    with pytest.raises(FileExistsError, match=f"holds files that no export wrote: {name}. Move them"):
        write_export(tmp_path / "out", "second", overwrite=True)


def test_overwrite_refuses_a_folder_and_a_link_with_a_name_of_ours(tmp_path):
    write_export(tmp_path / "out")
    (tmp_path / "out" / ".a.deadbeef.partial").mkdir()
    (tmp_path / "out" / ".b.deadbeef.partial").symlink_to(tmp_path / "out" / "summary.json")
    with pytest.raises(FileExistsError, match="no export wrote: .a.deadbeef.partial, .b.deadbeef.partial. Move them"):
        write_export(tmp_path / "out", "second", overwrite=True)


def test_directory_that_appears_meanwhile_is_kept(tmp_path):
    with pytest.raises(FileExistsError, match="exists"), staged_directory(tmp_path / "out"):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "a").write_text("theirs")
    assert tree(tmp_path) == {"out": None, "out/a": "theirs"}


@pytest.mark.parametrize("overwrite", [False, True])
def test_file_at_the_path_is_refused_and_kept(tmp_path, overwrite):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(NotADirectoryError, match="out' is a file. Give the path of a directory"):
        write_export(tmp_path / "out", overwrite=overwrite)
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.parametrize("overwrite", [False, True])
def test_path_without_a_name_is_refused_and_the_folder_that_one_is_in_kept(tmp_path, monkeypatch, overwrite):
    (tmp_path / "thesis.txt").write_text("mine")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="The output directory has no name. Received: ''. Give the path"):
        write_export("", overwrite=overwrite)
    assert tree(tmp_path) == {"thesis.txt": "mine"}


def test_file_as_parent_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(NotADirectoryError, match="its parent '.*file' is a file. Choose another"):
        write_export(tmp_path / "file" / "deep" / "out")


def test_parent_without_permission_is_refused(tmp_path, monkeypatch):
    def refused(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refused)  # root may write everywhere, so no real directory refuses it
    with pytest.raises(PermissionError, match=r"cannot write in '.*' \(Permission denied\). Choose a directory"):
        write_export(tmp_path / "out")


def test_link_keeps_pointing_to_the_new_directory(tmp_path):
    write_export(tmp_path / "real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_export(tmp_path / "link", "second", overwrite=True)
    assert (tmp_path / "link").is_symlink()
    assert tree(tmp_path / "real")["summary.json"] == "second"


def test_what_killed_processes_left_is_removed_and_nothing_else(tmp_path):
    kept = [".other.01234567.partial", ".out.work", ".out.mine.partial", ".out.0123456.old"]
    for name in (*kept, ".out.89abcdef.partial", ".out.01234567.partial"):
        (tmp_path / name).mkdir()
    write_export(tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*kept, "out"])


@pytest.mark.parametrize("overwrite", [False, True])
def test_export_of_a_process_killed_between_two_renames_comes_back(tmp_path, overwrite):
    write_export(tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / ".out.01234567.old")
    if overwrite:
        write_export(tmp_path / "out", "second", overwrite=True)
    else:
        with pytest.raises(FileExistsError, match="out' exists"):
            write_export(tmp_path / "out", "second")
    assert tree(tmp_path / "out")["summary.json"] == ("second" if overwrite else "first")
    assert os.listdir(tmp_path) == ["out"]


def test_old_export_beside_the_new_one_is_removed(tmp_path):
    write_export(tmp_path / "out")
    (tmp_path / ".out.01234567.old").mkdir()
    write_export(tmp_path / "out", "second", overwrite=True)
    assert os.listdir(tmp_path) == ["out"]


def test_second_writer_of_one_directory_is_refused_and_harms_nothing(tmp_path):
    with staged_directory(tmp_path / "out") as staged:
        (staged / "a").write_text("mine")
        message = r"out' is being written by another process\. Received: a lock on '.*\.out\.lock'\. Wait until"
        with pytest.raises(BlockingIOError, match=message):
            write_export(tmp_path / "out")
        write_export(tmp_path / "other")
    assert tree(tmp_path / "out") == {"a": "mine"}
    assert sorted(os.listdir(tmp_path)) == ["other", "out"]


def test_lock_of_a_killed_process_holds_nobody_up(tmp_path):
    script = (
        "import os, signal, sys\n"
        "from filelock import FileLock\n"
        "lock = FileLock(sys.argv[1])\n"
        "lock.acquire()\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    lock = tmp_path / ".out.lock"
    killed = subprocess.run([sys.executable, "-c", script, str(lock)], check=False)
    assert (killed.returncode, lock.exists()) == (-signal.SIGKILL, True)
    write_export(tmp_path / "out")
    assert os.listdir(tmp_path) == ["out"]
