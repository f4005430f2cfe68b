"""Formats without a code: dense, index map, and the sparse ones, each charged with its own indices."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tf_structprune.storage._bits import index_bits, pack_fixed, padded, unpack_fixed, width_of
from tf_structprune.storage._blocks import Columns, columns_of
from tf_structprune.storage._encoded import HEADER_BITS, Encoded, Facts
from tf_structprune.storage._words import to_words


@dataclass(frozen=True)
class _Dense(Encoded):
    facts: Facts
    dtype: np.dtype[Any]
    words: NDArray[Any]

    @property
    def size_bits(self) -> int:
        """n m b, and the header."""
        return HEADER_BITS + self.facts.rows * self.facts.columns * self.facts.word_bits

    @property
    def bound_bits(self) -> float:
        """The size itself."""
        return self.size_bits

    def columns(self, block: int) -> Columns:
        """What is not zero in a block."""
        start, stop = self.blocks[block : block + 2]
        return columns_of(self.words[:, start:stop], int(start))


@dataclass(frozen=True)
class Dense:
    """Every entry as it is: n m b bits."""

    def encode(self, matrix: NDArray[Any]) -> Encoded:
        """See `Format.encode`."""
        words = to_words(matrix)
        return _Dense(Facts.of(words), matrix.dtype.newbyteorder("="), words)


@dataclass(frozen=True)
class _IndexMap(Encoded):
    facts: Facts
    dtype: np.dtype[Any]
    book: NDArray[Any]
    codes: NDArray[np.uint32]
    width: int

    @property
    def size_bits(self) -> int:
        """Codes in words of 32 bits, and the codebook."""
        codes = padded(self.width * self.facts.rows * self.facts.columns)
        return HEADER_BITS + codes + len(self.book) * self.facts.word_bits

    @property
    def bound_bits(self) -> float:
        """n m (1 + log2 k') + k' b + 31, k' the different entries; n m bits(k') + k' b + 31 in whole bytes."""
        facts = self.facts
        least = math.log2(facts.all_values) + 1
        width = least if self.width < 8 or self.width % 8 else max(least, index_bits(facts.all_values))
        return HEADER_BITS + facts.rows * facts.columns * width + facts.all_values * facts.word_bits + 31

    def columns(self, block: int) -> Columns:
        """What is not zero in a block."""
        start, stop = (int(each) for each in self.blocks[block : block + 2])
        rows = self.facts.rows
        codes = unpack_fixed(self.codes, start * rows, (stop - start) * rows, self.width)
        return columns_of(self.book[codes.astype(np.int64)].reshape(-1, rows).T, start)


@dataclass(frozen=True)
class IndexMap:
    """A codebook and, column by column, the place of each entry in it (Marino and others 2021, arXiv 2108.12704).

    Attributes:
        tight: codes of ceil(log2 k) bits; else of 8, 16 or 32, as the released code has them.
    """

    tight: bool = True

    def encode(self, matrix: NDArray[Any]) -> Encoded:
        """See `Format.encode`."""
        words = to_words(matrix)
        book, codes = np.unique(words.T, return_inverse=True)
        width = width_of(len(book)) if self.tight else index_bits(len(book))
        return _IndexMap(
            Facts.of(words), matrix.dtype.newbyteorder("="), book, pack_fixed(codes.reshape(-1), width), width
        )


@dataclass(frozen=True)
class _Sparse(Encoded):
    """Entries other than zero, kept as columns; what a layout charges for their places differs."""

    facts: Facts
    dtype: np.dtype[Any]
    held: Columns
    index_bits: int  # of all places together

    @property
    def size_bits(self) -> int:
        """q values of b bits and their places."""
        return HEADER_BITS + self.facts.nonzeros * self.facts.word_bits + self.index_bits

    @property
    def bound_bits(self) -> float:
        """The size itself: it depends on n, m, q and b alone."""
        return self.size_bits

    def columns(self, block: int) -> Columns:
        """What is not zero in a block."""
        start, stop = (int(each) for each in self.blocks[block : block + 2])
        first, last = self.held.pointers[start], self.held.pointers[stop]
        return Columns(
            start,
            self.held.pointers[start : stop + 1] - first,
            self.held.rows[first:last],
            self.held.words[first:last],
        )


def _sparse(matrix: NDArray[Any], words: NDArray[Any], bits: int) -> Encoded:
    return _Sparse(Facts.of(words), matrix.dtype.newbyteorder("="), columns_of(words, 0), bits)


@dataclass(frozen=True)
class COO:
    """Row, column and value of each entry other than zero: q (b + bits(n) + bits(m)) bits, bits() 8, 16 or 32."""

    def encode(self, matrix: NDArray[Any]) -> Encoded:
        """See `Format.encode`."""
        words = to_words(matrix)
        return _sparse(matrix, words, int(np.count_nonzero(words)) * sum(index_bits(side) for side in words.shape))


