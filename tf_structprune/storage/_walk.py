"""From a bit string to symbols: codewords of one code, or of several that take turns, with plain bits behind them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tf_structprune.storage._bits import pack, windows
from tf_structprune.storage._huffman import Code
from tf_structprune.storage._loops import COMPILED, SLOT_BITS, walk_compiled

_PIECE_BITS = 2**18  # that are looked at together: each takes some hundred bytes for a moment
_ITEM_BITS = 9 * 64  # more than an item has


@dataclass(frozen=True)
class Part:
    """One of the codes that take turns.

    Attributes:
        code: of the symbols.
        extra: plain bits behind the codeword of each symbol, shape (symbols,), 32 at most.
    """

    code: Code
    extra: NDArray[np.int64]

    @classmethod
    def plain(cls, code: Code) -> "Part":
        """Without bits behind the codewords."""
        return cls(code, np.zeros(len(code.lengths), np.int64))

    @cached_property
    def table(self) -> NDArray[np.int64]:
        """Symbol * 32 + length for what the next bits may be, -1 where the codeword is longer than they are."""
        bits = min(self.code.most, SLOT_BITS)
        symbols, sizes = self.code.symbols(np.arange(2**bits) << (self.code.most - bits))
        return np.where(sizes <= bits, symbols * 32 + sizes, -1)


@dataclass(frozen=True)
class Written:
    """Symbols of one part of a bit string, in turn.

    Attributes:
        symbols: shape (items,).
        extra: what the plain bits behind each say, shape (items,).
    """

    symbols: NDArray[np.int64]
    extra: NDArray[np.int64]


def write(parts: Sequence[Part], blocks: Sequence[Sequence[Written]]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Blocks of items as one bit string.

    Args:
        parts: the codes that take turns within an item.
        blocks: for each block, what each part says.

    Returns:
        The bit string as words, and where each block begins in it and the end, shape (blocks + 1,).
    """
    starts = [0]

    def chunks() -> Iterator[tuple[NDArray[np.uint64], NDArray[np.int64]]]:
        for block in blocks:
            own = [_codewords(*pair) for pair in zip(parts, block, strict=True)]
            sizes = np.stack([size for _, size in own], axis=1).reshape(-1)
            starts.append(starts[-1] + int(sizes.sum()))
            yield np.stack([code for code, _ in own], axis=1).reshape(-1), sizes

    return pack(chunks()), np.array(starts)


def _codewords(part: Part, written: Written) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    extra = part.extra[written.symbols]
    code = (part.code.codes[written.symbols] << extra.astype(np.uint64)) | written.extra.astype(np.uint64)
    return code, part.code.lengths[written.symbols].astype(np.int64) + extra


def read(parts: Sequence[Part], words: NDArray[np.uint32], start: int, stop: int, count: int) -> list[Written]:
    """The items of a block.

    Args:
        parts: the codes that take turns within an item.
        words: the bit string.
        start: its first bit of the block.
        stop: the bit behind the last.
        count: items.

    Raises:
        ValueError: so many items do not end there.
    """
    if not count:
        symbols, end = [Written(np.zeros(0, np.int64), np.zeros(0, np.int64))] * len(parts), start
    elif COMPILED:
        found, end = walk_compiled(parts, words, start, stop, count)
        symbols = [Written(row, extra) for row, extra in zip(*found, strict=True)]
    else:
        symbols, end = _walked(parts, words, start, stop, count)
    if end != stop:
        raise ValueError(f"A bit string of {count} items must end at bit {stop}. Received: {end}. The file is damaged.")
    return symbols


def _walked(
    parts: Sequence[Part], words: NDArray[np.uint32], start: int, stop: int, count: int
) -> tuple[list[Written], int]:
    """Piece by piece, what a codeword at every place would be, and then only those places at which one begins."""
    pieces, place, left = [], start, count
    while left:
        found, following, done = _piece(parts, words, place, stop, left)
        pieces.append(found)
        place, left = following, left - done
    joined = [
        Written(np.concatenate([one.symbols for one in same]), np.concatenate([one.extra for one in same]))
        for same in zip(*pieces, strict=True)
    ]
    return joined, place


def _piece(
    parts: Sequence[Part], words: NDArray[np.uint32], start: int, stop: int, most: int
) -> tuple[list[Written], int, int]:
    """Items that begin in the next bits, `most` of them at most: the items, the place behind them, and how many."""
    last = min(stop, start + _PIECE_BITS + _ITEM_BITS) - start
    looks = []
    for part in parts:
        symbols, sizes = part.code.symbols(windows(words, start, start + last + 1, part.code.most))
        looks.append((symbols, sizes, part.extra[symbols]))
    behind = [np.minimum(np.arange(last + 1) + sizes + extra, last).tolist() for _, sizes, extra in looks]
    places: list[list[int]] = [[] for _ in parts]
    place = done = 0
    while done < most and (place < _PIECE_BITS or last < _PIECE_BITS):
        for own, following in zip(places, behind, strict=True):
            own.append(place)
            place = following[place]
        done += 1
    told = windows(words, start, start + last + 1, 32).astype(np.int64)
    found = []
    for own, (symbols, sizes, extra) in zip(places, looks, strict=True):
        at = np.array(own, np.int64)
        found.append(Written(symbols[at], told[np.minimum(at + sizes[at], last)] >> (32 - extra[at])))
    return found, start + place, done
