"""Integers of b bits on a uniform grid: levels, rounding, and the Q-format."""

from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

_SMALLEST_BITS = {True: 2, False: 3}  # 2-bit weights are ternary; signals start at 3 bits (Anwar's thesis, 2017)
_LARGEST_BITS = 8


def word_range(bits: int, *, signed: bool = True) -> tuple[int, int]:
    """Smallest and largest integer of a word.

    Signed words are symmetric, with `M = 2**bits - 1` levels (Sung, Shin, Hwang, arXiv 1511.06488); unsigned
    words are for signals after ReLU and use all `2**bits` levels.

    Args:
        bits: word length, 2 to 8; 3 to 8 for an unsigned word.
        signed: whether negative numbers exist.

    Returns:
        The limits, both inclusive.

    Raises:
        ValueError: a word length that is not supported.
    """
    kind, smallest = "a signed" if signed else "an unsigned", _SMALLEST_BITS[signed]
    if not isinstance(bits, Integral):
        raise ValueError(f"bits of {kind} word must be a whole number. Received: bits={bits!r}. Use 8 or fewer.")
    if not smallest <= bits <= _LARGEST_BITS:
        raise ValueError(
            f"bits of {kind} word must be from {smallest} to {_LARGEST_BITS}. Received: bits={bits}. "
            "Use 8 bits or fewer, or keep the layer in float."
        )
    largest = 2 ** (bits - 1) - 1 if signed else 2**bits - 1
    return (-largest if signed else 0), largest


def to_integers(
    values: ArrayLike, step: ArrayLike, bits: int, *, signed: bool = True, axis: int | None = None
) -> NDArray[np.int16]:
    """Rounds real numbers to the integers of a uniform grid; numbers outside saturate.

    `sgn(w) * min(floor(|w| / step + 0.5), largest)`: halves go away from zero, and zero stays zero.

    Args:
        values: finite real numbers, any shape.
        step: distance of two levels, above 0; one number, or one a channel.
        bits: word length, see `word_range`.
        signed: whether the word has a sign; without one, negative numbers become 0.
        axis: axis of the channels that `step` has a number for; None for one step.

    Returns:
        Integers of the same shape.

    Raises:
        ValueError: a value is not finite, a step is not above 0, or there are not as many steps as channels.
    """
    smallest, largest = word_range(bits, signed=signed)
    real = finite(values)
    steps = _steps_along(step, real, axis)
    # A step too small for the division saturates as it should: the quotient is infinite.
    with np.errstate(over="ignore"):
        integers: NDArray[np.float64] = multiples(real, steps, smallest, largest, symmetric=True)
    return integers.astype(np.int16)


def multiples(values: Any, step: Any, smallest: Any, largest: Any, *, symmetric: bool, xp: Any = np) -> Any:
    """Whole multiples of a step that are nearest to values; where the step is 0, of 1.

    Args:
        values: real numbers, any shape.
        step: distance of two numbers, broadcast against `values`.
        smallest: smallest multiple.
        largest: largest multiple.
        symmetric: whether halves go away from zero; else they go up.
        xp: module of array functions, such as NumPy.
    """
    whole = xp.clip(values / xp.where(step > 0, step, xp.ones_like(step)), smallest, largest)
    return xp.sign(whole) * xp.floor(xp.abs(whole) + 0.5) if symmetric else xp.floor(whole + 0.5)


def to_grid(
    values: ArrayLike, step: ArrayLike, bits: int, *, signed: bool = True, axis: int | None = None
) -> NDArray[np.float64]:
    """The numbers of a uniform grid that are nearest to real numbers.

    Args:
        values: finite real numbers, any shape.
        step: distance of two levels, above 0; one number, or one a channel.
        bits: word length, see `word_range`.
        signed: whether the word has a sign.
        axis: axis of the channels that `step` has a number for; None for one step.

    Returns:
        `step * to_integers(values, step, ...)`, same shape.

    Raises:
        ValueError: as `to_integers`.
    """
    integers = to_integers(values, step, bits, signed=signed, axis=axis)
    return integers * _steps_along(step, integers, axis)


@dataclass(frozen=True)
class QFormat:
    """A fixed-point format: integers of `bits` bits, the last `frac_bits` of them behind the binary point.

    `frac_bits` may exceed `bits` (all numbers are small) or be negative (all numbers are large).

    Attributes:
        bits: word length, see `word_range`.
        frac_bits: binary digits behind the point.
        signed: whether the word has a sign.
    """

    bits: int
    frac_bits: int
    signed: bool = True

    def __post_init__(self) -> None:
        """Checks the word length."""
        word_range(self.bits, signed=self.signed)

    @property
    def step(self) -> float:
        """Distance of two numbers, a power of two."""
        return float(2.0**-self.frac_bits)

    @property
    def smallest(self) -> int:
        """Smallest integer."""
        return word_range(self.bits, signed=self.signed)[0]

    @property
    def largest(self) -> int:
        """Largest integer."""
        return word_range(self.bits, signed=self.signed)[1]

    def quantize(self, values: ArrayLike) -> NDArray[np.int16]:
        """The integers of real numbers, see `to_integers`."""
        return to_integers(values, self.step, self.bits, signed=self.signed)

    def dequantize(self, integers: ArrayLike) -> NDArray[np.float64]:
        """The real numbers that integers stand for; exact."""
        return np.asarray(integers, np.float64) * self.step


def finite(values: ArrayLike) -> NDArray[np.float64]:
    """Values in double precision.

    Args:
        values: real numbers, any shape.

    Returns:
        The numbers, same shape.

    Raises:
        ValueError: a value is NaN or infinite.
    """
    real = np.asarray(values, np.float64)
    bad = int((~np.isfinite(real)).sum())
    if bad:
        raise ValueError(
            f"values to quantize must be finite. Received: {bad} NaN or infinite values of {real.size}. "
            "Look for a diverged training or an empty sample."
        )
    return real


def _steps_along(step: ArrayLike, values: NDArray[np.generic], axis: int | None) -> NDArray[np.float64]:
    """Steps in a shape that broadcasts with the values."""
    steps = np.asarray(step, np.float64)
    if not (np.isfinite(steps).all() and (steps > 0).all()):
        raise ValueError(f"step must be above 0 and finite. Received: step={step!r}. Take it from optimal_step.")
    shape = () if axis is None else (values.shape[axis],)
    if steps.shape != shape:
        raise ValueError(
            f"step must have shape {shape} for values of shape {values.shape} and axis={axis}. "
            f"Received: shape={steps.shape}. Give optimal_step the same axis."
        )
    if axis is None:
        return steps
    broadcast = [1] * values.ndim
    broadcast[axis] = -1
    return steps.reshape(broadcast)
