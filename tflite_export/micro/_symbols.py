"""Weights as symbols: how far a value is from the commonest one, exact near it and with plain bits farther off."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_EXACT = 8  # distances below it have a symbol each
_QUARTERS = 4  # symbols of each octave above
_MOST_BITS = 5  # plain bits; the largest distance is 255
MOST_SYMBOLS = 1 + 2 * (_EXACT - 1 + _QUARTERS * _MOST_BITS)  # 55: 0, and both signs of the others

_BASES = np.array(
    [*range(_EXACT)] + [(_QUARTERS + part) << bits for bits in range(1, _MOST_BITS + 1) for part in range(_QUARTERS)]
)
"""Least distance of each class, shape (28,)."""
_BITS = np.array([0] * _EXACT + [bits for bits in range(1, _MOST_BITS + 1) for _ in range(_QUARTERS)])

SYMBOL_BITS = _BITS[(np.arange(MOST_SYMBOLS) + 1) // 2]
"""Plain bits behind each symbol, shape (55,)."""


@dataclass(frozen=True)
class Alphabet:
    """Which value a place stands for: a multiple of a step, or an entry of a book.

    Attributes:
        step: 1 to 128; 1 where there is a book.
        book: values in rising order, none where there is a step.
        pivot: place in the book of the commonest value, which is symbol 0.
    """

    step: int
    book: tuple[int, ...] = ()
    pivot: int = 0

    @classmethod
    def multiples(cls, values: NDArray[np.int64]) -> "Alphabet":
        """Multiples of the largest step that all values are multiples of."""
        return cls(int(np.gcd.reduce(values, initial=0)) or 1)

    @classmethod
    def listed(cls, values: NDArray[np.int64], commonest: int) -> "Alphabet":
        """A book of values in rising order, 255 at most, and the place of the commonest."""
        return cls(1, tuple(values.tolist()), commonest)

    def places(self, values: NDArray[Any]) -> NDArray[np.int64]:
        """Distance of each value from symbol 0's, in places."""
        if self.book:
            return np.searchsorted(np.array(self.book), values.astype(np.int64)) - self.pivot
        return values.astype(np.int64) // self.step

    def values(self, places: NDArray[np.int64]) -> NDArray[np.int8]:
        """What `places` was given.

        Raises:
            ValueError: places of no value.
        """
        if self.book:
            at = places + self.pivot
            if np.any((at < 0) | (at >= len(self.book))):
                raise ValueError("values beyond the book")
            return np.array(self.book, np.int8)[at]
        values = places * self.step
        if np.any((values < -128) | (values > 127)):
            raise ValueError("values beyond int8")
        return values.astype(np.int8)


@dataclass(frozen=True)
class Symbols:
    """Places as symbols.

    Attributes:
        symbols: shape (n,): 0 for the commonest value, then + and - of each class of distances.
        rests: the plain bits of each, as a number.
    """

    symbols: NDArray[np.int64]
    rests: NDArray[np.int64]

    @classmethod
    def of(cls, places: NDArray[np.int64]) -> "Symbols":
        """Symbols of places from -255 to 255."""
        far = np.abs(places)
        kind = np.searchsorted(_BASES, far, side="right") - 1
        symbols = np.where(kind == 0, 0, 2 * kind - (places > 0))
        return cls(symbols, far - _BASES[kind])

    @property
    def places(self) -> NDArray[np.int64]:
        """What `of` was given."""
        far = _BASES[(self.symbols + 1) // 2] + self.rests
        return np.where(self.symbols % 2 == 1, far, -far)
