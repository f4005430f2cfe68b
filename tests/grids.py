"""A grid that is no product, to hold that a quantizer takes any."""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Codebook:
    """Some shared numbers, ascending; the calibration is those. Ties go down."""

    levels: int = 4

    @property
    def bits(self) -> int:
        return (self.levels - 1).bit_length()

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.levels,)

    def fit(self, values: Any) -> Any:
        values = np.asarray(values, np.float64).ravel()
        book = np.quantile(values, (np.arange(self.levels) + 0.5) / self.levels)
        for _ in range(20):
            words = self.words(values, book)
            book = np.array([values[words == k].mean() if (words == k).any() else book[k] for k in range(self.levels)])
        return book

    def ends(self, calibration: Any) -> tuple[int, int]:
        return 0, self.levels - 1

    def words(self, values: Any, calibration: Any, xp: Any = np) -> Any:
        words = xp.zeros_like(values)
        for k in range(1, self.levels):
            middle = (calibration[k - 1] + calibration[k]) / 2
            words = words + xp.where(values > middle, xp.ones_like(values), xp.zeros_like(values))
        return words

    def numbers(self, words: Any, calibration: Any, xp: Any = np) -> Any:
        numbers = calibration[0]
        for k in range(1, self.levels):
            numbers = xp.where(words >= k, calibration[k], numbers)
        return numbers

    def step(self, calibration: Any) -> Any:
        return calibration[0] * 0
