"""Canonical Huffman codes (Huffman 1952; Schwartz and Kallick 1964), and bit strings of them."""

import heapq
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tf_structprune.storage._bits import width_of

MOST_BITS = 24
"""Longest codeword; longer ones would belong to symbols of which there are fewer than one in ten million."""
LENGTH_BITS = 5  # of a stored codeword length


@dataclass(frozen=True)
class Code:
    """A canonical code: of one length codewords rise with their symbols, and longer ones are larger.

    Attributes:
        lengths: bits of each symbol's codeword, shape (symbols,); 0 for symbols that do not occur, and for the only
            one that does where that takes no bits.
        only: that one, where there is no codeword.
    """

    lengths: NDArray[np.uint8]
    only: int = 0

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """Symbols with a codeword by length, and of one length as they are."""
        ranked = np.lexsort((np.arange(len(self.lengths)), self.lengths))
        return ranked[self.lengths[ranked] > 0]

    @cached_property
    def most(self) -> int:
        """Bits of the longest codeword."""
        return int(self.lengths.max(initial=0))

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """Codewords of each length, shape (most + 1,)."""
        counts = np.bincount(self.lengths, minlength=self.most + 1)
        counts[0] = 0
        return counts

    @cached_property
    def first_symbol(self) -> NDArray[np.int64]:
        """Place in `order` of the first symbol of each length, shape (most + 1,)."""
        return np.concatenate([[0], np.cumsum(self.counts)[:-1]]).astype(np.int64)

    @cached_property
    def first_code(self) -> NDArray[np.int64]:
        """First codeword of each length, with zeros behind it up to the longest, shape (most + 2,); at the end, what is
        beyond all."""
        steps = self.counts << (self.most - np.arange(self.most + 1))
        return np.concatenate([[0], np.cumsum(steps)]).astype(np.int64)

    @cached_property
    def codes(self) -> NDArray[np.uint64]:
        """Codeword of each symbol, shape (symbols,)."""
        codes = np.zeros(len(self.lengths), np.uint64)
        sizes = self.lengths[self.order].astype(np.int64)
        left = self.first_code[sizes] + ((np.arange(len(sizes)) - self.first_symbol[sizes]) << (self.most - sizes))
        codes[self.order] = (left >> (self.most - sizes)).astype(np.uint64)
        return codes

    def bits(self, counts: NDArray[Any]) -> int:
        """Bits that symbols take which occur so often."""
        return int(np.dot(np.asarray(counts, np.int64), self.lengths.astype(np.int64)))

    def symbols(self, windows: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Symbol and length of the codewords that windows of `most` bits begin with.

        Raises:
            ValueError: there is a window that no codeword begins.
        """
        if not self.most:
            return np.full(len(windows), self.only), np.zeros(len(windows), np.int64)
        values = np.asarray(windows, np.int64)
        sizes = np.searchsorted(self.first_code[1:], values, side="right")
        sizes = np.minimum(sizes, self.most)
        places = self.first_symbol[sizes] + ((values - self.first_code[sizes]) >> (self.most - sizes))
        return self.order[np.minimum(places, len(self.order) - 1)], sizes

    @property
    def whole(self) -> bool:
        """Whether every bit string begins with one of the codewords, as damaged lengths may not have it."""
        return not self.most or int(self.first_code[-1]) == 1 << self.most


def huffman(counts: NDArray[Any], *, least: int = 0) -> Code:
    """The code of least bits for symbols that occur so often, none longer than `MOST_BITS`.

    Args:
        counts: of each symbol, shape (symbols,), at least one of them positive.
        least: bits of the codeword where only one symbol occurs.
    """
    times = np.asarray(counts, np.int64)
    lengths = np.zeros(len(times), np.uint8)
    present = np.flatnonzero(times)
    if len(present) == 1:
        lengths[present] = least
        return Code(lengths, int(present[0]))
    flat = width_of(len(present))
    while True:
        depths = _depths(times[present])
        if depths.max() <= max(MOST_BITS, flat):
            break
        times = np.where(times > 0, (times >> 1) | 1, 0)  # flatter, so less deep
    lengths[present] = depths
    return Code(lengths)


def _depths(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Depth of each leaf of a Huffman tree; ties go to what was made first."""
    heap = [(int(count), leaf) for leaf, count in enumerate(counts)]
    heapq.heapify(heap)
    parents = np.zeros(2 * len(counts) - 1, np.int64)
    for node in range(len(counts), 2 * len(counts) - 1):
        one, other = heapq.heappop(heap), heapq.heappop(heap)
        parents[one[1]] = parents[other[1]] = node
        heapq.heappush(heap, (one[0] + other[0], node))
    depths = np.zeros(len(parents), np.int64)
    for node in range(len(parents) - 2, -1, -1):
        depths[node] = depths[parents[node]] + 1
    return depths[: len(counts)]
