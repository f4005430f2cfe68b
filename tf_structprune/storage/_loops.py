"""The loops that NumPy alone is slow at: compiled by Numba where the extra `fast` is installed, else in NumPy.

Both give the same; `COMPILED` says which it is. Numba's own threads are not used: blocks of columns are the threads'.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

SLOT_BITS = 12
"""Bits of the first look into a code: its table of 32 KiB stays near the processor."""
LANES = 8
"""Blocks that take turns: what one waits for, memory and the lengths before, does not hold up the others."""

_F = TypeVar("_F", bound=Callable[..., Any])
_ONE, _SIX, _TWENTY, _LONG = np.uint64(1), np.uint64(63), np.uint64(0xFFFFF), np.uint64(2**64 - 1)

try:
    import numba

    COMPILED = True

    def _compiled(function: _F) -> _F:
        return cast(_F, numba.njit(nogil=True, cache=True)(function))

    def _inlined(function: _F) -> _F:
        # A call would count the references to each array, which takes longer than what is called.
        return cast(_F, numba.njit(nogil=True, inline="always")(function))

except ImportError:
    COMPILED = False

    def _compiled(function: _F) -> _F:
        return function

    _inlined = _compiled


def column_sums(
    x: NDArray[Any], rows: NDArray[np.int64], values: NDArray[Any], pointers: NDArray[np.int64], out: NDArray[Any]
) -> None:
    """Products of rows with sparse columns.

    Args:
        x: shape (batch, rows).
        rows: of each entry, column by column.
        values: of each entry.
        pointers: where each column begins, and the end, shape (columns + 1,).
        out: shape (batch, columns), of zeros; the sums are written there.
    """
    if COMPILED:
        _sums_compiled(x, rows, values, pointers, out)
        return
    filled = np.flatnonzero(np.diff(pointers))
    if len(filled):
        out[:, filled] = np.add.reduceat(x[:, rows] * values, pointers[filled], axis=1)


@_compiled
def _sums_compiled(x: Any, rows: Any, values: Any, pointers: Any, out: Any) -> None:
    for batch in range(x.shape[0]):
        for column in range(len(pointers) - 1):
            total = out[batch, column]
            for entry in range(pointers[column], pointers[column + 1]):
                total += x[batch, rows[entry]] * values[entry]
            out[batch, column] = total


def walk_compiled(
    parts: Sequence[Any], words: NDArray[np.uint32], start: int, stop: int, count: int
) -> tuple[tuple[NDArray[np.int64], NDArray[np.int64]], int]:
    """Items of a bit string, see `read`; for `COMPILED` only.

    Returns:
        Symbols and plain bits, shape (parts, items) each, and the bit behind the last item.
    """
    codes = [part.code for part in parts]
    symbols, extra = np.zeros((len(parts), count), np.int64), np.zeros((len(parts), count), np.int64)
    end = _walk(
        words,
        (start, stop),
        np.array([code.most for code in codes], np.uint64),
        _stacked([part.table for part in parts]),
        _stacked([code.first_code for code in codes]),
        _stacked([code.first_symbol for code in codes]),
        _stacked([code.order for code in codes]),
        _stacked([part.extra for part in parts]).astype(np.uint64),
        symbols,
        extra,
    )
    return (symbols, extra), int(end)


def _stacked(rows: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Rows of different lengths as one array, with what no place is behind the shorter ones."""
    stacked = np.full((len(rows), max(1, *map(len, rows)) if len(rows) > 1 else max(1, len(rows[0]))), 2**62)
    for place, row in enumerate(rows):
        stacked[place, : len(row)] = row
    return stacked


@_inlined
def _wide(words: Any, place: Any) -> Any:
    """The 33 bits or more from a place on, at the upper end of 64."""
    at = place >> np.uint64(5)
    return ((np.uint64(words[at]) << np.uint64(32)) | np.uint64(words[at + _ONE])) << (place & np.uint64(31))


@_inlined
def _top(wide: Any, bits: Any) -> Any:
    """The upper bits, 63 at most, of 64."""
    return (wide >> _ONE) >> (np.uint64(63) - bits)


@_compiled
def _walk(
    words: Any,
    ends: Any,
    most: Any,
    tables: Any,
    first_code: Any,
    first_symbol: Any,
    order: Any,
    extra: Any,
    symbols: Any,
    told: Any,
) -> Any:
    """The arithmetic is in unsigned integers throughout: with signed ones among them Numba takes floats."""
    place, stop = np.uint64(ends[0]), np.uint64(ends[1])
    parts = np.uint64(symbols.shape[0])
    for item in range(np.uint64(symbols.shape[1])):
        for part in range(parts):
            longest = most[part]
            wide = _wide(words, place)
            entry = tables[part, _top(wide, min(longest, np.uint64(SLOT_BITS)))]
            if entry >= 0:
                symbol, size = np.uint64(entry >> 5), np.uint64(entry & 31)
            else:
                window, size = np.int64(_top(wide, longest)), np.uint64(SLOT_BITS + 1)
                while size < longest and window >= first_code[part, size + _ONE]:
                    size += _ONE
                behind = (window - first_code[part, size]) >> np.int64(longest - size)
                symbol = np.uint64(order[part, np.uint64(first_symbol[part, size] + behind)])
            place += size
            symbols[part, item] = np.int64(symbol)
            bits = extra[part, symbol]
            if bits:
                told[part, item] = np.int64(_top(_wide(words, place), bits))
                place += bits
            if place > stop:
                return -1
    return np.int64(place)


