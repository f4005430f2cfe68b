"""Huffman address maps: HAM and its sparse form sHAM (Marino and others, arXiv 2007.07967 and 2108.12704)."""

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from tf_structprune.storage._bits import index_bits, padded
from tf_structprune.storage._blocks import Columns, block_starts, columns_of
from tf_structprune.storage._encoded import HEADER_BITS, OFFSET_BITS, Encoded, Facts
from tf_structprune.storage._huffman import MOST_BITS, Code, huffman
from tf_structprune.storage._plain import places_bits
from tf_structprune.storage._walk import Part, Written, read, write
from tf_structprune.storage._words import to_words

Tables = Literal["2020", "none", "full", "partial"]
TABLES: tuple[str, ...] = get_args(Tables)
_PADDING = 31


def check_tables(tables: str) -> None:
    """Refuse an unknown dictionary."""
    if tables not in TABLES:
        raise ValueError(f"Unknown dictionary. Received: tables={tables!r}. Use one of: {', '.join(TABLES)}.")


def dictionary_bits(code: Code, symbols: int, word_bits: int, tables: str) -> int:
    """Bits of what tells codewords and values from each other.

    "2020": value, codeword in 32 bits and its length in 8, for each symbol. The canonical forms: values by length, for
    each length the place of its first symbol and its first codeword; "full": besides the length for all that the next
    bits may be, "partial": for what their first few may be.
    """
    if tables == "2020":
        return symbols * (word_bits + 32 + 8)
    firsts = (code.most + 1) * index_bits(symbols + 1) + (code.most + 2) * index_bits(2**code.most + 1)
    looks = _looks(code.most, tables)
    return symbols * word_bits + firsts + 8 * looks


def dictionary_bound(symbols: int, word_bits: int, tables: str) -> int:
    """What `dictionary_bits` does not exceed: codewords have k - 1 bits at most, and 24.

    "2020": 6 k b, two dictionaries of 3 k b each as in the paper, which holds for b of 8 bits and more.
    """
    if tables == "2020":
        return 6 * symbols * word_bits
    most = min(MOST_BITS, max(1, symbols - 1))
    firsts = (most + 1) * index_bits(symbols + 1) + (most + 2) * index_bits(2**most + 1)
    looks = _looks(most, tables)
    return symbols * word_bits + firsts + 8 * looks


def _looks(most: int, tables: str) -> int:
    """Entries of the table of lengths: for all of the longest codeword's bits, or for the logarithm of their number."""
    bits = {"full": most, "partial": (most - 1).bit_length()}.get(tables)
    return 0 if bits is None else 1 << bits


def coded_bound(items: int, symbols: int) -> float:
    """Bits of so many Huffman codewords, H + 1 at most each and H at most log2 k, in words of 32 bits."""
    return items * (1 + math.log2(symbols)) + _PADDING if items else 0


@dataclass(frozen=True)
class _Stream:
    """Symbols of blocks in one bit string."""

    part: Part
    bits: NDArray[np.uint32]
    starts: NDArray[np.int64]

    @classmethod
    def of(cls, code: Code, blocks: list[NDArray[np.int64]]) -> "_Stream":
        part = Part.plain(code)
        bits, starts = write([part], [[Written(symbols, np.zeros_like(symbols))] for symbols in blocks])
        return cls(part, bits, starts)

    @property
    def size_bits(self) -> int:
        return padded(int(self.starts[-1])) + (len(self.starts) - 1) * OFFSET_BITS

    def symbols(self, block: int, count: int) -> NDArray[np.int64]:
        start, stop = (int(each) for each in self.starts[block : block + 2])
        (found,) = read([self.part], self.bits, start, stop, count)
        return found.symbols


@dataclass(frozen=True)
class _Ham(Encoded):
    facts: Facts
    dtype: np.dtype[Any]
    book: NDArray[Any]
    stream: _Stream
    tables: str

    @property
    def size_bits(self) -> int:
        """Codewords, dictionary, and where each block begins."""
        dictionary = dictionary_bits(self.stream.part.code, len(self.book), self.facts.word_bits, self.tables)
        return HEADER_BITS + dictionary + self.stream.size_bits

    @property
    def bound_bits(self) -> float:
        """n m (1 + log2 k') and the dictionary, see `HAM`."""
        facts = self.facts
        dictionary = dictionary_bound(facts.all_values, facts.word_bits, self.tables)
        coded = coded_bound(facts.rows * facts.columns, facts.all_values)
        return HEADER_BITS + dictionary + coded + facts.blocks * OFFSET_BITS

    def columns(self, block: int) -> Columns:
        """What is not zero in a block."""
        start, stop = (int(each) for each in self.blocks[block : block + 2])
        rows = self.facts.rows
        symbols = self.stream.symbols(block, (stop - start) * rows)
        return columns_of(self.book[symbols].reshape(-1, rows).T, start)


