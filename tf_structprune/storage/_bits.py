"""Bit strings: codewords one behind the other, the most significant bit first, in words of 32 bits."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

WORD_BITS = 32
_CHUNK = 2**15  # codewords that are packed at once: their bits take 32 bytes each for a moment
_SPARE_WORDS = 2  # behind the last one, so that a window of 64 bits can be read anywhere


def width_of(count: int) -> int:
    """Bits that tell so many things apart, 0 for one."""
    return max(count - 1, 0).bit_length()


def index_bits(count: int) -> int:
    """Bits of an index of so many things in whole bytes: 8, 16, 32 or 64."""
    return next(bits for bits in (8, 16, 32, 64) if count <= 2**bits)


def padded(bits: int) -> int:
    """Bits of the words that so many bits fill."""
    return -(-bits // WORD_BITS) * WORD_BITS


def pack(chunks: Iterable[tuple[NDArray[np.uint64], NDArray[Any]]]) -> NDArray[np.uint32]:
    """Codewords as one bit string.

    Args:
        chunks: codewords, each in its lowest bits, and their lengths in bits, up to 64, shape (n,) each.

    Returns:
        Words; two of zeros are behind the last one.
    """
    packed, rest = [], np.zeros(0, np.uint8)
    for codes, lengths in chunks:
        for first in range(0, len(codes), _CHUNK):
            bits = np.concatenate([rest, _bits(codes[first : first + _CHUNK], lengths[first : first + _CHUNK])])
            whole = len(bits) // 8 * 8
            packed.append(np.packbits(bits[:whole]))
            rest = bits[whole:]
    packed.append(np.packbits(rest))
    size = sum(map(len, packed))
    packed.append(np.zeros(-size % 4 + 4 * _SPARE_WORDS, np.uint8))
    return np.concatenate(packed).view(">u4").astype(np.uint32)


def _bits(codes: NDArray[np.uint64], lengths: NDArray[Any]) -> NDArray[np.uint8]:
    """The bits of codewords one behind the other, one a byte."""
    sizes = np.asarray(lengths, np.int64)
    ends = np.cumsum(sizes)
    owner = np.repeat(np.arange(len(sizes)), sizes)
    place = (ends[owner] - 1 - np.arange(len(owner))).astype(np.uint64)  # from the codeword's end
    return ((codes[owner] >> place) & np.uint64(1)).astype(np.uint8)


def windows(words: NDArray[np.uint32], start: int, stop: int, width: int) -> NDArray[np.uint32]:
    """The bits that follow each place of a bit string, `width` of them up to 32, shape (stop - start,)."""
    first, last = start // WORD_BITS, max(stop - 1, start) // WORD_BITS + 1
    wide = (words[first:last].astype(np.uint64) << np.uint64(WORD_BITS)) | words[first + 1 : last + 1]
    shifts = np.arange(WORD_BITS, dtype=np.uint64)
    found = (
        (wide[:, None] << shifts) >> np.uint64(2 * WORD_BITS - width)
        if width
        else wide[:, None] * np.zeros_like(shifts)
    )
    return found.reshape(-1)[start - first * WORD_BITS :][: stop - start].astype(np.uint32)


def pack_fixed(values: NDArray[Any], width: int) -> NDArray[np.uint32]:
    """Numbers of `width` bits each as one bit string."""
    return pack([(np.asarray(values, np.uint64).reshape(-1), np.full(np.size(values), width))])


def unpack_fixed(words: NDArray[np.uint32], start: int, count: int, width: int) -> NDArray[np.uint64]:
    """Numbers of `width` bits each, up to 32, from the number `start` on."""
    places = (start + np.arange(count, dtype=np.int64)) * width
    if not width:
        return np.zeros(count, np.uint64)
    wide = (words[places // WORD_BITS].astype(np.uint64) << np.uint64(WORD_BITS)) | words[places // WORD_BITS + 1]
    left = wide << (places % WORD_BITS).astype(np.uint64)
    return left >> np.uint64(2 * WORD_BITS - width)
