"""Reads codewords by their tables, one after the other, as the decoder on a device does."""

import numpy as np
from numpy.typing import NDArray

_WINDOW = 16  # bits whose outcome is remembered
_MOST_ASKED = 240  # bits for one symbol; a chain of tables of 15 bits for 256 symbols is far shorter


def decoded_symbols(
    encoded: bytes, entries: NDArray[np.uint16] | NDArray[np.uint32], first_bits: int, count: int
) -> NDArray[np.int64]:
    """The symbols.

    Args:
        encoded: codewords in words of 32 bits, the most significant bit first.
        entries: of all tables, of 16 or 32 bits.
        first_bits: bits that the first table looks up.
        count: of symbols.

    Returns:
        The lowest byte of each symbol, shape (count,).

    Raises:
        ValueError: a table or codeword that is not there.
    """
    walk = _Walk([int(entry) for entry in entries], entries.dtype.itemsize * 8, first_bits)
    total = 8 * len(encoded)
    symbols, place, known = np.zeros(count, np.int64), 0, dict[int, tuple[int, int]]()
    for index in range(count):
        at = place >> 3
        window = int.from_bytes(encoded[at : at + 3].ljust(3, b"\0"), "big") >> (8 - (place & 7)) & 0xFFFF
        found = known.get(window)
        if found is None:
            symbol, taken, asked = walk.symbol(encoded, place)
            if asked <= _WINDOW:
                known[window] = symbol, taken
        else:
            symbol, taken = found
        symbols[index] = symbol
        place += taken
        if place > total:
            raise ValueError(f"codewords for {index} of {count} weights")
    return symbols


class _Walk:
    """Tables, and the way through them."""

    def __init__(self, entries: list[int], width: int, first_bits: int) -> None:
        self._entries, self._first_bits = entries, first_bits
        self._found, self._count = width - 1, width - 5

    def symbol(self, encoded: bytes, place: int) -> tuple[int, int, int]:
        """The symbol of the codeword at a bit, the bits that it takes, and those that were asked for."""
        table, asked, bits = 0, 0, self._first_bits
        while asked + bits <= _MOST_ASKED:
            index = table + _bits(encoded, place + asked, bits)
            if index >= len(self._entries):
                raise ValueError(f"entry {index} of {len(self._entries)} in its tables")
            entry = self._entries[index]
            asked += bits
            count = entry >> self._count & 15
            if entry >> self._found:
                return entry & 0xFF, asked - bits + min(count, bits), asked
            table, bits = index + (entry & ((1 << self._count) - 1)), count + 1
        raise ValueError("tables that lead to no symbol")


def _bits(encoded: bytes, place: int, count: int) -> int:
    """So many bits from a place on, zeros behind the end."""
    first, last = place >> 3, (place + count + 7) >> 3
    window = int.from_bytes(encoded[first:last].ljust(last - first, b"\0"), "big")
    return window >> (8 * last - place - count) & ((1 << count) - 1)
