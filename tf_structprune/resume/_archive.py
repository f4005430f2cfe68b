"""Arrays of a zip archive, which get no more memory than the archive can account for; nothing of them is run."""

import math
import os
import zipfile
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from tf_structprune.untrusted import check_growth, reading

_SUFFIX = ".npy"
_MAGIC = b"\x93NUMPY"
_HEADERS: dict[tuple[int, int], Callable[[Any], tuple[Any, Any, Any]]] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_arrays(
    file: Path, *, wanted: Callable[[str], bool] | None = None, advice: str
) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """Arrays of a `.npz` file.

    Args:
        file: the file.
        wanted: whether an array of that name is read; None for all.
        advice: what to do about a damaged file, a sentence.

    Returns:
        The arrays by name, and all names in the file.

    Raises:
        ValueError: damaged, no archive of plain arrays, or sizes that cannot be.
        OSError: it cannot be opened.
    """
    with file.open("rb") as opened, reading(file, ".npz", advice), zipfile.ZipFile(opened) as archive:
        entries = {info.filename.removesuffix(_SUFFIX): info for info in archive.infolist()}
        chosen = [name for name in entries if wanted is None or wanted(name)]
        check_archive(archive, [entries[name] for name in chosen])
        return {name: _array(archive, entries[name]) for name in chosen}, list(entries)


def check_archive(archive: zipfile.ZipFile, entries: Collection[zipfile.ZipInfo] | None = None) -> None:
    """Refuse an archive whose entries unpack to more than can be meant, or than this machine has.

    Args:
        archive: the archive.
        entries: which of its entries are going to be read; None for all.

    Raises:
        ValueError: sizes that cannot be, or a name twice.
    """
    entries = archive.infolist() if entries is None else entries
    if len(set(archive.namelist())) != len(archive.namelist()):
        raise ValueError("it has several entries of one name")
    declared = sum(info.file_size for info in entries)
    check_growth(declared, sum(info.compress_size for info in entries))
    if declared > _memory_bytes():
        raise ValueError(f"it needs {declared:,} bytes of memory, and this machine has {_memory_bytes():,}")


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> NDArray[Any]:
    """One entry; its header must tell exactly the bytes that follow."""
    with archive.open(info) as entry:
        _check_header(cast(zipfile.ZipExtFile, entry), info)
    with archive.open(info) as entry:
        return np.asarray(np.lib.format.read_array(entry, allow_pickle=False))


def _check_header(entry: zipfile.ZipExtFile, info: zipfile.ZipInfo) -> None:
    if entry.peek(len(_MAGIC))[: len(_MAGIC)] != _MAGIC:
        raise ValueError(f"{info.filename} without the header of an array")
    shape, _, dtype = _HEADERS[np.lib.format.read_magic(entry)](entry)
    if dtype.hasobject:
        raise ValueError(f"{info.filename} holds Python objects, which are not loaded for safety")
    declared, held = math.prod(shape) * dtype.itemsize, info.file_size - entry.tell()
    if declared != held or min(shape, default=0) < 0:
        raise ValueError(f"{info.filename} declares {declared:,} bytes of shape {shape} and has {held:,}")


def _memory_bytes() -> int:
    """Physical memory, where the system tells it."""
    names = getattr(os, "sysconf_names", {})
    if not {"SC_PHYS_PAGES", "SC_PAGE_SIZE"} <= names.keys():
        return 2**63
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
