"""SOFTMAX in int8, as TFLite's reference kernel computes it (reference/softmax.h on gemmlowp's fixedpoint.h).

Numbers are raw 32-bit integers in the format Qm.(31-m), with m integer bits; `_Q0` and so on say which.
"""

import numpy as np

from tflite_export.kernels._multiplier import Integers, divide_by_power_of_two, high_product, quantize_multiplier
from tflite_export.kernels._quantized import Int8, QuantizedArray

_DIFFERENCE_BITS = 5  # integer bits of the exponential's argument
_SUM_BITS = 12  # integer bits of the sum of exponentials
_ONE_Q0 = 2**31 - 1  # 1 is just outside of Q0.31
_ONE_Q2 = 2**29
# Q0.31 of exp(-2**k) for k = -2 to 4; gemmlowp's exp_on_negative_values multiplies those that the argument has.
_EXPONENTIALS = tuple(round(np.exp(-(2.0**k)) * 2**31) for k in range(-2, 5))


def softmax(x: QuantizedArray, *, beta: float = 1.0) -> Int8:
    """Softmax over the last axis; the output has scale 1/256 and zero point -128.

    Args:
        x: `(..., classes)`.
        beta: factor of the scores.

    Returns:
        Integers of the same shape.

    Raises:
        ValueError: the scores have several scales.
    """
    scores = x.values.astype(np.int64)
    differences = scores - scores.max(axis=-1, keepdims=True)
    fraction_bits = 31 - _DIFFERENCE_BITS
    factor = min(np.float64(beta) * np.float64(x.format.scale) * 2.0**fraction_bits, 2.0**31 - 1)
    mantissa, shift = quantize_multiplier(factor)
    counted = differences >= -int(np.floor((2.0**_DIFFERENCE_BITS - 1) * 2.0**fraction_bits / 2.0 ** int(shift)))
    scaled = high_product(np.where(counted, differences, 0) << shift, mantissa)
    exponentials = np.where(counted, _exp_of_negative(scaled), 0)
    sums = divide_by_power_of_two(exponentials, _SUM_BITS).sum(axis=-1, keepdims=True)
    reciprocals, bits_over_one = _reciprocal(sums)
    shares = divide_by_power_of_two(high_product(reciprocals, exponentials), bits_over_one + 31 - 8)
    return np.where(counted, np.clip(shares - 128, -128, 127), -128).astype(np.int8)


def _exp_of_negative(argument: Integers) -> Integers:
    """exp of a number in Q5.26 that is 0 or below, in Q0.31."""
    fraction_bits = 31 - _DIFFERENCE_BITS
    quarter = 1 << (fraction_bits - 2)
    remainder = (argument & (quarter - 1)) - quarter
    result = _exp_of_quarter(remainder << _DIFFERENCE_BITS)
    whole = remainder - argument
    for position, exponential in enumerate(_EXPONENTIALS, start=fraction_bits - 2):
        result = np.where(whole & (1 << position), high_product(result, exponential), result)
    return np.where(argument == 0, _ONE_Q0, result)


def _exp_of_quarter(argument: Integers) -> Integers:
    """exp in [-1/4, 0) in Q0.31: the Taylor polynomial of degree 4 around -1/8."""
    x = argument + (1 << 28)
    x2 = high_product(x, x)
    x3, x4 = high_product(x2, x), high_product(x2, x2)
    third = round(2**31 / 3)
    higher = divide_by_power_of_two(high_product(divide_by_power_of_two(x4, 2) + x3, third) + x2, 1)
    constant = np.int64(round(np.exp(-1 / 8) * 2**31))
    return constant + high_product(constant, x + higher)


def _reciprocal(sums: Integers) -> tuple[Integers, Integers]:
    """1 / sum in Q0.31, to be shifted right by the second result."""
    _, used_bits = np.frexp(sums.astype(np.float64))  # sums of Q12.19 are exact in double precision
    headroom = 32 - used_bits.astype(np.int64)
    return _reciprocal_of_one_plus((sums << headroom) - 2**31), _SUM_BITS - headroom


def _reciprocal_of_one_plus(fraction: Integers) -> Integers:
    """1 / (1 + fraction) in Q0.31 for a fraction in [0, 1), by three Newton-Raphson rounds."""
    half = (fraction + _ONE_Q0 + 1) // 2
    x: Integers = round(48 / 17 * 2**29) + high_product(half, round(-32 / 17 * 2**29))
    for _ in range(3):
        x = x + _shift_saturating(high_product(x, _ONE_Q2 - high_product(half, x)), 2)
    return _shift_saturating(x, 1)


def _shift_saturating(values: Integers, bits: int) -> Integers:
    return np.asarray(np.clip(values << bits, -(2**31), 2**31 - 1), np.int64)
