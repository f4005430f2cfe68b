"""Words of which a layer uses only a few: weight sharing on a grid that integers are written with."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tf_structprune.fixed_point._format import finite, to_integers, word_range
from tf_structprune.fixed_point._sharing import check_sharing, share_values
from tf_structprune.fixed_point._step import optimal_step


@dataclass(frozen=True)
class SharedGrid:
    """A few of the words of weights; the calibration is their step, then the words, ascending. Ties go down.

    A file of integers holds them as any others, and a code of it is short: see `share_values`. Zero is not among them
    where it stands for what was pruned, which a layer keeps by itself.

    Attributes:
        values: number of words that are used, 2 or more.
        method: by which they are chosen, see `share_values`.
        bits: word length, 2 to 8.
        power_of_two: whether the step is a power of two.

    Raises:
        ValueError: a number of values, a method or a word length that there is not.
    """

    values: int = 16
    method: str = "cws"
    bits: int = 8
    power_of_two: bool = True

    def __post_init__(self) -> None:
        """Checks all of them."""
        word_range(self.bits)
        check_sharing(self.values, self.method)

    @property
    def shape(self) -> tuple[int, ...]:
        """The step and the words."""
        return (self.values + 1,)

    def fit(self, values: ArrayLike) -> NDArray[np.float64]:
        """Shared values of the weights that are not zero, each moved to the nearest word."""
        real = finite(values).ravel()
        kept = real[real != 0]
        step = float(optimal_step(real, self.bits, power_of_two=self.power_of_two))
        words = np.zeros(1)
        if kept.size:
            count = min(self.values, kept.size)
            book = share_values(kept, count, self.method).book if count > 1 else kept
            words = np.unique(to_integers(book, step, self.bits))
        filled = np.concatenate([words, np.full(self.values - len(words), words[-1])])
        return np.concatenate([[step], filled]).astype(np.float64)

    def ends(self, calibration: Any) -> tuple[int, int]:
        """See `word_range`: what the words could be."""
        return word_range(self.bits)

    def words(self, values: Any, calibration: Any, xp: Any = np) -> Any:
        """The nearest of the words that are used."""
        book = calibration[1:]
        middles = (book[1:] + book[:-1]) / 2 * calibration[0]
        nearest = xp.take(book, xp.searchsorted(middles, xp.reshape(values, (-1,))))
        return xp.reshape(nearest, values.shape)

    def numbers(self, words: Any, calibration: Any, xp: Any = np) -> Any:
        """Multiples of the step."""
        return words * calibration[0]

    def step(self, calibration: Any) -> Any:
        """The first of the calibration."""
        return calibration[0]
