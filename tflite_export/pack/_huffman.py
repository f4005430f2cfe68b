"""Weights as codewords of a Huffman code, which the tensors of a group share."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tf_structprune.storage import Code, huffman
from tflite_export.file import TFLM_DECODE
from tflite_export.pack._coder import LOWEST, Coded, Form, Weights, counts_of
from tflite_export.pack._header import HEADER_BYTES, content, header, is_kind
from tflite_export.pack._huffman_read import decoded_symbols
from tflite_export.pack._huffman_tables import Tables, tables_of, tables_size

_KIND = 1
_ENTRY_BYTES = 2
_WORD_BITS = 32
_CHUNK = 2**15  # codewords that are written at once: their bits take 32 bytes each for a moment


class Huffman:
    """The code of least bits for all weights of a group, none shorter than one bit, with tables of 16-bit entries.

    Tables for int8 have 510 entries at most, so offsets of 11 bits reach any of them.
    """

    operator = TFLM_DECODE
    weights_a_byte = 8

    def size_bytes(self, group: Sequence[Weights]) -> int | None:
        """See `Coder`."""
        counts = counts_of(group)
        code = huffman(counts, least=1)
        words = sum(-(-code.bits(weights.counts) // _WORD_BITS) for weights in group)
        return HEADER_BYTES + _ENTRY_BYTES * tables_size(code, counts) + words * _WORD_BITS // 8

    def encode(self, group: Sequence[Weights]) -> Coded:
        """See `Coder`."""
        counts = counts_of(group)
        code = huffman(counts, least=1)
        tables = tables_of(code, counts)
        encoded = [_written(code, tables, weights.values.ravel().astype(np.int64) - LOWEST) for weights in group]
        return Coded(tuple(encoded), ancillary(tables, wide=False))

    def reads(self, ancillary: bytes) -> bool:
        """See `Coder`."""
        return is_kind(ancillary, _KIND)

    def decode(self, encoded: bytes, ancillary: bytes, form: Form) -> NDArray[np.int8]:
        """See `Coder`."""
        wide, first_bits = bool(ancillary[5] & 1), (ancillary[5] >> 4) + 1
        stored = content(ancillary)
        entries = stored[: len(stored) // 4 * 4].view("<u4") if wide else stored[: len(stored) // 2 * 2].view("<u2")
        if form.elements > 8 * len(encoded):
            raise ValueError(f"{len(encoded)} bytes for {form.elements} codewords")
        symbols = decoded_symbols(encoded, entries, first_bits, form.elements)
        return symbols.astype(np.uint8).view(np.int8)


def ancillary(tables: Tables, *, wide: bool) -> bytes:
    """Header and tables.

    Args:
        tables: of a code of values from -128 on.
        wide: with entries of 32 bits, which TFLite Micro reads as well.
    """
    entries = tables.entries(LOWEST, wide=wide).tobytes()
    return header(_KIND, int(wide) | (tables.first_bits - 1) << 4) + entries


def _written(code: Code, tables: Tables, symbols: NDArray[np.int64]) -> bytes:
    """Codewords one behind the other in whole words, with all that a reader of `tables` asks for behind the last one.

    It takes the bits of a whole table and puts back what it did not need.
    """
    lengths = code.lengths[symbols].astype(np.int64)
    starts = np.cumsum(lengths) - lengths
    asked = int((starts + tables.reach[symbols]).max())
    bits = np.zeros(-(-asked // _WORD_BITS) * _WORD_BITS, np.uint8)
    for first in range(0, len(symbols), _CHUNK):
        some = slice(first, first + _CHUNK)
        owner = np.repeat(np.arange(len(lengths[some])), lengths[some])
        place = np.arange(len(owner)) - (starts[some] - starts[first])[owner]
        words = code.codes[symbols[some]].astype(np.int64)
        begun = starts[first]
        bits[begun : begun + len(owner)] = (words[owner] >> (lengths[some][owner] - 1 - place)) & 1
    return np.packbits(bits).tobytes()
