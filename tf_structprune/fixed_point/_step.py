"""The step of a uniform quantizer that makes the squared error least, exactly.

Anwar, Hwang, Sung (ICASSP 2015) alternate two moves that each lower the error: round to the levels, fit the
step by least squares. That ends in a local minimum. Here every assignment of levels that rounding can give is
looked at: as the step shrinks, `|w| / step` passes a rounding threshold at `step = |w| / (k - 1/2)`, and only
there does the level of one weight change from k - 1 to k. Between two thresholds the error is a parabola in
the step, with its least value `sum(w**2) - A**2 / B` at `step = A / B`, for `A = sum(|w| z)` and
`B = sum(z**2)` with the levels z. Running sums over the sorted thresholds give the global minimum.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tf_structprune.fixed_point._format import QFormat, finite, limits

_Real = NDArray[np.float64]

_THRESHOLDS_AT_ONCE = 2**21  # about 120 MB of sorting buffers
_BISECTIONS = 40
_SLACK = 1 - 1e-9  # the bound on the smallest step is computed in double precision
_HARMLESS = 1.0  # step where every value is zero and any step is as good


def optimal_step(
    values: ArrayLike, bits: int, *, power_of_two: bool = False, signed: bool = True, axis: int | None = None
) -> _Real:
    """The step with the least squared error `sum((to_grid(values, step, bits) - values)**2)`.

    Deterministic and global: no other step, or no other power of two, does better, up to rounding in double
    precision. Of powers of two that do equally well the largest is taken.

    Args:
        values: finite real numbers, any shape; zeros (pruned weights) cost nothing and stay zero.
        bits: word length, see `limits`.
        power_of_two: take only steps `2**n` with integer n, for shifts instead of multiplications.
        signed: whether the word has a sign; without one, negative numbers count as 0.
        axis: axis of the channels (-1 in Keras kernels) for one step each; None for one step.

    Returns:
        Steps of shape `()`, or `(channels,)` when `axis` is given; 1 where all values are zero.

    Raises:
        ValueError: a word length that is not supported, or a value that is not finite.
    """
    _, largest = limits(bits, signed=signed)
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
        bits: word length, see `limits`.
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
    """The best step for sorted magnitudes, the largest of them in [1/2, 1)."""
    found = _refine(magnitudes, float(magnitudes[-1]) / largest, largest)
    smallest = _smallest_step(magnitudes, _error(magnitudes, found, largest), largest)
    table = _Thresholds(magnitudes, largest)
    gain, candidate = -1.0, found
    for low, high in table.intervals(smallest, 2.0):  # above 2 every level is 0
        interval_gain, step = table.best_between(low, high)
        if interval_gain > gain:
            gain, candidate = interval_gain, step
    candidate = _refine(magnitudes, candidate, largest)
    return min(candidate, found, key=lambda step: _error(magnitudes, step, largest))


def _refine(magnitudes: _Real, step: float, largest: int) -> float:
    """Alternates rounding and least squares while the error falls (Anwar, Hwang, Sung's iteration)."""
    least = _error(magnitudes, step, largest)
    while True:
        levels = _levels(magnitudes, step, largest)
        fitted = float(magnitudes @ levels / (levels @ levels))
        error = _error(magnitudes, fitted, largest)
        if not error < least:
            return step
        step, least = fitted, error


def _smallest_step(magnitudes: _Real, error: float, largest: int) -> float:
    """A step below which saturation alone costs more than a known error."""
    low, high = 0.0, float(magnitudes[-1]) / largest
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if _clipped(magnitudes, middle, largest) > error else (low, middle)
    return low * _SLACK


class _Thresholds:
    """The steps at which a level changes, interval by interval; all of them at once need too much memory."""

    def __init__(self, magnitudes: _Real, largest: int) -> None:
        self._magnitudes = magnitudes
        self._below = np.arange(1, largest + 1) - 0.5  # level k begins at (k - 1/2) * step
        self._sums = np.concatenate(([0.0], np.cumsum(magnitudes)))

    def intervals(self, low: float, high: float) -> list[tuple[float, float]]:
        """Intervals with few thresholds each, from large to small steps."""
        waiting, ready = [(low, high)], []
        while waiting:
            low, high = waiting.pop()
            middle = (low * high) ** 0.5
            if int((self._first(high) - self._first(low)).sum()) > _THRESHOLDS_AT_ONCE and low < middle < high:
                waiting += [(low, middle), (middle, high)]
            else:
                ready.append((low, high))
        return ready

    def best_between(self, low: float, high: float) -> tuple[float, float]:
        """The largest `A**2 / B` of an interval of steps, and its step `A / B`."""
        first, last = self._first(low), self._first(high)
        counts = last - first
        if not counts.any():
            return -1.0, high
        level = np.repeat(np.arange(len(counts)), counts)
        position = np.arange(len(level)) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(first, counts)
        moved = self._magnitudes[position]
        order = np.argsort(-moved / self._below[level], kind="stable")
        product, square = self._sums_at(last)
        products = product + np.cumsum(moved[order])
        squares = square + np.cumsum(2.0 * level[order] + 1)  # k**2 - (k - 1)**2 with k = level + 1
        gains = products**2 / squares
        best = int(np.argmax(gains))
        return float(gains[best]), float(products[best] / squares[best])

    def _first(self, step: float) -> NDArray[np.intp]:
        """For each level the first of the sorted magnitudes that reaches it."""
        return np.searchsorted(self._magnitudes, self._below * step)

    def _sums_at(self, first: NDArray[np.intp]) -> tuple[float, float]:
        """A and B where each level begins at the given magnitudes."""
        weights = 2 * self._below  # 2k - 1
        products = float((self._sums[-1] - self._sums[first]).sum())
        return products, float(weights @ (len(self._magnitudes) - first))
