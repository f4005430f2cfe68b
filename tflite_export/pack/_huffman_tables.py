"""Decoding tables of a Huffman code: the next bits look up a symbol, or the table that the bits behind them look up."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tf_structprune.storage import Code

_MOST_BITS = 10  # of a table; the format has 15
_LOOKUP_ENTRIES = 24
"""Entries that one lookup more a weight is worth: tables are chosen for size first, then for speed."""
_FOUND_16, _COUNT_16 = 15, 11
_FOUND_32, _COUNT_32 = 31, 27


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        depth: bits of a codeword that were read before it.
        place: those bits, as a number.
        bits: how many it looks up.
        start: its first entry among those of all tables.
    """

    depth: int
    place: int
    bits: int
    start: int


@dataclass(frozen=True)
class Tables:
    """All tables of a code, the first one first.

    Attributes:
        found: of each entry, whether it is a symbol's, shape (entries,).
        counts: of a symbol's entry how many bits of the table its codeword takes, of another one the bits of the next
            table less one.
        values: of a symbol's entry the symbol, of another one where the next table begins, counted from it.
        first_bits: bits that the first table looks up.
        reach: by symbol, how many bits are asked for until it is found, shape (symbols,).
    """

    found: NDArray[np.bool_]
    counts: NDArray[np.int64]
    values: NDArray[np.int64]
    first_bits: int
    reach: NDArray[np.int64]

    def entries(self, lowest: int, *, wide: bool) -> NDArray[np.uint32] | NDArray[np.uint16]:
        """As TFLite Micro has them (decode_state_huffman.h): a bit for a symbol found, four for the count, the value.

        Args:
            lowest: value of symbol 0.
            wide: 32 bits an entry instead of 16.
        """
        found_at, count_at = (_FOUND_32, _COUNT_32) if wide else (_FOUND_16, _COUNT_16)
        values = np.where(self.found, (self.values + lowest) & 0xFF, self.values)
        entries = self.found.astype(np.int64) << found_at | self.counts << count_at | values
        return entries.astype("<u4" if wide else "<u2")


def tables_size(code: Code, counts: NDArray[np.int64]) -> int:
    """How many entries `tables_of` gives."""
    return sum(1 << table.bits for table in _layout(code, counts))


def tables_of(code: Code, counts: NDArray[np.int64]) -> Tables:
    """The tables of a code.

    Args:
        code: with a codeword for each symbol that occurs.
        counts: how often each symbol occurs.
    """
    layout = list(_layout(code, counts))
    size = layout[-1].start + (1 << layout[-1].bits)
    found, used, values = np.zeros(size, bool), np.zeros(size, np.int64), np.zeros(size, np.int64)
    reach = np.zeros(len(code.lengths), np.int64)
    starts = {(table.depth, table.place): table for table in layout}
    for table in layout:
        depth, bits = table.depth, table.bits
        here = slice(table.start, table.start + (1 << bits))
        paths = (table.place << bits) + np.arange(1 << bits)
        symbols, lengths = code.symbols(_windows(code, paths, depth + bits))
        found[here] = lengths <= depth + bits
        used[here], values[here] = lengths - depth, symbols
        reach[symbols[found[here]]] = depth + bits
        for entry, path in zip(table.start + np.flatnonzero(~found[here]), paths[~found[here]], strict=True):
            following = starts[depth + bits, int(path)]
            used[entry], values[entry] = following.bits - 1, following.start - entry
    return Tables(found, used, values, layout[0].bits, reach)


def _windows(code: Code, paths: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
    """First bits of codewords, with zeros behind them or without the last ones, as long as the longest codeword."""
    if len(code.order) == 1:  # whose codeword is not all of the one bit that there is
        return np.zeros_like(paths)
    return paths << (code.most - bits) if bits <= code.most else paths >> (bits - code.most)


def _layout(code: Code, counts: NDArray[np.int64]) -> Iterator[Table]:
    """The tables, each behind the one that leads to it."""
    if len(code.order) == 1:
        yield Table(0, 0, 1, 0)
        return
    widths, first = _widths(code, counts)
    start, waiting = 0, [(0, 0)]
    while waiting:
        depth, place = waiting.pop(0)
        bits = int(widths[depth][place - first[depth]])
        yield Table(depth, place, bits, start)
        start += 1 << bits
        if depth + bits < code.most:
            low, high = place << bits, (place + 1) << bits
            waiting += [(depth + bits, inner) for inner in range(max(low, int(first[depth + bits])), high)]


def _widths(code: Code, counts: NDArray[np.int64]) -> tuple[list[NDArray[np.int64]], NDArray[np.int64]]:
    """The best table at each inner node of the code's tree, from the deepest one up.

    Codewords of one depth stand before the inner nodes of that depth, so these are the last places of the depth.

    Returns:
        By depth, the bits of the table at each inner node; and by depth, the place of the first of these.
    """
    most, sizes = code.most, code.counts
    first = (code.first_code[:-1] >> (most - np.arange(most + 1))) + sizes
    first[0] = 0
    leaves = np.split(counts[code.order], np.cumsum(sizes)[:-1])
    weights = np.zeros(0)
    costs: list[NDArray[np.float64]] = [np.zeros(0)] * (most + 1)
    widths: list[NDArray[np.int64]] = [np.zeros(0, np.int64)] * (most + 1)
    for depth in range(most - 1, -1, -1):
        weights = np.concatenate([leaves[depth + 1], weights]).reshape(-1, 2).sum(1)
        options = [
            (1 << bits) + _below(costs[depth + bits], int(first[depth + bits]), bits, int(first[depth]), len(weights))
            for bits in range(1, min(most - depth, _MOST_BITS) + 1)
        ]
        widths[depth] = np.argmin(options, 0) + 1
        costs[depth] = np.min(options, 0) + _LOOKUP_ENTRIES * weights / counts.sum()
    return widths, first


def _below(costs: NDArray[np.float64], first: int, bits: int, above: int, count: int) -> NDArray[np.float64]:
    """Sums of what the nodes at one depth cost, by the inner nodes so many bits above them."""
    owners = ((first + np.arange(len(costs))) >> bits) - above
    return np.bincount(owners, weights=costs, minlength=count).astype(np.float64)
