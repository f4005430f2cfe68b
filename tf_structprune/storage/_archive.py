"""Whole models in few bytes and without loss: a `.keras` or `.tflite` file in, a `.sham` file out, and back."""

import contextlib
import hashlib
import json
import math
import os
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tf_structprune.storage._container import ADVICE, read_container, write_container
from tf_structprune.storage._flatbuffer import regions_of
from tf_structprune.storage._keras_file import KerasFile, check_tree, read_keras, write_keras
from tf_structprune.storage._layout import parted, with_layout
from tf_structprune.storage._vectors import (
    Coded,
    Section,
    code_arrays,
    code_bytes,
    decode_bytes,
    decode_words,
    pieces_of,
)
from tf_structprune.untrusted import reading

KERAS, TFLITE = ".keras", ".tflite"
_DIGITS = 32  # of a checksum


@dataclass(frozen=True)
class Packed:
    """A model that was packed.

    Attributes:
        path: the file.
        given_bytes: of the model's file.
        packed_bytes: of this file.
        weights_bytes: of the model's arrays.
        arrays_bytes: that they take here.
    """

    path: Path
    given_bytes: int
    packed_bytes: int
    weights_bytes: int
    arrays_bytes: int

    def __str__(self) -> str:
        share = 100 * self.packed_bytes / self.given_bytes
        return (
            f"{self.path}: {self.packed_bytes:,} bytes, {share:.1f} % of {self.given_bytes:,}; weights "
            f"{self.arrays_bytes:,} of {self.weights_bytes:,}"
        )


def save(model: Any, path: str | os.PathLike[str], *, overwrite: bool = False) -> Packed:
    """Pack a model: its weights by `Gaps`, with codes that layers share where that is smaller, the rest by LZMA.

    The file is unpacked once and compared before it is handed over.

    Args:
        model: a `.keras` or `.tflite` file, or a Keras model.
        path: the file to write, `.sham`.
        overwrite: replace a file that is there.

    Raises:
        FileExistsError: there is a file.
        ValueError: the model's file is none of these, or damaged.
        OSError: it cannot be read or written.
    """
    out = _target(path, overwrite=overwrite)
    if not isinstance(model, str | os.PathLike):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"model{KERAS}"
            model.save(file)
            return save(file, out, overwrite=overwrite)
    source = Path(model)
    if source.suffix == KERAS:
        with source.open("rb"), reading(source, "a Keras model", "Save it by model.save('model.keras')."):
            return _packed(source, out, *_keras_sections(read_keras(source)))
    data = source.read_bytes()
    with reading(source, "a .tflite or .keras model", "Give a model file that an interpreter takes."):
        return _packed(source, out, *_tflite_sections(data))


