"""rANS (Duda 2013) with bytes and a state of 32 bits, in the arrangement of the public-domain coder of F. Giesen."""

from collections.abc import Sequence

import numpy as np

from tflite_export.micro._symbols import SYMBOL_BITS, Symbols
from tflite_export.micro._table import SCALE, SCALE_BITS, Table

LOW = 1 << 23
"""Least state; the encoder begins with it, so that the decoder ends with it if nothing was damaged."""
_MASK = SCALE - 1
STATE_BYTES = 4


def encoded(symbols: Symbols, table: Table) -> bytes:
    """The state that the decoder begins with, and the bytes that it takes in.

    Args:
        symbols: each of which has a frequency.
        table: their frequencies.
    """
    frequencies, starts = table.frequencies.tolist(), table.starts.tolist()
    bits = SYMBOL_BITS.tolist()
    state, out = LOW, bytearray()
    for symbol, rest in zip(symbols.symbols[::-1].tolist(), symbols.rests[::-1].tolist(), strict=True):
        plain, frequency = bits[symbol], frequencies[symbol]
        if plain:
            while state >= (LOW << 8) >> plain:
                out.append(state & 0xFF)
                state >>= 8
            state = state << plain | rest
        while state >= (LOW >> SCALE_BITS << 8) * frequency:
            out.append(state & 0xFF)
            state >>= 8
        state = (state // frequency << SCALE_BITS) + state % frequency + starts[symbol]
    return state.to_bytes(STATE_BYTES, "little") + bytes(out[::-1])


def decoded(data: bytes, table: Table, count: int) -> Symbols:
    """What `encoded` was given.

    Raises:
        ValueError: bytes that do not end with the last symbol.
    """
    if len(data) < STATE_BYTES:
        raise ValueError(f"{len(data)} bytes")
    state = int.from_bytes(data[:STATE_BYTES], "little")
    if not LOW <= state < LOW << 8:
        raise ValueError("a state that no encoder ends with")
    lookup = np.repeat(np.arange(len(table.frequencies)), table.frequencies).tolist()
    frequencies, starts, bits = table.frequencies.tolist(), table.starts.tolist(), SYMBOL_BITS.tolist()
    symbols, rests = np.zeros(count, np.int64), np.zeros(count, np.int64)
    place = STATE_BYTES
    for index in range(count):
        slot = state & _MASK
        symbol = lookup[slot]
        symbols[index] = symbol
        state = frequencies[symbol] * (state >> SCALE_BITS) + slot - starts[symbol]
        state, place = _refilled(state, data, place)
        if plain := bits[symbol]:
            rests[index] = state & ((1 << plain) - 1)
            state, place = _refilled(state >> plain, data, place)
    if (state, place) != (LOW, len(data)):
        raise ValueError("bytes that end in another state")
    return Symbols(symbols, rests)


def _refilled(state: int, data: Sequence[int], place: int) -> tuple[int, int]:
    while state < LOW:
        if place == len(data):
            raise ValueError("too few bytes")
        state, place = state << 8 | data[place], place + 1
    return state, place
