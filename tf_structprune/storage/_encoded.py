"""The contract of all formats: what a stored matrix can do."""

import abc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tf_structprune.storage._blocks import Columns, block_starts
from tf_structprune.storage._loops import column_sums
from tf_structprune.storage._words import from_words

HEADER_BITS = 128
"""Rows, columns, type and the number of entries, which every format is charged with."""
OFFSET_BITS = 32  # of a place in a bit string, or of a count, for each block


@dataclass(frozen=True)
class Facts:
    """What the size of a matrix depends on, and the symbols of the bounds.

    Attributes:
        rows: n.
        columns: m.
        nonzeros: q, entries other than +0.0.
        values: k, different ones among these.
        word_bits: b, of an entry.
    """

    rows: int
    columns: int
    nonzeros: int
    values: int
    word_bits: int

    @classmethod
    def of(cls, words: NDArray[Any]) -> "Facts":
        """Of the words of a matrix."""
        held = words[words != 0]
        rows, columns = words.shape
        return cls(rows, columns, held.size, len(np.unique(held)), 8 * words.itemsize)

    @property
    def all_values(self) -> int:
        """Different entries, zero included where it occurs."""
        return self.values + (self.nonzeros < self.rows * self.columns)

    @property
    def blocks(self) -> int:
        """Blocks of columns."""
        return len(block_starts(self.rows, self.columns)) - 1


class Encoded(abc.ABC):
    """A stored matrix, shape (rows, columns).

    Attributes:
        facts: of the matrix.
        dtype: of its values.
    """

    facts: Facts
    dtype: np.dtype[Any]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.facts.rows, self.facts.columns

    @property
    @abc.abstractmethod
    def size_bits(self) -> int:
        """All that is stored: entries, dictionaries, tables, offsets, padding and header."""

    @property
    @abc.abstractmethod
    def bound_bits(self) -> float:
        """What `size_bits` never exceeds, from `facts` alone."""

    @property
    def blocks(self) -> NDArray[np.int64]:
        """First column of each block that can be decoded by itself, and the end."""
        return block_starts(*self.shape)

    @abc.abstractmethod
    def columns(self, block: int) -> Columns:
        """What is not zero in a block."""

    def decode(self) -> NDArray[Any]:
        """The matrix, bit for bit."""
        words = np.zeros(self.shape, f"u{self.dtype.itemsize}")
        for block in range(len(self.blocks) - 1):
            found = self.columns(block)
            words[found.rows, found.start + found.owners] = found.words
        return from_words(words, self.dtype)

    def dot(self, x: NDArray[Any], *, threads: int = 1) -> NDArray[Any]:
        """`x @ matrix` without the matrix: blocks of columns are decoded one after the other and forgotten.

        Zeros are not multiplied: where x is infinite or NaN and the matrix is 0, the product is left out.

        Args:
            x: shape (rows,) or (batch, rows).
            threads: how many blocks are decoded at the same time.

        Returns:
            Shape (columns,) or (batch, columns), of the type of x and the matrix together, integers as 64 bits.

        Raises:
            ValueError: x of another shape, or no thread.
        """
        if x.ndim not in (1, 2) or x.shape[-1] != self.facts.rows:
            raise ValueError(
                f"x must have {self.facts.rows} values, one for each row. Received: shape={x.shape}. Use (rows,) or "
                "(batch, rows)."
            )
        if threads < 1:
            raise ValueError(f"threads must be at least 1. Received: threads={threads}. Use a count.")
        common = np.result_type(x.dtype, self.dtype)
        wide = common if common.kind == "f" else np.dtype(np.int64)
        left = np.ascontiguousarray(np.atleast_2d(x), wide)
        out = np.zeros((len(left), self.facts.columns), wide)

        ends = (np.arange(threads + 1) * (len(self.blocks) - 1)) // threads
        spans = [(int(first), int(last)) for first, last in zip(ends, ends[1:], strict=False) if first < last]
        if len(spans) == 1:
            self._multiply(left, spans[0], out)
        else:
            with ThreadPoolExecutor(len(spans)) as pool:
                list(pool.map(lambda span: self._multiply(left, span, out), spans))
        return out[0] if x.ndim == 1 else out

    def _multiply(self, x: NDArray[Any], span: tuple[int, int], out: NDArray[Any]) -> None:
        """Products with the columns of some blocks.

        Args:
            x: shape (batch, rows).
            span: the first block, and the one behind the last.
            out: shape (batch, columns), of zeros; the products are written there.
        """
        for block in range(*span):
            found = self.columns(block)
            part = out[:, found.start : found.start + len(found.pointers) - 1]
            values = from_words(found.words, self.dtype).astype(out.dtype)
            column_sums(x, found.rows, values, found.pointers, part)


class Format(Protocol):
    """A way to store a matrix; implementations are frozen dataclasses of settings, by name in `FORMATS`."""

    def encode(self, matrix: NDArray[Any]) -> Encoded:
        """Store a matrix, shape (rows, columns), of floats, integers or booleans.

        Raises:
            TypeError, ValueError: anything else, see `to_words`.
        """
