"""The step of a uniform quantizer that makes the squared error least, exactly.

Anwar, Hwang, Sung (ICASSP 2015) alternate two moves that each lower the error: round to the levels, fit the
step by least squares. That ends in a local minimum. Here every assignment of levels that rounding can give is
looked at: as the step shrinks, `|w| / step` passes a rounding threshold at `step = |w| / (k - 1/2)`, and only
there does the level of one weight change from k - 1 to k. Between two thresholds the error is a parabola in
the step, with its least value `sum(w**2) - A**2 / B` at `step = A / B`, for `A = sum(|w| z)` and
`B = sum(z**2)` with the levels z. Running sums over the sorted thresholds give the global minimum; intervals of
steps that cannot hold it are left out by a bound.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tf_structprune.fixed_point._format import QFormat, finite, word_range

_Real = NDArray[np.float64]

_THRESHOLDS_AT_ONCE = 2**15  # sorting so many costs about as much as bounding two intervals
_ROUNDS = 10  # of Anwar, Hwang, Sung's iteration, for a first bound
_NOISE = 1e-13  # of the sums below; within it two steps do equally well
_HARMLESS = 1.0  # step where every value is zero and any step is as good


def optimal_step(
    values: ArrayLike, bits: int, *, power_of_two: bool = False, signed: bool = True, axis: int | None = None
) -> _Real:
    """The step with the least squared error `sum((to_grid(values, step, bits) - values)**2)`.

    Deterministic and global: no other step, or no other power of two, does better, up to rounding in double
    precision (1e-13 of the sum of squares). Of steps that do equally well the largest is taken.

    Args:
        values: finite real numbers, any shape; zeros (pruned weights) cost nothing and stay zero.
        bits: word length, see `word_range`.
        power_of_two: take only steps `2**n` with integer n, for shifts instead of multiplications.
        signed: whether the word has a sign; without one, negative numbers count as 0.
        axis: axis of the channels (-1 in Keras kernels) for one step each; None for one step.

    Returns:
        Steps of shape `()`, or `(channels,)` when `axis` is given; 1 where all values are zero.

    Raises:
        ValueError: a word length that is not supported, or a value that is not finite.
    """
    _, largest = word_range(bits, signed=signed)
    real = finite(values)
    magnitudes = np.abs(real) if signed else np.maximum(real, 0.0)
    search = _best_power_of_two if power_of_two else _best_step
    if axis is None:
        return np.asarray(_search_scaled(magnitudes.ravel(), largest, search), np.float64)
    channels = np.moveaxis(magnitudes, axis, 0)
    return np.array([_search_scaled(channel.ravel(), largest, search) for channel in channels], np.float64)


def optimal_format(values: ArrayLike, bits: int, *, signed: bool = True) -> QFormat:
    """The Q-format with the least squared error.

    Args:
        values: finite real numbers, any shape.
        bits: word length, see `word_range`.
        signed: whether the word has a sign.

    Returns:
        The format with `step == optimal_step(values, bits, power_of_two=True, signed=signed)`.

    Raises:
        ValueError: as `optimal_step`.
    """
    step = optimal_step(values, bits, power_of_two=True, signed=signed)
    _, exponent = np.frexp(step)
    return QFormat(bits, 1 - int(exponent), signed)


def _search_scaled(magnitudes: _Real, largest: int, search: Callable[[_Real, int], float]) -> float:
    """Searches with the largest magnitude brought to [1/2, 1) by a power of two, which rounds nothing."""
    nonzero = magnitudes[magnitudes > 0]
    if not nonzero.size:
        return _HARMLESS
    _, exponent = np.frexp(nonzero.max())
    return float(np.ldexp(search(np.sort(np.ldexp(nonzero, -exponent)), largest), exponent))


def _levels(magnitudes: _Real, step: float, largest: int) -> _Real:
    return np.minimum(np.floor(magnitudes / step + 0.5), largest)


def _error(magnitudes: _Real, step: float, largest: int) -> float:
    """Squared error of rounding."""
    return float(np.square(magnitudes - step * _levels(magnitudes, step, largest)).sum())


def _clipped(magnitudes: _Real, step: float, largest: int) -> float:
    """The part of the squared error that saturation makes; it only grows as the step shrinks."""
    return float(np.square(np.maximum(magnitudes - largest * step, 0.0)).sum())


def _best_power_of_two(magnitudes: _Real, largest: int) -> float:
    """Tries the powers of two downwards, until saturation alone costs more than the best so far."""
    best, least, step = 1.0, _error(magnitudes, 1.0, largest), 1.0
    while _clipped(magnitudes, step, largest) < least:
        step /= 2
        error = _error(magnitudes, step, largest)
        if error < least:
            best, least = step, error
    return best


def _best_step(magnitudes: _Real, largest: int) -> float:
    """The best step for sorted magnitudes, the largest of them in [1/2, 1), by branch and bound."""
    table = _Assignments(magnitudes, largest)
    noise = _NOISE * table.energy
    best, found = float(magnitudes[-1]) / largest, np.inf
    for _ in range(_ROUNDS):
        best = _fit(magnitudes, best, largest)
    least = _error(magnitudes, best, largest)  # known to be reached, though perhaps by a step yet to come
    waiting = _octaves(magnitudes, largest, least + noise)
    while waiting:
        low, high = waiting.pop()
        middle = (low * high) ** 0.5
        if table.bound(low, middle, high) > least + noise:
            continue
        if table.count(low, high) > _THRESHOLDS_AT_ONCE and low < middle < high:
            waiting += [(low, middle), (middle, high)]
            continue
        error, step = table.best_between(low, high)
        if error < found - noise:
            best, found = step, error
        least = min(least, error)
    return _fit(magnitudes, best, largest)  # sheds the rounding of the running sums


def _octaves(magnitudes: _Real, largest: int, error: float) -> list[tuple[float, float]]:
    """Intervals of steps from 2, above which every level is 0, down to where saturation alone is worse."""
    high, octaves = 2.0, []
    while _clipped(magnitudes, high, largest) <= error:
        octaves.append((high / 2, high))
        high /= 2
    return octaves[::-1]


def _fit(magnitudes: _Real, step: float, largest: int) -> float:
    """The step of least squares for the levels that a step gives."""
    levels = _levels(magnitudes, step, largest)
    return float(magnitudes @ levels / (levels @ levels))


class _Assignments:
    """All assignments of levels that rounding can give, and the error with the best step for each."""

    def __init__(self, magnitudes: _Real, largest: int) -> None:
        self._magnitudes = magnitudes
        self._middles = np.arange(1, largest + 1) - 0.5  # level k begins at (k - 1/2) * step
        self._sums = np.concatenate(([0.0], np.cumsum(magnitudes)))
        self.energy = float(magnitudes @ magnitudes)

    def count(self, low: float, high: float) -> int:
        """Number of assignments between two steps."""
        return int((self._first(high) - self._first(low)).sum())

    def bound(self, low: float, middle: float, high: float) -> float:
        """An error that no step of an interval goes below.

        With D the middle, E its error and z' the levels of another step D', rounding to z' at D is no better
        than E: `sqrt(E) <= |w - D z'| <= sqrt(E') + |D - D'| |z'|`, and |z'| is largest at the smallest step.
        """
        product, square = self._sums_at(self._first(middle))
        error = self.energy * (1 - _NOISE) - 2 * middle * product + middle**2 * square
        _, largest_square = self._sums_at(self._first(low))
        reach = max(middle - low, high - middle) * largest_square**0.5
        return float(max(max(error, 0.0) ** 0.5 - reach, 0.0) ** 2)

    def best_between(self, low: float, high: float) -> tuple[float, float]:
        """The least error of the assignments of an interval, and its step."""
        first, last = self._first(low), self._first(high)
        counts = last - first
        level = np.repeat(np.arange(len(counts)), counts)
        position = np.arange(len(level)) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(first, counts)
        moved = self._magnitudes[position]
        order = np.argsort(-moved / self._middles[level], kind="stable")
        products, squares = (np.full(len(level) + 1, total) for total in self._sums_at(last))
        products[1:] += np.cumsum(moved[order])
        squares[1:] += np.cumsum(2.0 * level[order] + 1)  # k**2 - (k - 1)**2 with k = level + 1
        gains = products**2 / np.maximum(squares, 1.0)
        best = int(np.argmax(gains >= gains.max() * (1 - _NOISE)))  # the first, which has the largest step
        if not squares[best]:  # all levels are 0
            return self.energy, high
        return self.energy - float(gains[best]), float(products[best] / squares[best])

    def _first(self, step: float) -> NDArray[np.intp]:
        """For each level the first of the sorted magnitudes that reaches it."""
        return np.searchsorted(self._magnitudes, self._middles * step)

    def _sums_at(self, first: NDArray[np.intp]) -> tuple[float, float]:
        """A and B where each level begins at the given magnitudes."""
        products = float((self._sums[-1] - self._sums[first]).sum())
        return products, float(2 * self._middles @ (len(self._magnitudes) - first))  # 2k - 1
