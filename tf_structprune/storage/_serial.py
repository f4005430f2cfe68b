"""A matrix in gaps as bytes, and back; nothing that is read is trusted."""

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tf_structprune.storage._bits import WORD_BITS, pack_fixed, padded, unpack_fixed
from tf_structprune.storage._encoded import Facts
from tf_structprune.storage._gaps import BASE, MODES, GapsEncoded, gap_extra
from tf_structprune.storage._huffman import LENGTH_BITS, MOST_BITS, Code
from tf_structprune.storage._walk import Part

_HEAD = struct.Struct("<BBBBIIIII")  # mode, bytes of a word, gap symbols, how the book is, rows, columns, q, k, words
_BLOCK = np.dtype("<u4")
_WORDS, _PRESENT = 0, 1  # how a codebook is stored
_MOST_ENTRIES = 2**31


def to_bytes(stored: GapsEncoded) -> bytes:
    """A matrix in gaps; it takes `size_bits`, but for whole bytes and the name of its type."""
    facts, bytes_of_word = stored.facts, stored.facts.word_bits // 8
    gaps = len(stored.parts[0].extra) // (max(1, len(stored.book)) if stored.mode == "joint" else 1)
    present = facts.word_bits <= 16 and len(stored.book) * facts.word_bits > 2**facts.word_bits
    stream = stored.bits[: padded(int(stored.starts[-1])) // WORD_BITS]
    head = _HEAD.pack(
        MODES.index(stored.mode),
        bytes_of_word,
        gaps,
        _PRESENT if present else _WORDS,
        facts.rows,
        facts.columns,
        facts.nonzeros,
        len(stored.book),
        len(stream),
    )
    blocks = np.stack([np.diff(stored.starts), stored.counts], axis=1).astype(_BLOCK)
    book = np.packbits(_bitmap(stored.book, facts.word_bits)) if present else stored.book.astype(f"<u{bytes_of_word}")
    lengths = b"".join(_lengths_bytes(part.code) for part in stored.parts)
    return b"".join([head, blocks.tobytes(), book.tobytes(), lengths, stream.astype(">u4").tobytes()])


def from_bytes(data: bytes, dtype: np.dtype[Any], *, entries: int) -> GapsEncoded:
    """What `to_bytes` wrote.

    Args:
        data: the bytes, to the end.
        dtype: of the values.
        entries: how many the matrix must have, so that what a file declares is never what memory is asked for.

    Raises:
        ValueError: these bytes are something else.
    """
    reader = _Reader(data)
    mode, bytes_of_word, gaps, kind, rows, columns, held, values, size = _HEAD.unpack(reader.take(_HEAD.size))
    if (
        mode >= len(MODES)
        or bytes_of_word != dtype.itemsize
        or not 0 < gaps <= len(BASE)
        or kind not in (_WORDS, _PRESENT)
        or not 0 < rows * columns < _MOST_ENTRIES
        or rows * columns != entries
        or held > rows * columns
        or values > held
    ):
        raise ValueError(f"no matrix of {entries:,} entries of type {dtype}")
    facts = Facts(rows, columns, held, values, 8 * bytes_of_word)
    blocks = np.frombuffer(reader.take(facts.blocks * 2 * _BLOCK.itemsize), _BLOCK).reshape(-1, 2).astype(np.int64)
    book = _book(reader, kind, values, bytes_of_word)
    extras = gap_extra(MODES[mode], gaps, len(book), facts.word_bits)
    parts = tuple(Part(_code(reader, len(extra)), extra) for extra in extras)
    stream = np.frombuffer(reader.take(4 * size), ">u4").astype(np.uint32)
    starts = np.concatenate([[0], np.cumsum(blocks[:, 0])])
    if reader.left or padded(int(starts[-1])) != size * WORD_BITS or int(blocks[:, 1].sum()) != held:
        raise ValueError("lengths that do not fit each other")
    bits = np.concatenate([stream, np.zeros(2, np.uint32)])
    return GapsEncoded(facts, dtype, MODES[mode], parts, book, bits, starts, blocks[:, 1])


class _Reader:
    """Bytes from front to back."""

    def __init__(self, data: bytes) -> None:
        self.data, self.place = data, 0

    @property
    def left(self) -> int:
        """Bytes that were not taken."""
        return len(self.data) - self.place

    def take(self, count: int) -> bytes:
        """The next bytes.

        Raises:
            ValueError: there are not so many.
        """
        if count > self.left:
            raise ValueError(f"{count:,} bytes where {self.left:,} are left")
        self.place += count
        return self.data[self.place - count : self.place]


def _bitmap(book: NDArray[Any], word_bits: int) -> NDArray[np.uint8]:
    bitmap = np.zeros(2**word_bits, np.uint8)
    bitmap[book] = 1
    return bitmap


def _book(reader: _Reader, kind: int, values: int, bytes_of_word: int) -> NDArray[Any]:
    """Words in ascending order; none where their bytes are coded."""
    if kind == _WORDS:
        book = np.frombuffer(reader.take(values * bytes_of_word), f"<u{bytes_of_word}")
    else:
        if bytes_of_word > 2:
            raise ValueError("a bitmap of long words")
        bitmap = np.unpackbits(np.frombuffer(reader.take(2 ** (8 * bytes_of_word) // 8), np.uint8))
        book = np.flatnonzero(bitmap)
        if len(book) != values:
            raise ValueError("another number of values than declared")
    return book.astype(f"u{bytes_of_word}")


def _lengths_bytes(code: Code) -> bytes:
    """Lengths of all codewords, in whole bytes: which is alone; or all; or those that occur behind a bitmap."""
    size, used = len(code.lengths), np.flatnonzero(code.lengths)
    if not code.most:
        return bytes([0]) + struct.pack("<I", code.only)
    every, some = LENGTH_BITS * size, size + LENGTH_BITS * len(used)
    if every <= some:
        return bytes([1]) + _packed(code.lengths, LENGTH_BITS)
    return bytes([2]) + np.packbits(code.lengths > 0).tobytes() + _packed(code.lengths[used], LENGTH_BITS)


def _packed(values: NDArray[Any], width: int) -> bytes:
    return pack_fixed(values, width).astype(">u4").tobytes()[: -(-len(values) * width // 8)]


def _unpacked(reader: _Reader, count: int, width: int) -> NDArray[np.uint64]:
    data = reader.take(-(-count * width // 8))
    words = np.frombuffer(data + bytes(-len(data) % 4 + 8), ">u4").astype(np.uint32)
    return unpack_fixed(words, 0, count, width)


def _code(reader: _Reader, size: int) -> Code:
    kind = reader.take(1)[0]
    if kind == 0:
        (only,) = struct.unpack("<I", reader.take(4))
        if only >= size:
            raise ValueError("a symbol beyond the alphabet")
        return Code(np.zeros(size, np.uint8), only)
    if kind == 1:
        lengths = _unpacked(reader, size, LENGTH_BITS)
    elif kind == 2:
        present = np.unpackbits(np.frombuffer(reader.take(-(-size // 8)), np.uint8))[:size].astype(bool)
        lengths = np.zeros(size, np.uint64)
        lengths[present] = _unpacked(reader, int(present.sum()), LENGTH_BITS)
    else:
        raise ValueError("lengths of an unknown kind")
    code = Code(lengths.astype(np.uint8))
    if code.most > MOST_BITS or not code.most or not code.whole:
        raise ValueError("lengths that are of no code")
    return code
