"""A file appears whole or not at all; what hinders it is told with its path and what mends it."""

import errno
import os
import re
from pathlib import Path

import pytest

from tflite_export.write import check_free, write_whole, writing


@pytest.mark.parametrize("overwrite", [False, True])
def test_file_is_written_and_nothing_is_left(tmp_path, overwrite):
    assert write_whole(tmp_path / "a", b"1", overwrite=overwrite) == tmp_path / "a"
    assert write_whole(tmp_path / "a", b"2", overwrite=True).read_bytes() == b"2"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("call", [lambda path: write_whole(path, b""), check_free], ids=["write", "check"])
def test_file_that_is_there_is_refused(tmp_path, call):
    (tmp_path / "a").write_text("mine")
    with pytest.raises(
        FileExistsError, match="a exists. Received: overwrite=False. Use another name, or overwrite it."
    ):
        call(tmp_path / "a")
    with pytest.raises(FileExistsError, match="is a folder. Received: a place for a file. Name a file in it."):
        call(tmp_path)
    assert (tmp_path / "a").read_text() == "mine"


PLACES = {
    "no folder": ("none/x.json", FileNotFoundError, "No such file or directory. Make its folder first, or choose"),
    "file as folder": ("file/x.json", NotADirectoryError, "Not a directory. Choose a folder that is one."),
    "long beside its place": ("x" * 245, OSError, "File name too long. Choose a name of at most 200 letters."),
    "long": ("x" * 300, OSError, "File name too long. Choose a name of at most 200 letters."),
}


@pytest.mark.parametrize("call", [lambda path: write_whole(path, b""), check_free], ids=["write", "check"])
@pytest.mark.parametrize("name, kind, message", PLACES.values(), ids=PLACES)
def test_place_that_is_none_is_told_as_it_was_given(tmp_path, monkeypatch, call, name, kind, message):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("mine")
    with pytest.raises(kind, match=f"^{name} cannot be written. Received: {message}"):
        call(name)
    assert os.listdir() == ["file"]


def test_name_that_leaves_no_room_for_its_partial_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OSError, match="^x{245} cannot be written. Received: File name too long. Choose a name of at"):
        write_whole("x" * 245, b"")
    assert write_whole("x" * 200, b"").is_file()


DISKS = {
    "full": (errno.ENOSPC, "Make room on that disk, or choose another folder."),
    "read only": (errno.EROFS, "Choose a folder that you may write."),
    "of others": (errno.EACCES, "Choose a folder that you may write."),
    "broken": (errno.EIO, "Choose another folder."),
}


@pytest.mark.parametrize("number, instead", DISKS.values(), ids=DISKS)
def test_disk_that_takes_nothing_is_told_and_the_file_kept(tmp_path, monkeypatch, number, instead):
    def half(path, data):
        with open(path, "wb") as file:
            file.write(data[:1])
        raise OSError(number, os.strerror(number), str(path))

    (tmp_path / "a").write_text("old")
    monkeypatch.setattr(Path, "write_bytes", half)
    message = f"{tmp_path / 'a'} cannot be written. Received: {os.strerror(number)}. {instead}"
    with pytest.raises(type(OSError(number, "")), match=f"^{re.escape(message)}$"):
        write_whole(tmp_path / "a", b"new", overwrite=True)
    assert (tmp_path / "a").read_text() == "old" and os.listdir(tmp_path) == ["a"]


def test_error_that_is_told_already_stays(tmp_path):
    with pytest.raises(FileExistsError, match="^mine$"), writing(tmp_path):
        raise FileExistsError("mine")
