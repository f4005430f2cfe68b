"""The grid of a signal that errs least on the values that it was seen to take."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

_STEPS = 255
_LOWEST, _HIGHEST = -128, 127
_BINS = 8192  # 32 in a step of the widest grid, so that their own width adds a thousandth to its error
_FACTORS = np.linspace(0.2, 1.0, 41)


@dataclass(frozen=True)
class Grid:
    """The 256 numbers that a signal in int8 can be.

    Attributes:
        scale: a step, in float32 as the file has it.
        zero_point: the integer that stands for 0.
    """

    scale: float
    zero_point: int

    @classmethod
    def between(cls, low: float, high: float) -> Self:
        """The grid from about `low <= 0` to about `high >= 0`, with 0 on it."""
        scale = float(np.float32((high - low) / _STEPS))
        return cls(scale, int(np.clip(np.round(_LOWEST - low / scale), _LOWEST, _HIGHEST)))

    @property
    def low(self) -> float:
        """The lowest number."""
        return (_LOWEST - self.zero_point) * self.scale

    @property
    def high(self) -> float:
        """The highest number."""
        return (_HIGHEST - self.zero_point) * self.scale

    def rounded(self, values: NDArray[np.floating]) -> NDArray[np.floating]:
        """The nearest numbers of the grid."""
        integers = np.clip(np.round(values / self.scale) + self.zero_point, _LOWEST, _HIGHEST)
        rounded: NDArray[np.floating] = (integers - self.zero_point) * self.scale
        return rounded


class Seen:
    """The values that a signal took, counted in bins as they come.

    Args:
        grid: a grid that holds them all.
    """

    def __init__(self, grid: Grid) -> None:
        edges = np.linspace(grid.low, grid.high, _BINS + 1)
        self._ends = (grid.low, grid.high)
        self._middles = (edges[:-1] + edges[1:]) / 2
        self._counts = np.zeros(_BINS)
        self._all, self._sum, self._squares = 0, 0.0, 0.0

    def add(self, values: NDArray[np.floating]) -> None:
        """Counts more values.

        Args:
            values: of any shape. A zero is on every grid and is not put into a bin, whose middle would not be.
        """
        exact = values.astype(np.float64)
        self._all += exact.size
        self._sum += float(exact.sum())
        self._squares += float(np.square(exact).sum())
        self._counts += np.histogram(np.clip(exact[exact != 0], *self._ends), _BINS, self._ends)[0]

    @property
    def variance(self) -> float:
        """Of all values."""
        return self._squares / self._all - (self._sum / self._all) ** 2 if self._all else 0.0

    def error(self, grid: Grid) -> float:
        """Mean square of what a grid changes the values by, over their variance."""
        squares = np.square(grid.rounded(self._middles) - self._middles)
        return float(self._counts @ squares) / self._all / self.variance


def least_error(signals: Sequence[Seen], grid: Grid) -> Grid:
    """The narrower grid with the least error, which rounds finer and cuts off the few values beyond it.

    A range from the least to the largest value has steps as wide as its farthest outlier asks for. A narrower one is
    found by its error on the values (Sung et al. 2015, arXiv 1511.06488, section 3; Banner et al., NeurIPS 2019, arXiv
    1810.05723, equation 5, with counted values in place of a distribution): first both ends by one factor, then each by
    its own.

    Args:
        signals: those that share the grid, each of a variance above 0: their errors are added.
        grid: one that holds all their values.

    Returns:
        The grid with the least sum; the given one where none is better.
    """

    def error(each: Grid) -> float:
        return sum(seen.error(each) for seen in signals)

    def narrowed(low: NDArray[np.floating], high: NDArray[np.floating], known: Grid) -> Grid:
        ends = np.broadcast_arrays(low, high)
        return _least([known, *(Grid.between(float(a), float(b)) for a, b in zip(*ends, strict=True) if a < b)], error)

    best = narrowed(_FACTORS * grid.low, _FACTORS * grid.high, grid)
    best = narrowed(_FACTORS * grid.low, np.array([best.high]), best) if grid.low < 0 < grid.high else best
    return narrowed(np.array([best.low]), _FACTORS * grid.high, best) if grid.low < 0 < grid.high else best


def _least(grids: Sequence[Grid], error: Callable[[Grid], float]) -> Grid:
    return min(grids, key=error)
