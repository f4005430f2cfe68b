"""The format of this project: how far the next entry is and what it is, in one codeword."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from tf_structprune.storage._bits import padded, width_of
from tf_structprune.storage._blocks import Columns, block_starts, columns_of
from tf_structprune.storage._encoded import HEADER_BITS, OFFSET_BITS, Encoded, Facts
from tf_structprune.storage._huffman import LENGTH_BITS, Code, huffman
from tf_structprune.storage._loops import COMPILED, joint_products, slots
from tf_structprune.storage._walk import Part, Written, read, write
from tf_structprune.storage._words import from_words, to_words

_EXACT = 8  # gaps below it have a symbol each
_QUARTERS = 4  # symbols of each octave above
_MOST_GAP_BITS = 31
_MODE_BITS = 32  # which mode, how many gap symbols, and which of them occur or all

EXTRA = np.array(
    [0] * _EXACT + [octave - 2 for octave in range(3, _MOST_GAP_BITS + 1) for _ in range(_QUARTERS)], np.int64
)
"""Plain bits behind each gap symbol, shape (124,)."""
BASE = np.array(
    [*range(_EXACT)]
    + [(_QUARTERS + part) << (octave - 2) for octave in range(3, _MOST_GAP_BITS + 1) for part in range(_QUARTERS)],
    np.int64,
)
"""Least gap of each symbol."""

Mode = Literal["joint", "coded", "bytes", "numbers"]
MODES: tuple[str, ...] = get_args(Mode)
_MOST_BYTE, _MOST_NUMBER = 8, 32  # bits of words that are coded as numbers
_MOST_JOINT = 4096  # symbols; more would take longer to store than they save


def gap_symbols(gaps: NDArray[np.int64]) -> NDArray[np.int64]:
    """The symbol of each gap, the number of zeros before an entry: exact below 8, then four an octave."""
    return np.searchsorted(BASE, gaps, side="right") - 1


@dataclass(frozen=True)
class _Items:
    """Entries other than zero of one block: the gap before each, and which word it is."""

    gaps: NDArray[np.int64]
    words: NDArray[Any]


@dataclass(frozen=True)
class GapsEncoded(Encoded):
    """A matrix in gaps, see `Gaps`."""

    facts: Facts
    dtype: np.dtype[Any]
    mode: str
    parts: tuple[Part, ...]
    book: NDArray[Any]  # of the values; empty where their bytes are coded
    bits: NDArray[np.uint32]
    starts: NDArray[np.int64]  # of blocks, in bits, shape (blocks + 1,)
    counts: NDArray[np.int64]  # entries of each block

    @property
    def size_bits(self) -> int:
        """The bit string, the lengths of the codes' words, the codebook, and place and count of each block."""
        tables = sum(lengths_bits(part.code) for part in self.parts) if self.facts.nonzeros else 0
        blocks = 2 * OFFSET_BITS * len(self.counts)
        book = book_bits(self.book, self.facts.word_bits)
        return HEADER_BITS + _MODE_BITS + tables + book + padded(int(self.starts[-1])) + blocks

    @property
    def bound_bits(self) -> float:
        """See `Gaps`."""
        facts = self.facts
        total, held = facts.rows * facts.columns, facts.nonzeros
        fixed = HEADER_BITS + _MODE_BITS + 2 * OFFSET_BITS * facts.blocks
        if not held:
            return fixed
        symbols = int(gap_symbols(np.array([total]))[0]) + 1
        each = 2 + math.log2(symbols) + math.log2(total / held) + math.log2(facts.values)
        tables = (LENGTH_BITS + 1) * (symbols + facts.values) + facts.values * facts.word_bits
        return fixed + held * each + tables + 31

    def columns(self, block: int) -> Columns:
        """What is not zero in a block."""
        start, stop = (int(each) for each in self.starts[block : block + 2])
        found = read(self.parts, self.bits, start, stop, int(self.counts[block]))
        symbols = found[0].symbols
        if self.mode == "joint":
            gap, place = np.divmod(symbols, max(1, len(self.book)))
            words = self.book[place]
        else:
            gap = symbols
            words = self._words(found[1:])
        places = np.cumsum(BASE[gap] + found[0].extra + 1) - 1
        first, last = (int(each) for each in self.blocks[block : block + 2])
        rows = self.facts.rows
        if len(places) and places[-1] >= rows * (last - first):
            raise ValueError("Entries lie beyond the matrix. Received: gaps that add up to more. The file is damaged.")
        pointers = np.searchsorted(places, np.arange(last - first + 1) * rows)
        return Columns(first, pointers, places % rows, words)

    def _words(self, values: Sequence[Written]) -> NDArray[Any]:
        """What the values' own codewords say."""
        if self.mode == "coded":
            return self.book[values[0].symbols]
        if self.mode == "numbers":
            return _from_numbers(BASE[values[0].symbols] + values[0].extra, self.facts.word_bits)
        return _joined(values, self.facts.word_bits)

    def _multiply(self, x: NDArray[Any], span: tuple[int, int], out: NDArray[Any]) -> None:
        """Single rows in one go, many on what is decoded once."""
        if self._direct is None or len(x) > 1:
            super()._multiply(x, span, out)
            return
        code, looks, gaps = self._direct
        book = from_words(self.book, self.dtype).astype(out.dtype)
        joint_products(x[0], self.bits, self.starts, self.counts, self.blocks, span, code, looks, gaps, book, out[0])

    @cached_property
    def _direct(self) -> tuple[Any, ...] | None:
        """What `joint_products` takes of the code; None where it cannot be used."""
        if not COMPILED or self.mode != "joint" or not self.parts[0].code.most:
            return None
        part, width = self.parts[0], len(self.book)
        code, symbols = part.code, np.arange(len(part.extra))
        gaps = np.stack([BASE[symbols // width], part.extra, symbols % width], axis=1)
        looks = slots(part.table, BASE, part.extra, width)
        return (code.most, code.first_code, code.first_symbol, code.order), looks, gaps


@dataclass(frozen=True)
class Gaps:
    """Entries other than zero, column by column: the zeros before each, and its value, Huffman coded.

    A gap is a symbol, exact below 8 and four an octave above, with plain bits that tell the rest. Gap and value share
    one codeword ("joint"), or have one each ("coded"), or the value's bytes have one each ("bytes", where values hardly
    come twice; floats are turned by a bit so that the exponent is a byte), or values are coded as gaps are, by symbols
    of their size and plain bits ("numbers", for the integers of biases): whichever is smallest. A joint codeword has
    seven bits or more where most entries are zero, so that Huffman's loss, up to a bit where symbols are frequent, is
    below one or two in a hundred, and gaps cost what the positions are worth: that is where sHAM, whose row indices are
    plain, spends most.

    Size at most q (2 + log2 A + log2(n m / q) + log2 k) + k b + 6 (A + k) + 31 bits besides header and places of
    blocks: A gap symbols up to that of n m, of less than 1 + log2 A bits each; the plain bits of gap g are at most
    log2(g + 1), and as all g + 1 add up to n m at most, together at most q log2(n m / q) (Jensen); values 1 + log2 k.
    That is what "coded" takes at most, and so all three together.

    Attributes:
        modes: those that are tried.
    """

    modes: tuple[Mode, ...] = ("joint", "coded", "bytes", "numbers")

    def __post_init__(self) -> None:
        if not self.modes or not set(self.modes) <= set(MODES):
            raise ValueError(f"Unknown mode. Received: modes={self.modes}. Use some of: {', '.join(MODES)}.")

    def encode(self, matrix: NDArray[Any]) -> Encoded:
        """See `Format.encode`."""
        words = to_words(matrix)
        facts, dtype, starts = Facts.of(words), matrix.dtype.newbyteorder("="), block_starts(*words.shape)
        blocks = [_items(words[:, first:last]) for first, last in zip(starts, starts[1:], strict=False)]
        book, places = np.unique(np.concatenate([block.words for block in blocks]), return_inverse=True)
        ends = np.cumsum([0, *(len(block.gaps) for block in blocks)])
        values = [places[first:last] for first, last in zip(ends, ends[1:], strict=False)]
        drafts = [
            draft for mode in self.modes if (draft := _draft(mode, blocks, values, book, facts.word_bits)) is not None
        ]
        chosen = min(drafts, key=lambda draft: draft.bits)
        bits, places_of_blocks = write(chosen.parts, chosen.written)
        return GapsEncoded(facts, dtype, chosen.mode, chosen.parts, chosen.book, bits, places_of_blocks, np.diff(ends))


@dataclass(frozen=True)
class _Draft:
    """One way to code all blocks, and what it takes."""

    mode: str
    parts: tuple[Part, ...]
    written: list[list[Written]]
    book: NDArray[Any]
    bits: int


def _items(words: NDArray[Any]) -> _Items:
    held = columns_of(words, 0)
    places = held.owners * len(words) + held.rows
    return _Items(np.diff(places, prepend=-1) - 1, held.words)


def _draft(
    mode: str, blocks: Sequence[_Items], values: Sequence[NDArray[np.int64]], book: NDArray[Any], word_bits: int
) -> _Draft | None:
    """The codes of a mode; None where there would be too many symbols."""
    gaps = [gap_symbols(block.gaps) for block in blocks]
    rests = [block.gaps - BASE[symbols] for block, symbols in zip(blocks, gaps, strict=True)]
    most = max((int(symbols.max()) + 1 for symbols in gaps if len(symbols)), default=1)
    if mode == "joint":
        size = most * max(1, len(book))
        if size > _MOST_JOINT:
            return None
        said = [[Written(gap * len(book) + value, rest)] for gap, value, rest in zip(gaps, values, rests, strict=True)]
    elif mode == "coded":
        plain = [np.zeros_like(value) for value in values]
        said = [
            [Written(gap, rest), Written(value, none)]
            for gap, rest, value, none in zip(gaps, rests, values, plain, strict=True)
        ]
    else:
        if mode == "numbers" and not _MOST_BYTE < word_bits <= _MOST_NUMBER:
            return None
        split = _split if mode == "bytes" else _numbers
        said = [
            [Written(gap, rest), *split(block.words, word_bits)]
            for gap, rest, block in zip(gaps, rests, blocks, strict=True)
        ]
        book = book[:0]
    parts, total = [], 0
    for place, extra in enumerate(gap_extra(mode, most, len(book), word_bits)):
        symbols = np.concatenate([block[place].symbols for block in said])
        counts = np.bincount(symbols, minlength=len(extra))
        code = huffman(counts) if len(symbols) else Code(np.zeros(len(extra), np.uint8))
        parts.append(Part(code, extra))
        total += code.bits(counts) + int(np.dot(counts, extra)) + lengths_bits(code)
    return _Draft(mode, tuple(parts), said, book, total + book_bits(book, word_bits))


def gap_extra(mode: str, gaps: int, values: int, word_bits: int) -> list[NDArray[np.int64]]:
    """Plain bits behind the symbols of each code of a mode, shape (symbols,) each.

    Args:
        mode: one of `MODES`.
        gaps: symbols of gaps.
        values: in the codebook.
        word_bits: of a value.
    """
    if mode == "joint":
        return [np.repeat(EXTRA[:gaps], max(1, values))]
    if mode == "coded":
        return [EXTRA[:gaps], np.zeros(max(1, values), np.int64)]
    if mode == "numbers":
        return [EXTRA[:gaps], EXTRA]
    return [EXTRA[:gaps], *[np.zeros(256, np.int64)] * (word_bits // 8)]


def lengths_bits(code: Code) -> int:
    """Bits of the codeword lengths of all symbols: 5 each, or one each and 5 for those that occur; or the only one."""
    if not code.most:
        return width_of(len(code.lengths))
    return min(LENGTH_BITS * len(code.lengths), len(code.lengths) + LENGTH_BITS * int(np.count_nonzero(code.lengths)))


def book_bits(book: NDArray[Any], word_bits: int) -> int:
    """Bits of a codebook: the words, or one bit for each word that there is where these are fewer."""
    return min(len(book) * word_bits, 2**word_bits if word_bits <= 16 else len(book) * word_bits)


def _numbers(words: NDArray[Any], word_bits: int) -> list[Written]:
    """Words as signed integers, 0, -1, 1, -2 and so on counted from 0."""
    signed = words.astype(np.int64)
    signed -= (signed >> (word_bits - 1)) << word_bits
    counted = np.where(signed < 0, -2 * signed - 1, 2 * signed)
    symbols = gap_symbols(counted)
    return [Written(symbols, counted - BASE[symbols])]


def _from_numbers(counted: NDArray[np.int64], word_bits: int) -> NDArray[Any]:
    """Words from what `_numbers` counted."""
    signed = np.where(counted & 1, -(counted + 1) // 2, counted // 2)
    words: NDArray[Any] = (signed & (2**word_bits - 1)).astype(f"u{word_bits // 8}")
    return words


def _split(words: NDArray[Any], word_bits: int) -> list[Written]:
    """The bytes of words, the highest first, turned by a bit."""
    turned = _turned(words, word_bits, left=True)
    shifts = range(word_bits - 8, -1, -8)
    none = np.zeros(len(words), np.int64)
    return [Written(((turned >> np.uint64(shift)) & np.uint64(255)).astype(np.int64), none) for shift in shifts]


def _joined(bytes_: Sequence[Written], word_bits: int) -> NDArray[Any]:
    """Words from their bytes."""
    turned = np.zeros(len(bytes_[0].symbols), np.uint64)
    for each in bytes_:
        turned = (turned << np.uint64(8)) | each.symbols.astype(np.uint64)
    return _turned(turned, word_bits, left=False).astype(f"u{word_bits // 8}")


def _turned(words: NDArray[Any], word_bits: int, *, left: bool) -> NDArray[np.uint64]:
    """Words with their highest bit at the end, so that the exponent of a float begins them; or back."""
    near, far = (np.uint64(1), np.uint64(word_bits - 1)) if left else (np.uint64(word_bits - 1), np.uint64(1))
    wide = words.astype(np.uint64)
    mask = np.uint64(2**word_bits - 1)
    return ((wide << near) | (wide >> far)) & mask
