"""Columns of a matrix in blocks: each can be decoded by itself, so that several threads take one each."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ENTRIES = 2**17  # of a block, about
_MOST = 64


@dataclass(frozen=True)
class Columns:
    """What is not zero in some columns, column by column.

    Attributes:
        start: the first column.
        pointers: where each column begins in the others, and the end, shape (columns + 1,).
        rows: of each entry, ascending within a column, shape (entries,).
        words: of each entry, shape (entries,).
    """

    start: int
    pointers: NDArray[np.int64]
    rows: NDArray[np.int64]
    words: NDArray[Any]

    @property
    def owners(self) -> NDArray[np.int64]:
        """Column of each entry, 0 for the first one of these."""
        return np.repeat(np.arange(len(self.pointers) - 1), np.diff(self.pointers))


def block_starts(rows: int, columns: int) -> NDArray[np.int64]:
    """The first column of each block, and the end: even runs of about 131,072 entries, 64 blocks at most."""
    blocks = min(max(1, rows * columns // _ENTRIES), _MOST, columns)
    return (np.arange(blocks + 1) * columns) // blocks


def columns_of(words: NDArray[Any], start: int) -> Columns:
    """What is not zero of some columns of words, shape (rows, columns)."""
    owners, rows = np.nonzero(words.T)
    counts = np.bincount(owners, minlength=words.shape[1])
    return Columns(start, np.concatenate([[0], np.cumsum(counts)]), rows, words[rows, owners])
