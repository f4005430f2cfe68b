"""Int8 weights in nearly as few bytes as their values are worth, which a decoder of a few hundred bytes reads."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tflite_export.micro._check import CHECK_BYTES, checked, damaged, unchecked
from tflite_export.micro._rans import STATE_BYTES, decoded, encoded
from tflite_export.micro._symbols import Symbols
from tflite_export.micro._table import VALUES, Table

_WHAT = "A layer of coded weights"


@dataclass(frozen=True)
class Coded:
    """Layers as a microcontroller reads them.

    Attributes:
        data: the bytes of each.
        table: bytes of the table that they share.
    """

    data: tuple[bytes, ...]
    table: bytes

    @property
    def size_bytes(self) -> int:
        """All of them."""
        return sum(map(len, self.data)) + len(self.table)


def encode(layers: Sequence[NDArray[np.int8]]) -> Coded:
    """Codes layers with one table.

    Each weight is an rANS symbol: the commonest value, 0 as a rule, or one of 27 distances from it in either
    direction, exact below 8 and four an octave above, with plain bits that tell the rest. Zeros take a fraction of a
    bit where most weights are zero, which no Huffman code of single values gives; words of fewer bits take less by
    their step; and shared values, which lie anywhere, are places in a list of them. Frequencies are a byte a symbol.

    Args:
        layers: int8 weights, any shapes.

    Returns:
        The layers; `decode` gives the weights back.

    Raises:
        ValueError: weights of another type.
    """
    flat = [_checked(values) for values in layers]
    table = Table.of(sum((_counts(values) for values in flat), np.zeros(VALUES, np.int64)))
    data = (checked(encoded(Symbols.of(table.alphabet.places(values)), table)) for values in flat)
    return Coded(tuple(data), table.to_bytes())


def coded_bytes(counts: Sequence[NDArray[np.int64]]) -> int:
    """What `encode` gives for layers, to a few bytes, by the values in them alone.

    Args:
        counts: of each layer, how often each value from -128 to 127 occurs, shape (256,).
    """
    table = Table.of(np.sum(counts, axis=0, dtype=np.int64))
    fixed = STATE_BYTES + CHECK_BYTES
    return len(table.to_bytes()) + sum(fixed + max(0, int(table.bits(each) / 8) - 1) for each in counts)


def decode(data: bytes, table: bytes, count: int) -> NDArray[np.int8]:
    """The weights of a layer.

    Args:
        data: its bytes.
        table: bytes of its table.
        count: how many weights it has.

    Returns:
        Shape (count,).

    Raises:
        ValueError: these bytes are not what `encode` gave for so many weights.
    """
    shared, coded = Table.from_bytes(table), unchecked(data, _WHAT)
    try:
        return shared.alphabet.values(decoded(coded, shared, count).places)
    except ValueError as error:
        raise ValueError(damaged(_WHAT, f"{len(data)} bytes for {count} weights: {error}")) from error


def _checked(values: NDArray[np.int8]) -> NDArray[np.int8]:
    if values.dtype != np.int8:
        raise ValueError(f"Weights must be int8. Received: dtype={values.dtype}. Quantize the layer first.")
    return np.ascontiguousarray(values).reshape(-1)


def _counts(values: NDArray[np.int8]) -> NDArray[np.int64]:
    return np.bincount(values.astype(np.int64) + VALUES // 2, minlength=VALUES)
