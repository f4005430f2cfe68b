"""How often each symbol comes, in a byte a symbol, and what it stands for: a table that layers may share."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tflite_export.micro._check import checked, damaged, unchecked
from tflite_export.micro._symbols import MOST_SYMBOLS, SYMBOL_BITS, Alphabet, Symbols

SCALE_BITS = 12
SCALE = 1 << SCALE_BITS
"""What all frequencies add up to."""

VALUES = 256  # of int8

_VERSION = 1
_HEADER = 5  # version, symbols, step, size of the book, pivot
_STEPS = 8  # frequencies an octave
_MOST_CODE = _STEPS * SCALE_BITS
_CODES = np.arange(_MOST_CODE + 1)
_FREQUENCIES = np.where(_CODES == 0, 0, ((_STEPS | _CODES % _STEPS) << _CODES // _STEPS) // _STEPS)
"""Frequency of each code, rising, shape (97,); 1 up to 4096, within 6.3 % of any number in between."""
_SCALES = np.geomspace(0.85, 1.15, 61)
_WHAT = "A table of coded weights"


@dataclass(frozen=True)
class Table:
    """Frequencies of symbols, and their alphabet.

    Attributes:
        codes: of the frequencies of symbol 1, 2, ...; symbol 0 has what is left of 4096.
        alphabet: values of the symbols.
    """

    codes: tuple[int, ...]
    alphabet: Alphabet

    @classmethod
    def of(cls, values: NDArray[np.int64]) -> "Table":
        """The table for weights, with the alphabet that makes fewer bytes.

        Args:
            values: how often each value from -128 to 127 occurs, shape (256,).
        """
        present = np.flatnonzero(values)
        alphabets = [Alphabet.multiples(present - VALUES // 2)]
        if 0 < len(present) < VALUES:
            alphabets.append(Alphabet.listed(present - VALUES // 2, int(values[present].argmax())))
        drafts = [cls._fitted(values, alphabet) for alphabet in alphabets]
        return min(drafts, key=lambda draft: draft.bits(values) + 8 * len(draft.to_bytes()))

    @classmethod
    def _fitted(cls, values: NDArray[np.int64], alphabet: Alphabet) -> "Table":
        """With an alphabet, and of the coarse frequencies those that make the fewest bits."""
        counts = _symbol_counts(values, alphabet)
        used = int(np.flatnonzero(counts)[-1]) + 1 if counts.any() else 1
        counts = counts[:used]
        exact = counts[1:] * (SCALE / max(1, counts.sum()))
        drafts = _rounded(exact * _SCALES[:, None])
        draft = _with_room(counts, drafts[int(_cost(counts, drafts).argmin())])
        return cls(tuple(_improved(counts, draft).tolist()), alphabet)

    def bits(self, values: NDArray[np.int64]) -> float:
        """Bits of weights whose values occur so often, shape (256,); each of them must be in the table."""
        counts = _symbol_counts(values, self.alphabet)[: len(self.codes) + 1]
        return float(_cost(counts, np.array(self.codes, np.int64)))

    @cached_property
    def frequencies(self) -> NDArray[np.int64]:
        """Of each symbol, shape (symbols,); they add up to 4096."""
        others = _FREQUENCIES[list(self.codes)] if self.codes else np.zeros(0, np.int64)
        return np.concatenate([[SCALE - others.sum()], others])

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """Sum of the frequencies of those before, shape (symbols + 1,)."""
        return np.concatenate([[0], np.cumsum(self.frequencies)])

    def to_bytes(self) -> bytes:
        """As a microcontroller reads it."""
        alphabet = self.alphabet
        head = (_VERSION, len(self.codes) + 1, alphabet.step, len(alphabet.book), alphabet.pivot)
        return checked(bytes([*head, *self.codes, *(value & 0xFF for value in alphabet.book)]))

    @classmethod
    def from_bytes(cls, data: bytes) -> "Table":
        """What `to_bytes` gave.

        Raises:
            ValueError: other bytes.
        """
        body = unchecked(data, _WHAT)
        if len(body) < _HEADER or body[0] != _VERSION:
            raise ValueError(damaged(_WHAT, f"version {body[0] if body else 'none'}, not {_VERSION}"))
        _, symbols, step, size, pivot = body[:_HEADER]
        codes = body[_HEADER : _HEADER + symbols - 1]
        if not 1 <= symbols <= MOST_SYMBOLS or len(body) != _HEADER + symbols - 1 + size:
            raise ValueError(damaged(_WHAT, f"{len(data)} bytes for {symbols} symbols"))
        if max(codes, default=0) > _MOST_CODE or _FREQUENCIES[list(codes)].sum() > SCALE:
            raise ValueError(damaged(_WHAT, "frequencies of more than one"))
        book = np.frombuffer(body[_HEADER + symbols - 1 :], np.int8)
        return cls(tuple(codes), Alphabet(step, tuple(int(value) for value in book), pivot))


def is_table(data: bytes) -> bool:
    """Whether bytes begin as a table does."""
    return len(data) > _HEADER and data[0] == _VERSION


def _symbol_counts(values: NDArray[np.int64], alphabet: Alphabet) -> NDArray[np.int64]:
    """How often each symbol occurs, shape (55,)."""
    present = np.flatnonzero(values)
    symbols = Symbols.of(alphabet.places(present - VALUES // 2)).symbols
    return np.bincount(symbols, values[present], MOST_SYMBOLS).astype(np.int64)


def _rounded(exact: NDArray[np.float64]) -> NDArray[np.int64]:
    """Codes of the nearest frequencies, of at least one for symbols that occur."""
    upper = np.searchsorted(_FREQUENCIES, exact).clip(0, _MOST_CODE)
    lower = (upper - 1).clip(0)
    nearer = np.where(_FREQUENCIES[upper] - exact < exact - _FREQUENCIES[lower], upper, lower)
    return np.where(exact > 0, _first_code(nearer.clip(1)), 0)


def _first_code(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """The first of the codes with the same frequency."""
    return np.searchsorted(_FREQUENCIES, _FREQUENCIES[codes])


def _cost(counts: NDArray[np.int64], codes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Bits of all symbols, with their plain bits; infinite where one that occurs has no frequency.

    Args:
        counts: of each symbol, shape (symbols,).
        codes: of each but the first, shape (..., symbols - 1).

    Returns:
        Shape (...).
    """
    others = _FREQUENCIES[codes]
    each = np.concatenate([SCALE - others.sum(axis=-1, keepdims=True), others], axis=-1)
    bits = SCALE_BITS - np.log2(np.maximum(each, 1))
    impossible = np.any((each <= 0) & (counts > 0), axis=-1) | (each[..., 0] < 0)
    return np.where(impossible, np.inf, bits @ counts + counts @ SYMBOL_BITS[: len(counts)])


def _improved(counts: NDArray[np.int64], codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Codes of which one at a time goes a step up or down, as long as that makes fewer bits."""
    places = np.flatnonzero(counts[1:])
    while len(places):
        changed = np.repeat(codes[None], 2 * len(places), axis=0)
        rows = np.arange(len(places))
        changed[2 * rows, places] = _SMALLER[codes[places]]
        changed[2 * rows + 1, places] = _LARGER[codes[places]]
        bits = _cost(counts, changed)
        best = int(bits.argmin())
        if not bits[best] < _cost(counts, codes) - 1e-9:
            break
        codes = changed[best]
    return codes


def _with_room(counts: NDArray[np.int64], codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Codes whose largest ones were lowered until symbol 0 has room."""
    codes = codes.copy()
    while not np.isfinite(_cost(counts, codes)):
        largest = int(codes.argmax())
        codes[largest] = _SMALLER[codes[largest]]
    return codes


_SMALLER = np.maximum(1, _first_code((_first_code(_CODES) - 1).clip(0)))
"""Code of the next smaller frequency of at least 1."""
_LARGER = np.array([int(np.searchsorted(_FREQUENCIES, _FREQUENCIES[code], side="right")) for code in _CODES]).clip(
    0, _MOST_CODE
)
