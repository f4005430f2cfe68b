"""Arrays of any shape in few sections of bytes: what is alike is coded together."""

import lzma
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from tf_structprune.storage._bells import decode_bells, encode_bells
from tf_structprune.storage._gaps import Gaps, GapsEncoded
from tf_structprune.storage._serial import from_bytes, to_bytes

_ROWS = 2**14  # of the matrix that a vector becomes
_PIECE = 2**22  # entries that are coded at once
_OWN = 2048  # entries of an array that may have a code of its own
_MOST_DICTIONARY = 2**26
_WINDOW = -15  # of deflate: 32 KiB, without a header
GAPS, BELLS, LZMA, DEFLATE, KERAS, STORED = "gaps", "bells", "lzma", "deflate", "keras", "stored"


@dataclass(frozen=True)
class Section:
    """Bytes of a file, and what they are.

    Attributes:
        coding: how they are coded: gaps, bells, lzma, deflate, keras (deflate behind `keras_text`) or stored.
        size: bytes without the coding.
        data: the bytes with it.
    """

    coding: str
    size: int
    data: bytes


@dataclass(frozen=True)
class Coded:
    """Arrays in sections.

    Attributes:
        sections: of the arrays, in order.
        pools: for each pool its type and the places of its arrays among those that were given; a pool is its arrays one
            behind the other, and takes sections of 4,194,304 entries at most.
    """

    sections: list[Section]
    pools: list[tuple[str, list[int]]]


def code_arrays(arrays: Sequence[NDArray[Any]]) -> Coded:
    """Code arrays with as few codes as make them smallest.

    Args:
        arrays: of types of 1, 2, 4 or 8 bytes, any shapes.
    """
    best: Coded | None = None
    for pools in _partitions(arrays):
        sections = [
            section for _, members in pools for section in _sections([_flat(arrays[member]) for member in members])
        ]
        if best is None or _size(sections) < _size(best.sections):
            best = Coded(sections, pools)
    return Coded([], []) if best is None else best


def _size(sections: Sequence[Section]) -> int:
    """Bytes, with those that a section takes in the header."""
    return sum(len(section.data) + 24 for section in sections)


def _flat(array: NDArray[Any]) -> NDArray[Any]:
    """The entries of an array in its own order, as words of that size."""
    return np.ascontiguousarray(array).reshape(-1).view(f"u{array.dtype.itemsize}")


def _partitions(arrays: Sequence[NDArray[Any]]) -> list[list[tuple[str, list[int]]]]:
    """Ways to share codes among arrays of a type: all one; kernels one and the rest another; large ones their own."""
    kinds: dict[str, list[int]] = {}
    for place, array in enumerate(arrays):
        if array.size:
            kinds.setdefault(f"u{array.dtype.itemsize}" if array.dtype.kind == "V" else array.dtype.str[1:], []).append(
                place
            )
    if not kinds:
        return []

    def split(key: Any) -> list[tuple[str, list[int]]]:
        pools: dict[Any, tuple[str, list[int]]] = {}
        for kind, places in kinds.items():
            for place in places:
                pools.setdefault((kind, key(place)), (kind, []))[1].append(place)
        return list(pools.values())

    keys = [
        lambda place: 0,
        lambda place: arrays[place].ndim > 1,
        lambda place: place if arrays[place].size >= _OWN else -1,
    ]
    return [split(key) for key in keys]


def _sections(layers: Sequence[NDArray[Any]]) -> list[Section]:
    """A pool in pieces."""
    words = np.concatenate(layers)
    ends = np.cumsum([len(layer) for layer in layers])
    inner = [ends[(ends > at) & (ends < at + _PIECE)] - at for at in range(0, len(words), _PIECE)]
    return [_section(words[number * _PIECE :][:_PIECE], own) for number, own in enumerate(inner)]


def _section(words: NDArray[Any], ends: NDArray[np.int64]) -> Section:
    """A piece of a pool, in which layers end at some places, as what is smallest."""
    stored = Gaps().encode(_matrix(words))
    drafts = [Section(GAPS, words.nbytes, to_bytes(cast(GapsEncoded, stored))), code_bytes(words.tobytes())]
    if words.itemsize == 1:
        drafts.append(Section(BELLS, words.nbytes, encode_bells(np.split(words, ends))))
    return min(drafts, key=lambda each: len(each.data))