def slots(
    tables: NDArray[np.int64], base: NDArray[np.int64], extra: NDArray[np.int64], width: int
) -> NDArray[np.uint64]:
    """What the first bits of a codeword for a gap and a value say, in one number each.

    Args:
        tables: from `Part.table`.
        base: least gap of each symbol.
        extra: plain bits behind each symbol's codeword.
        width: values that a gap symbol is combined with; symbol = gap symbol * width + value.

    Returns:
        For each entry of the table: least gap << 32 | value << 12 | plain bits << 6 | length with them, or all ones.
    """
    symbols, sizes = tables >> 5, tables & 31
    gaps, values = np.divmod(np.maximum(symbols, 0), width)
    bits = extra[np.maximum(symbols, 0)]
    packed = base[gaps] << 32 | values << 12 | bits << 6 | (sizes + bits)
    # 33 bits are at hand from one place of the bit string
    fits = (tables >= 0) & (sizes + bits <= 33) & (base[gaps] < 2**31)
    return np.where(fits, packed, -1).astype(np.int64).view(np.uint64)


@_inlined
def _gap(wide: Any, slot: Any) -> Any:
    """The gap that a slot and the bits behind its codeword tell."""
    bits = (slot >> np.uint64(6)) & _SIX
    return (slot >> np.uint64(32)) + _top(wide << ((slot & _SIX) - bits), bits)


@_compiled
def _slow(words: Any, place: Any, code: Any, gaps: Any) -> Any:
    """A codeword longer than a look: its symbol's gap, value, and the place behind it."""
    most, first_code, first_symbol, order = code
    window, size = np.int64(_top(_wide(words, place), np.uint64(most))), np.int64(min(most, SLOT_BITS))
    while size < most and window >= first_code[size + 1]:
        size += 1
    symbol = order[first_symbol[size] + ((window - first_code[size]) >> (most - size))]
    behind, bits = place + np.uint64(size), np.uint64(gaps[symbol, 1])
    told = _top(_wide(words, behind), bits)
    return np.uint64(gaps[symbol, 0]) + told, np.uint64(gaps[symbol, 2]), behind + bits


@_compiled
def joint_products(
    x: Any,
    words: Any,
    starts: Any,
    counts: Any,
    columns: Any,
    span: Any,
    code: Any,
    looks: Any,
    gaps: Any,
    book: Any,
    out: Any,
) -> None:
    """Products of a row with columns of gaps and values in joint codewords; for `COMPILED` only.

    The arithmetic is in unsigned integers throughout: with signed ones among them Numba takes floats.

    Args:
        x: shape (rows,).
        words: the bit string.
        starts: place of each block in it.
        counts: entries of each block.
        columns: first column of each block.
        span: first block and the one behind the last.
        code: longest codeword, first codeword and first symbol of each length, order of the symbols.
        looks: from `slots`.
        gaps: of each symbol its least gap, plain bits and value, shape (symbols, 3).
        book: the values.
        out: shape (columns,), of zeros; the sums are written there.
    """
    rows, blocks = np.uint64(x.shape[0]), span[1] - span[0]
    shift = np.uint64(64 - min(code[0], SLOT_BITS))
    places, next_row = np.empty(LANES, np.uint64), np.empty(LANES, np.uint64)
    at_column, left = np.empty(LANES, np.uint64), np.empty(LANES, np.int64)
    for first in range(0, blocks, LANES):
        lanes = min(LANES, blocks - first)
        for lane in range(lanes):
            block = span[0] + first + lane
            places[lane], left[lane] = np.uint64(starts[block]), counts[block]
            next_row[lane], at_column[lane] = np.uint64(0), np.uint64(columns[block])
        while lanes:
            turns = left[:lanes].min()
            for _ in range(turns):
                for lane in range(np.uint64(lanes)):
                    wide = _wide(words, places[lane])
                    slot = looks[wide >> shift]
                    if slot != _LONG:
                        gap, value = _gap(wide, slot), (slot >> np.uint64(12)) & _TWENTY
                        places[lane] += slot & _SIX
                    else:
                        gap, value, places[lane] = _slow(words, places[lane], code, gaps)
                    row, column = next_row[lane] + gap, at_column[lane]
                    while row >= rows:
                        row -= rows
                        column += _ONE
                    out[column] += x[row] * book[value]
                    next_row[lane], at_column[lane] = row + _ONE, column
            lanes = _still(lanes, turns, places, next_row, at_column, left)


@_compiled
def _still(lanes: Any, turns: Any, places: Any, rows: Any, columns: Any, left: Any) -> Any:
    """The lanes that have entries left, moved to the front: their number."""
    kept = 0
    for lane in range(lanes):
        left[lane] -= turns
        if left[lane]:
            places[kept], rows[kept], columns[kept], left[kept] = places[lane], rows[lane], columns[lane], left[lane]
            kept += 1
    return kept
