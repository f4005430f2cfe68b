"""An output directory that appears complete or not at all."""

import contextlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from tflite_export.write._whole_file import is_partial, write_whole

MANIFEST = ".tf_structprune.json"
"""Names of what was written, so that a later overwrite can tell it from files of the user's own."""


@contextlib.contextmanager
def staged_directory(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[Path]:
    """Gives a temporary directory that becomes `path` when the block ends without an exception.

    The temporary directory is a hidden sibling of `path`, so the last step is a rename. On any exception,
    Ctrl-C included, it is removed and what was at `path` is as before. Missing parents are made. What processes left
    that were killed in here is cleared away.

    Args:
        path: the directory to make.
        overwrite: replace a directory that an earlier export wrote. The old one is removed only after the
            new one is complete. A directory with anything else in it is refused.

    Yields:
        The temporary directory.

    Raises:
        BlockingIOError: another process is writing the same directory.
        FileExistsError: `path` exists and `overwrite` is False, or it holds files that are not ours.
        NotADirectoryError: `path` or one of its parents is a file.
        PermissionError: the parent cannot be written.
        ValueError: `path` is empty.
    """
    if not os.fspath(path):
        raise ValueError("The output directory has no name. Received: ''. Give the path of a directory to make.")
    target = Path(os.path.realpath(path))  # through a link: the link stays, its target is replaced
    if not _leftovers(target, "old"):
        _check_target(target, path, overwrite)  # before anything is made
    created = _make_parents(target.parent, path)
    try:
        with _locked(target, path):
            _clear_up(target)
            _check_target(target, path, overwrite)
            with _staged(target, path) as staged:
                yield staged
                _write_manifest(staged)
                _check_target(target, path, overwrite)  # again: hours may have passed
                _move_into_place(staged, target)
    except BaseException:
        for parent in created:
            with contextlib.suppress(OSError):
                parent.rmdir()
        raise


@contextlib.contextmanager
def _locked(target: Path, path: str | os.PathLike[str]) -> Iterator[None]:
    """Holds the lock of a directory; the kernel lets go of it when the process dies."""
    file = target.with_name(f".{target.name}.lock")
    lock = FileLock(file, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise BlockingIOError(
            f"Output directory '{os.fspath(path)}' is being written by another process. Received: a lock on '{file}'. "
            "Wait until it has ended, or choose another directory."
        ) from error
    except OSError as error:
        raise PermissionError(_unwritable(target, path, error)) from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # Windows keeps what is open
            file.unlink()  # before it is released: who opened it meanwhile finds it gone, and is refused
        lock.release()


@contextlib.contextmanager
def _staged(target: Path, path: str | os.PathLike[str]) -> Iterator[Path]:
    staged = _sibling(target, "partial")
    try:
        _make_directory(staged, path)
        yield staged
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise


def _clear_up(target: Path) -> None:
    """Removes what killed processes left; puts an old directory back whose successor was not in place yet."""
    for old in _leftovers(target, "old"):
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.rename(old, target)
    for partial in _leftovers(target, "partial"):
        shutil.rmtree(partial, ignore_errors=True)


def _leftovers(target: Path, role: str) -> list[Path]:
    name = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-f]{{8}}\.{role}")
    siblings = target.parent.iterdir() if target.parent.is_dir() else ()
    return sorted(path for path in siblings if name.fullmatch(path.name) and path.is_dir())


def _check_target(target: Path, path: str | os.PathLike[str], overwrite: bool) -> None:
    if not target.exists():
        return
    if not target.is_dir():
        raise NotADirectoryError(
            f"Output directory '{os.fspath(path)}' is a file. Give the path of a directory that does not exist."
        )
    if not overwrite:
        raise FileExistsError(
            f"Output directory '{os.fspath(path)}' exists. "
            "Choose another, or pass overwrite=True (--overwrite) to replace it."
        )
    foreign = _foreign_entries(target)
    if foreign:
        raise FileExistsError(
            f"Output directory '{os.fspath(path)}' holds files that no export wrote: {', '.join(foreign[:3])}"
            f"{', ...' if len(foreign) > 3 else ''}. "
            "Move them, or choose another directory; nothing was changed."
        )


def _foreign_entries(target: Path) -> list[str]:
    """Entries of an existing directory that its manifest does not name and no killed process of ours left, sorted."""
    try:
        ours = set(json.loads((target / MANIFEST).read_text())["files"])
    except (OSError, ValueError, KeyError, TypeError):
        ours = set()
    foreign = set(_entries(target)) - ours - {MANIFEST}
    return sorted(name for name in foreign if not is_partial(target / name))


def _entries(directory: Path) -> list[str]:
    """Relative paths of all that is in a directory and its subdirectories; links are not followed."""
    return sorted(
        (Path(folder) / name).relative_to(directory).as_posix()
        for folder, folders, files in os.walk(directory)
        for name in (*folders, *files)
    )


def _write_manifest(staged: Path) -> None:
    text = json.dumps({"files": _entries(staged)}, indent=1)
    (staged / MANIFEST).write_text(f"{text}\n")


def add_to_manifest(directory: Path, names: Iterable[str]) -> None:
    """Tell that files in a directory that an export wrote are ours too; a directory of another kind stays as it is.

    Args:
        directory: what was written.
        names: relative paths.
    """
    path = directory / MANIFEST
    try:
        ours = set(json.loads(path.read_text())["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return
    write_whole(path, f"{json.dumps({'files': sorted(ours | set(names))}, indent=1)}\n".encode(), overwrite=True)


def _make_parents(parent: Path, path: str | os.PathLike[str]) -> list[Path]:
    """Makes the missing parents; returns them, the deepest first, for removal on failure."""
    missing = []
    while not parent.exists():
        missing.append(parent)
        parent = parent.parent
    if not parent.is_dir():
        raise NotADirectoryError(
            f"Output directory '{os.fspath(path)}': its parent '{parent}' is a file. Choose another directory."
        )
    for made in reversed(missing):
        _make_directory(made, path)
    return missing


def _make_directory(directory: Path, path: str | os.PathLike[str]) -> None:
    try:
        directory.mkdir(exist_ok=False)
    except OSError as error:
        raise PermissionError(_unwritable(directory, path, error)) from error


def _unwritable(directory: Path, path: str | os.PathLike[str], error: OSError) -> str:
    return (
        f"Output directory '{os.fspath(path)}': cannot write in '{directory.parent}' ({error.strerror}). "
        "Choose a directory that you may write."
    )


def _sibling(target: Path, role: str) -> Path:
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}.{role}")


def _move_into_place(staged: Path, target: Path) -> None:
    old = _sibling(target, "old")
    try:
        if target.exists():
            os.rename(target, old)
        os.rename(staged, target)
    except BaseException:
        if old.exists() and not target.exists():
            os.rename(old, target)
        raise
    shutil.rmtree(old, ignore_errors=True)
