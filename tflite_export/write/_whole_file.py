"""A file that appears whole or not at all."""

import contextlib
import errno
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

_PARTIAL = re.compile(r"\..+\.[0-9a-f]{8}\.partial")
_ELSEWHERE = "Choose another folder."
_INSTEAD = {
    errno.ENOSPC: "Make room on that disk, or choose another folder.",
    errno.EDQUOT: "Make room on that disk, or choose another folder.",
    errno.ENOENT: "Make its folder first, or choose one that is there.",
    errno.ENOTDIR: "Choose a folder that is one.",
    errno.EROFS: "Choose a folder that you may write.",
    errno.EACCES: "Choose a folder that you may write.",
    errno.EPERM: "Choose a folder that you may write.",
    errno.ENAMETOOLONG: "Choose a name of at most 200 letters.",
}
"""What mends an error, by its number."""


def write_whole(path: str | os.PathLike[str], data: bytes, *, overwrite: bool = False) -> Path:
    """Writes a file under another name beside its place, and then puts it there.

    Args:
        path: where.
        data: what.
        overwrite: replace a file that is there.

    Returns:
        The path.

    Raises:
        FileExistsError: there is a file, or a directory.
        OSError: it cannot be written; the message names the path and says what mends it.
    """
    target = Path(path)
    with writing(path):
        check_free(path, overwrite=overwrite)
        partial = _partial(target)
        try:
            partial.write_bytes(data)
            os.replace(partial, target)
        finally:
            with contextlib.suppress(OSError):  # it would hide why nothing was written
                partial.unlink()
    return target


def _partial(target: Path) -> Path:
    """A name beside the place of a file."""
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")


def check_free(path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Refuses a path that no file can be written to, before there is something to write.

    Args:
        path: where.
        overwrite: whether a file that is there may be replaced.

    Raises:
        FileExistsError: there is a file, or a directory.
        OSError: its folder is none, or its name too long; the message names the path and says what mends it.
    """
    target = Path(path)
    with writing(path):
        if target.is_dir():
            raise FileExistsError(f"{target} is a folder. Received: a place for a file. Name a file in it.")
        if target.exists() and not overwrite:
            raise FileExistsError(f"{target} exists. Received: overwrite=False. Use another name, or overwrite it.")
        os.stat(f"{target.parent}{os.sep}")
        with contextlib.suppress(FileNotFoundError):
            os.stat(_partial(target))  # whose name may be too long


@contextlib.contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Within the block, an error of the disk names what was asked for, and says what mends it.

    Args:
        path: of the file or directory that is written, as it was given.

    Raises:
        OSError: of the same kind.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None:  # one that is told already
            raise
        instead = _INSTEAD.get(error.errno, _ELSEWHERE)
        raise type(error)(f"{os.fspath(path)} cannot be written. Received: {error.strerror}. {instead}") from error


def is_partial(path: Path) -> bool:
    """Whether it is what a process left that was killed while it wrote a file."""
    return _PARTIAL.fullmatch(path.name) is not None and path.is_file() and not path.is_symlink()