def load(path: str | os.PathLike[str], out: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Unpack a model: a `.tflite` byte for byte, a `.keras` of the same configuration and weights.

    Args:
        path: a file from `save`.
        out: the file to write, with the ending of what was packed.
        overwrite: replace a file that is there.

    Raises:
        FileExistsError: there is a file.
        ValueError: no such file, one of a later version or a damaged one, or another ending.
        OSError: it cannot be read or written.
    """
    target = _target(out, overwrite=overwrite)
    header, sections = read_container(Path(path))
    kind = header.get("kind")
    if kind in (KERAS, TFLITE) and target.suffix != kind:
        raise ValueError(f"{os.fspath(path)} holds a {kind}. Received: {target.name} to write. Use a name in {kind}.")
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    try:
        with _disk_apart(target), reading(path, "a packed model", ADVICE):
            if kind == TFLITE:
                partial.write_bytes(_tflite_bytes(header, sections))
            elif kind == KERAS:
                write_keras(partial, _keras_parts(header, sections))
            else:
                raise ValueError(f"a model of unknown kind {kind!r}")
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    return target


@contextlib.contextmanager
def _disk_apart(target: Path) -> Iterator[None]:
    """What the disk says of the file that is written is no fault of the one that was read."""
    try:
        yield
    except ValueError as error:
        disk = error.__cause__
        if isinstance(disk, OSError) and disk.errno is not None:
            raise OSError(disk.errno, disk.strerror, os.fspath(target)) from disk
        raise


def _target(path: str | os.PathLike[str], *, overwrite: bool) -> Path:
    target = Path(path)
    if target.is_dir() or (target.exists() and not overwrite):
        raise FileExistsError(f"{target} exists. Received: overwrite={overwrite}. Use another name, or overwrite it.")
    return target


def _packed(
    source: Path, out: Path, header: dict[str, Any], sections: list[Section], arrays: Sequence[NDArray[Any]]
) -> Packed:
    """Write the file after a check that it gives what was packed."""
    kind = header["kind"]
    if kind == TFLITE:
        same = _tflite_bytes(header, sections) == source.read_bytes()
    else:
        given, again = read_keras(source), _keras_parts(header, sections)
        pairs = zip(given.arrays, again.arrays, strict=True)
        same = (given.files, given.tree) == (again.files, again.tree) and all(
            one.dtype == other.dtype and one.tobytes() == other.tobytes() for one, other in pairs
        )
    if not same:
        raise ValueError("it does not come back as it was given")
    out.parent.mkdir(parents=True, exist_ok=True)
    write_container(out, header, sections)
    return Packed(
        out,
        source.stat().st_size,
        out.stat().st_size,
        sum(array.nbytes for array in arrays),
        sum(len(section.data) for section in sections[1:]),
    )


def _tflite_sections(data: bytes) -> tuple[dict[str, Any], list[Section], list[NDArray[Any]]]:
    """The first section is what is no weights, in its order, behind its layout: the bytes before each array, the bytes
    of each array, and the pools."""
    regions = regions_of(data)
    arrays = [
        np.frombuffer(data, region.dtype, region.size // int(region.dtype[1:]), region.start).reshape(
            (-1,) if region.rank < 2 else (-1, 1)
        )
        for region in regions
    ]
    ends = [0, *(region.start + region.size for region in regions)]
    starts = [*(region.start for region in regions), len(data)]
    pieces = [data[end:start] for end, start in zip(ends, starts, strict=True)]
    coded = code_arrays(arrays)
    lists = [list(map(len, pieces[:-1])), [region.size for region in regions], *_pool_lists(coded)]
    first = code_bytes(with_layout(lists, b"".join(pieces)))
    return {"kind": TFLITE, "sha256": _digest(data)}, [first, *coded.sections], arrays


def _tflite_bytes(header: dict[str, Any], sections: Sequence[Section]) -> bytes:
    (gaps, sizes, *pools), rest = _first(sections, least=2)
    if len(gaps) != len(sizes):
        raise ValueError("arrays and places of other numbers")
    pieces, place = [], 0
    for gap, array in zip(gaps, _arrays(pools, sections[1:], sizes), strict=True):
        pieces += [rest[place : place + gap], array.tobytes()]
        place += gap
    data = b"".join([*pieces, rest[place:]])
    if _digest(data) != header.get("sha256"):
        raise ValueError("the checksum of the whole does not fit")
    return data


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:_DIGITS]


def _keras_sections(parts: KerasFile) -> tuple[dict[str, Any], list[Section], list[NDArray[Any]]]:
    """The first section is the files' names with the tree of the weights, and all files, behind their layout: the bytes
    of each, and the pools."""
    coded = code_arrays(parts.arrays)
    names = json.dumps([list(parts.files), parts.tree], separators=(",", ":")).encode()
    texts = [names, *parts.files.values()]
    first = code_bytes(with_layout([list(map(len, texts)), *_pool_lists(coded)], b"".join(texts)))
    return {"kind": KERAS}, [first, *coded.sections], parts.arrays


def _keras_parts(_: dict[str, Any], sections: Sequence[Section]) -> KerasFile:
    (lengths, *pools), rest = _first(sections, least=1)
    ends = np.cumsum([0, *lengths]).tolist()
    if ends[-1] != len(rest):
        raise ValueError("files of other lengths")
    texts = [rest[start:end] for start, end in zip(ends, ends[1:], strict=False)]
    told = json.loads(texts[0]) if texts else None
    if not isinstance(told, list) or len(told) != 2 or not isinstance(told[0], list) or len(told[0]) != len(texts) - 1:
        raise ValueError("names of another form")
    names, tree = told
    if not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
        raise ValueError("names that are none")
    shapes = check_tree(tree)
    sizes = [dtype.itemsize * math.prod(shape) for shape, dtype in shapes]
    arrays = [
        words.view(dtype).reshape(shape)
        for words, (shape, dtype) in zip(_arrays(pools, sections[1:], sizes), shapes, strict=True)
    ]
    return KerasFile(dict(zip(names, texts[1:], strict=True)), tree, arrays)


def _first(sections: Sequence[Section], *, least: int) -> tuple[list[list[int]], bytes]:
    """Layout and bytes of the first section."""
    if not sections:
        raise ValueError("no sections")
    lists, rest = parted(decode_bytes(sections[0]))
    if len(lists) < least:
        raise ValueError("a layout of another form")
    return lists, rest


def _pool_lists(coded: Coded) -> list[list[int]]:
    """Pools as numbers: bytes of an entry, and which arrays, each as the distance from the one before."""
    return [[np.dtype(kind).itemsize, *np.diff(members, prepend=-1).tolist()] for kind, members in coded.pools]


def _arrays(pools: Sequence[Sequence[int]], sections: Sequence[Section], sizes: Sequence[int]) -> list[NDArray[Any]]:
    """The words of all arrays, by the bytes that each has."""
    arrays: list[NDArray[Any]] = [np.zeros(0, np.uint8)] * len(sizes)
    waiting, left = iter(sections), {place for place, size in enumerate(sizes) if size}
    for pool in pools:
        itemsize, members = (pool[0] if pool else 0), (np.cumsum(pool[1:]) - 1).tolist()
        if itemsize not in (1, 2, 4, 8) or not set(members) <= left or len(set(members)) != len(members):
            raise ValueError("a pool of another form, or an array in two")
        left -= set(members)
        entries = sum(sizes[member] for member in members) // itemsize
        words = [np.zeros(0, f"u{itemsize}")]
        for size in pieces_of(entries, itemsize):
            section = next(waiting, None)
            if section is None or section.size != size:
                raise ValueError("sections of other sizes than their arrays")
            words.append(decode_words(section, itemsize))
        joined, place = np.concatenate(words), 0
        for member in members:
            count = sizes[member] // itemsize
            arrays[member] = joined[place : place + count]
            place += count
    if left or next(waiting, None) is not None:
        raise ValueError("arrays without a section, or sections without an array")
    return arrays
