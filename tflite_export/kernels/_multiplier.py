"""Products by real factors in integer arithmetic, as TFLite's kernels compute them.

A factor is a 31-bit mantissa and a power of two. The product is rounded twice: to the upper half of 64 bits
with halves upwards, then by the right shift with halves away from zero. LiteRT and TFLite Micro are both
built with this double rounding (`MultiplyByQuantizedMultiplier` of kernels/internal/common.cc without
TFLITE_SINGLE_ROUNDING, on gemmlowp's `SaturatingRoundingDoublingHighMul` and `RoundingDivideByPOT`).
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Integers = NDArray[np.int64]

_MANTISSA_BITS = 31
_SMALLEST_SHIFT = -31  # below it all bits would be shifted out


def quantize_multiplier(factors: ArrayLike) -> tuple[Integers, Integers]:
    """Mantissas and shifts of real factors, `factor = mantissa * 2**(shift - 31)` to 31 bits.

    `QuantizeMultiplier` of TFLite's kernels/internal/quantization_util.cc.

    Args:
        factors: real numbers, 0 or above, any shape.

    Returns:
        Mantissas, 0 or from 2**30 to 2**31 - 1, and shifts of 0 or above for a left shift; both of the shape
        of `factors`. Factors below about 2**-32 become 0.

    Raises:
        ValueError: a factor is negative or not finite.
    """
    real = np.asarray(factors, np.float64)
    if not (np.isfinite(real).all() and (real >= 0).all()):
        raise ValueError(f"factors must be finite and 0 or above. Received: {factors!r}. Check the tensors' scales.")
    fractions, exponents = np.frexp(real)
    mantissas = np.floor(fractions * 2.0**_MANTISSA_BITS + 0.5).astype(np.int64)
    shifts = exponents.astype(np.int64)
    full = mantissas == 2**_MANTISSA_BITS
    mantissas, shifts = np.where(full, mantissas // 2, mantissas), np.where(full, shifts + 1, shifts)
    lost = shifts < _SMALLEST_SHIFT
    return np.where(lost, 0, mantissas), np.where(lost, 0, shifts)


def multiply_by_quantized_multiplier(values: ArrayLike, mantissas: ArrayLike, shifts: ArrayLike) -> Integers:
    """Products of 32-bit integers and factors, rounded to integers.

    Args:
        values: integers; after a left shift they must still fit 32 bits.
        mantissas: mantissas of the factors, as of `quantize_multiplier`; they broadcast with `values`.
        shifts: shifts of the factors.

    Returns:
        The rounded products, of the broadcast shape.
    """
    shift = np.asarray(shifts, np.int64)
    shifted = np.asarray(values, np.int64) << np.maximum(shift, 0)
    return divide_by_power_of_two(high_product(shifted, mantissas), np.maximum(-shift, 0))


def high_product(first: ArrayLike, second: ArrayLike) -> Integers:
    """`round(first * second / 2**31)` with halves upwards (gemmlowp's SaturatingRoundingDoublingHighMul).

    Args:
        first: 32-bit integers.
        second: 32-bit integers that broadcast with them.

    Returns:
        32-bit integers; the one product that would not fit saturates.
    """
    product = np.asarray(np.multiply(first, second, dtype=np.int64))
    product += 2 ** (_MANTISSA_BITS - 1)
    product >>= _MANTISSA_BITS
    return np.asarray(np.minimum(product, 2**31 - 1))


def divide_by_power_of_two(values: ArrayLike, exponents: ArrayLike) -> Integers:
    """`round(values / 2**exponents)` with halves away from zero (gemmlowp's RoundingDivideByPOT).

    Args:
        values: integers.
        exponents: integers, 0 or above, that broadcast with them.

    Returns:
        Integers of the broadcast shape.
    """
    integers, exponent = np.asarray(values, np.int64), np.asarray(exponents, np.int64)
    half = (np.int64(1) << exponent) >> 1
    nudged = np.asarray((integers >> 63) * (exponent > 0))  # -1 for negative numbers, so that their halves go down
    nudged += integers
    nudged += half
    nudged >>= exponent
    return nudged