@dataclass(frozen=True)
class HAM:
    """Every entry, zeros too, as its Huffman codeword, column by column.

    Size at most n m (1 + log2 k') + D + 31 bits, k' the different entries: a Huffman code has less than H + 1 bits an
    entry, H at most log2 k'; D is 6 k' b in the form of 2020, k' b and the first codewords of each length in the
    canonical ones; besides 32 bits for the place of each block of columns, which threads need, and the header.

    Attributes:
        tables: "2020": codewords are stored, as in the paper; or the canonical form of the authors' code of 2023, with
            no table, a full or a partial one to find a codeword's length.
    """

    tables: Tables = "none"

    def __post_init__(self) -> None:
        check_tables(self.tables)

    def encode(self, matrix: NDArray[Any]) -> Encoded:
        """See `Format.encode`."""
        words = to_words(matrix)
        book, symbols, counts = np.unique(words.T, return_inverse=True, return_counts=True)
        columns = symbols.reshape(words.T.shape)
        starts = block_starts(*words.shape)
        blocks = [columns[start:stop].reshape(-1) for start, stop in zip(starts, starts[1:], strict=False)]
        stream = _Stream.of(huffman(counts, least=1), blocks)
        return _Ham(Facts.of(words), matrix.dtype.newbyteorder("="), book, stream, self.tables)


@dataclass(frozen=True)
class _SparseHam(Encoded):
    facts: Facts
    dtype: np.dtype[Any]
    book: NDArray[Any]
    stream: _Stream
    rows: NDArray[np.int64]
    pointers: NDArray[np.int64]
    tables: str
    counts: bool

    @property
    def size_bits(self) -> int:
        """Codewords, dictionary, rows, counts or pointers, and where each block begins."""
        facts = self.facts
        dictionary = dictionary_bits(self.stream.part.code, len(self.book), facts.word_bits, self.tables)
        return HEADER_BITS + dictionary + self.stream.size_bits + places_bits(facts, counts=self.counts)

    @property
    def bound_bits(self) -> float:
        """q (1 + log2 k + bits(n)) and the dictionary, see `SHAM`."""
        facts = self.facts
        dictionary = dictionary_bound(facts.values, facts.word_bits, self.tables)
        coded = coded_bound(facts.nonzeros, facts.values)
        return HEADER_BITS + dictionary + coded + facts.blocks * OFFSET_BITS + places_bits(facts, counts=self.counts)

    def columns(self, block: int) -> Columns:
        """What is not zero in a block."""
        start, stop = (int(each) for each in self.blocks[block : block + 2])
        first, last = (int(each) for each in self.pointers[[start, stop]])
        symbols = self.stream.symbols(block, last - first)
        return Columns(start, self.pointers[start : stop + 1] - first, self.rows[first:last], self.book[symbols])


@dataclass(frozen=True)
class SHAM:
    """Only what is not zero, by columns: rows as they are, values as Huffman codewords.

    Size at most q (1 + log2 k + bits(n)) + m bits(n + 1) + D + 31 bits, and the places of blocks and the header; with
    pointers (m + 1) bits(q + 1) in the place of m bits(n + 1). This is the corrected bound: the one printed in 2020
    charges n row indices, and there are q.

    Attributes:
        tables: of the dictionary, as for `HAM`.
        counts: how many entries each column has, as in the code of 2021; else where it begins, as in the paper of 2020.
    """

    tables: Tables = "none"
    counts: bool = True

    def __post_init__(self) -> None:
        check_tables(self.tables)

    def encode(self, matrix: NDArray[Any]) -> Encoded:
        """See `Format.encode`."""
        words = to_words(matrix)
        held = columns_of(words, 0)
        book, symbols, counts = np.unique(held.words, return_inverse=True, return_counts=True)
        ends = held.pointers[block_starts(*words.shape)]
        blocks = [symbols[start:stop] for start, stop in zip(ends, ends[1:], strict=False)]
        code = huffman(counts, least=1) if len(book) else Code(np.zeros(0, np.uint8))
        return _SparseHam(
            Facts.of(words),
            matrix.dtype.newbyteorder("="),
            book,
            _Stream.of(code, blocks),
            held.rows,
            held.pointers,
            self.tables,
            self.counts,
        )
