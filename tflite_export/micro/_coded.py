"""Int8 weights in nearly as few bytes as their values are worth, which a decoder of a few hundred bytes reads."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tflite_export.micro._check import checked, damaged, unchecked
from tflite_export.micro._rans import decoded, encoded, ideal_bits
from tflite_export.micro._symbols import MOST_SYMBOLS, Alphabet, Symbols
from tflite_export.micro._table import Table, table_bytes

_MOST_BOOK = 255
_WHAT = "A layer of coded weights"


@dataclass(frozen=True)
class Coded:
    """A layer as a microcontroller reads it.

    Attributes:
        data: its own bytes.
        table: bytes of the table, which layers may share.
    """

    data: bytes
    table: bytes


def encode(values: NDArray[np.int8]) -> Coded:
    """Codes one layer with a table of its own.

    Each weight is an rANS symbol: the commonest value, 0 as a rule, or one of 27 distances from it in either
    direction, exact below 8 and four an octave above, with plain bits that tell the rest. Zeros take a fraction of a
    bit where most weights are zero, which no Huffman code of single values gives; words of fewer bits take less by
    their step; and shared values, which lie anywhere, are places in a list of them. Frequencies are a byte a symbol.

    Args:
        values: int8 weights, any shape.

    Returns:
        The layer; `decode` gives the weights back.

    Raises:
        ValueError: weights of another type.
    """
    return encode_together([values])[0]


def encode_together(layers: Sequence[NDArray[np.int8]], *, table_cost_bytes: int = 0) -> list[Coded]:
    """Codes layers, with as few tables as make the fewest bytes.

    Tables are joined in pairs, greedily, those first that save most.

    Args:
        layers: int8 weights, any shapes.
        table_cost_bytes: what a table costs besides its own bytes, such as its tensor in a file.

    Returns:
        Each layer; those that share a table have equal bytes of it.

    Raises:
        ValueError: weights of another type.
    """
    flat = [_checked(values) for values in layers]
    groups = [_Group.of((index,), flat) for index in range(len(flat))]
    groups = _joined(groups, flat, table_cost_bytes)
    coded: dict[int, Coded] = {}
    for group in groups:
        table = Table.of(group.counts, group.alphabet)
        for index in group.layers:
            symbols = Symbols.of(group.alphabet.places(flat[index]))
            coded[index] = Coded(checked(encoded(symbols, table)), table.to_bytes())
    return [coded[index] for index in range(len(flat))]


def decode(coded: Coded, count: int) -> NDArray[np.int8]:
    """The weights of a layer.

    Args:
        coded: the layer.
        count: how many weights it has.

    Returns:
        Shape (count,).

    Raises:
        ValueError: these bytes are not what `encode` gave for so many weights.
    """
    table, data = Table.from_bytes(coded.table), unchecked(coded.data, _WHAT)
    try:
        return table.alphabet.values(decoded(data, table, count).places)
    except ValueError as error:
        raise ValueError(damaged(_WHAT, f"{len(coded.data)} bytes for {count} weights: {error}")) from error


def _checked(values: NDArray[np.int8]) -> NDArray[np.int8]:
    if values.dtype != np.int8:
        raise ValueError(f"Weights must be int8. Received: dtype={values.dtype}. Quantize the layer first.")
    return np.ascontiguousarray(values).reshape(-1)


@dataclass(frozen=True)
class _Group:
    """Layers with one table.

    Attributes:
        layers: which.
        alphabet: of their values.
        counts: of their symbols, shape (55,).
    """

    layers: tuple[int, ...]
    alphabet: Alphabet
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, layers: tuple[int, ...], flat: Sequence[NDArray[np.int8]]) -> "_Group":
        """The group with the alphabet that makes fewer bytes."""
        values = np.concatenate([flat[index] for index in layers])
        alphabets = [Alphabet.multiples(values)]
        if 0 < len(np.unique(values)) <= _MOST_BOOK:
            alphabets.append(Alphabet.listed(values))
        drafts = [
            cls(layers, each, np.bincount(Symbols.of(each.places(values)).symbols, minlength=MOST_SYMBOLS))
            for each in alphabets
        ]
        return min(drafts, key=lambda draft: draft.size_bytes)

    @property
    def size_bytes(self) -> float:
        """Of the layers and the table, about."""
        used = int(np.flatnonzero(self.counts)[-1]) + 1 if self.counts.any() else 1
        return ideal_bits(self.counts) / 8 + table_bytes(used, self.alphabet)


def _joined(groups: list[_Group], flat: Sequence[NDArray[np.int8]], table_cost: int) -> list[_Group]:
    """Groups joined in pairs while that saves bytes."""
    pairs: dict[tuple[tuple[int, ...], tuple[int, ...]], _Group] = {}
    while True:
        best, saved = None, 0.0
        for place, one in enumerate(groups):
            for other in groups[place + 1 :]:
                key = (one.layers, other.layers)
                if key not in pairs:
                    pairs[key] = _Group.of((*one.layers, *other.layers), flat)
                gain = one.size_bytes + other.size_bytes + table_cost - pairs[key].size_bytes
                if gain > saved:
                    best, saved = (one, other, pairs[key]), gain
        if best is None:
            return groups
        groups = [each for each in groups if each is not best[0] and each is not best[1]] + [best[2]]