def _matrix(words: NDArray[Any]) -> NDArray[Any]:
    """A vector as a matrix, column by column, with zeros behind it."""
    rows = min(len(words), _ROWS)
    columns = -(-len(words) // rows)
    padded = np.zeros(rows * columns, words.dtype)
    padded[: len(words)] = words
    return padded.reshape(columns, rows).T


def code_bytes(data: bytes) -> Section:
    """Bytes that are no arrays: as they are, or as the smallest of LZMA, deflate, and deflate as if behind the text of
    a Keras model, which spares a small model's configuration two thirds of its bytes."""
    drafts = [
        Section(STORED, len(data), data),
        Section(LZMA, len(data), lzma.compress(data, lzma.FORMAT_RAW, filters=_filters(len(data)))),
        Section(DEFLATE, len(data), _deflated(data)),
        Section(KERAS, len(data), _deflated(data, keras_text())),
    ]
    return min(drafts, key=lambda each: len(each.data))


@cache
def keras_text() -> bytes:
    """Names, weights and configuration of a model as Keras 3 writes them: what most models have much of.

    A part of the format: it must never change.
    """
    return files("tf_structprune.storage").joinpath("keras_text.txt").read_bytes()


def _deflated(data: bytes, behind: bytes = b"") -> bytes:
    """Deflated, as if behind some bytes."""
    given = (behind,) if behind else ()
    deflate = zlib.compressobj(9, zlib.DEFLATED, _WINDOW, zlib.DEF_MEM_LEVEL, zlib.Z_DEFAULT_STRATEGY, *given)
    return deflate.compress(data) + deflate.flush()


def _filters(size: int) -> list[dict[str, int]]:
    """A dictionary no larger than the data, so that a reader needs no more memory than that."""
    dictionary = min(max(4096, 1 << max(size - 1, 1).bit_length()), _MOST_DICTIONARY)
    return [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": dictionary}]


def decode_bytes(section: Section) -> bytes:
    """What `code_bytes` was given.

    Raises:
        ValueError: these bytes are something else.
    """
    if section.coding == STORED:
        found = section.data
    elif section.coding == LZMA:
        reader = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_filters(section.size))
        try:
            found = reader.decompress(section.data, section.size + 1)
        except lzma.LZMAError as error:
            raise ValueError(f"bytes that are no LZMA: {error}") from error
    elif section.coding in (DEFLATE, KERAS):
        behind = keras_text() if section.coding == KERAS else b""
        try:
            found = zlib.decompressobj(_WINDOW, behind).decompress(section.data, section.size + 1)
        except zlib.error as error:
            raise ValueError(f"bytes that are not deflated: {error}") from error
    else:
        raise ValueError(f"a coding of unknown name {section.coding!r}")
    if len(found) != section.size:
        raise ValueError(f"{len(found):,} bytes where {section.size:,} are declared")
    return found


def decode_words(section: Section, itemsize: int) -> NDArray[Any]:
    """The words of a piece of a pool, shape (entries,).

    Raises:
        ValueError: these bytes are something else.
    """
    dtype = np.dtype(f"u{itemsize}")
    if section.coding == BELLS and itemsize == 1:
        return decode_bells(section.data, section.size)
    if section.coding != GAPS:
        return np.frombuffer(decode_bytes(section), dtype)
    if section.size <= 0 or section.size % itemsize:
        raise ValueError(f"{section.size} bytes of words of {itemsize}")
    entries = section.size // itemsize
    rows = min(entries, _ROWS)
    stored = from_bytes(section.data, dtype, entries=rows * -(-entries // rows))
    if stored.facts.rows != rows:
        raise ValueError(f"{stored.facts.rows} rows where {rows} are declared")
    return stored.decode().T.reshape(-1)[:entries]


def pieces_of(entries: int, itemsize: int) -> list[int]:
    """Bytes of each section of a pool of so many entries."""
    return [itemsize * min(_PIECE, entries - first) for first in range(0, entries, _PIECE)]