@dataclass(frozen=True)
class CSR:
    """By rows: column and value of each entry other than zero, and where each row begins:
    q (b + bits(m)) + (n + 1) bits(q + 1) bits."""

    def encode(self, matrix: NDArray[Any]) -> Encoded:
        """See `Format.encode`."""
        words = to_words(matrix)
        held, (rows, columns) = int(np.count_nonzero(words)), words.shape
        return _sparse(matrix, words, held * index_bits(columns) + (rows + 1) * index_bits(held + 1))


@dataclass(frozen=True)
class CSC:
    """By columns: row and value of each entry other than zero, and how many each column has, or where it begins.

    q (b + bits(n)) + m bits(n + 1) bits with counts, as the authors' code of 2023 has it; with pointers
    (m + 1) bits(q + 1) in the place of the last.

    Attributes:
        counts: counts, else pointers.
    """

    counts: bool = True

    def encode(self, matrix: NDArray[Any]) -> Encoded:
        """See `Format.encode`."""
        words = to_words(matrix)
        return _sparse(matrix, words, places_bits(Facts.of(words), counts=self.counts))


def places_bits(facts: Facts, *, counts: bool) -> int:
    """Bits of the rows of all entries by columns, and of the columns' counts or pointers."""
    ends = facts.columns * index_bits(facts.rows + 1)
    if not counts:
        ends = (facts.columns + 1) * index_bits(facts.nonzeros + 1)
    return facts.nonzeros * index_bits(facts.rows) + ends


@dataclass(frozen=True)
class _Grouped(Encoded):
    facts: Facts
    dtype: np.dtype[Any]
    book: NDArray[Any]  # different values, the most frequent first
    groups: NDArray[np.int64]  # place of each group's value in the book
    group_ends: NDArray[np.int64]  # in `rows`, shape (groups + 1,)
    column_ends: NDArray[np.int64]  # in `groups`, shape (columns + 1,)
    rows: NDArray[np.int64]

    @property
    def size_bits(self) -> int:
        """Book, rows, and for each group value and start, and for each column its start."""
        facts = self.facts
        group = index_bits(max(1, len(self.book))) + index_bits(facts.nonzeros + 1)
        return (
            HEADER_BITS
            + len(self.book) * facts.word_bits
            + facts.nonzeros * index_bits(facts.rows)
            + len(self.groups) * group
            + index_bits(facts.nonzeros + 1)
            + (facts.columns + 1) * index_bits(len(self.groups) + 1)
        )

    @property
    def bound_bits(self) -> float:
        """k b + q bits(n) + g (bits(k) + bits(q + 1)) + bits(q + 1) + (m + 1) bits(g + 1).

        There are g = min(q, m k) groups at most: each column has one for each of its values.
        """
        facts = self.facts
        groups = min(facts.nonzeros, facts.columns * facts.values)
        group = index_bits(max(1, facts.values)) + index_bits(facts.nonzeros + 1)
        return (
            HEADER_BITS
            + facts.values * facts.word_bits
            + facts.nonzeros * index_bits(facts.rows)
            + groups * group
            + index_bits(facts.nonzeros + 1)
            + (facts.columns + 1) * index_bits(groups + 1)
        )

    def columns(self, block: int) -> Columns:
        """What is not zero in a block."""
        start, stop = (int(each) for each in self.blocks[block : block + 2])
        first, last = self.column_ends[start], self.column_ends[stop]
        sizes = np.diff(self.group_ends[first : last + 1])
        values = np.repeat(self.groups[first:last], sizes)
        rows = self.rows[self.group_ends[first] : self.group_ends[last]]
        pointers = self.group_ends[self.column_ends[start : stop + 1]] - self.group_ends[first]
        owners = np.repeat(np.arange(stop - start), np.diff(pointers))
        order = np.lexsort((rows, owners))
        return Columns(start, pointers, rows[order], self.book[values[order]])


@dataclass(frozen=True)
class CSER:
    """Compressed shared elements (Wiedemann and others 2018, arXiv 1805.10692), by columns: of each column the rows are
    grouped by value, so that a dot product multiplies once a group. Zero is the value that is left out."""

    def encode(self, matrix: NDArray[Any]) -> Encoded:
        """See `Format.encode`."""
        words = to_words(matrix)
        held = columns_of(words, 0)
        found, places, counts = np.unique(held.words, return_inverse=True, return_counts=True)
        ranks = np.argsort(-counts, kind="stable")
        places = np.argsort(ranks)[places] if len(found) else places
        order = np.lexsort((held.rows, places, held.owners))
        pairs = np.stack([held.owners[order], places[order]], axis=1)
        begins = np.flatnonzero(np.any(np.diff(pairs, axis=0, prepend=-1) != 0, axis=1))
        return _Grouped(
            Facts.of(words),
            matrix.dtype.newbyteorder("="),
            found[ranks],
            pairs[begins, 1],
            np.append(begins, len(pairs)),
            np.searchsorted(pairs[begins, 0], np.arange(words.shape[1] + 1)),
            held.rows[order],
        )
