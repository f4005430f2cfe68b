from fractions import Fraction
from math import ceil, floor

import numpy as np
import pytest

from tflite_export.kernels import multiply_by_quantized_multiplier, quantize_multiplier

FACTORS = [1e-9, 2.0**-31, 0.0003, 0.1, 0.25, 0.5, 0.7499999999, 1.0, 1.5, 3.999, 100.0]


def multiplied(value, mantissa, shift):
    """The two roundings in exact fractions: halves upwards, then halves away from zero."""
    high = floor(Fraction(value * 2 ** max(shift, 0) * mantissa, 2**31) + Fraction(1, 2))
    quotient = Fraction(high, 2 ** max(-shift, 0))
    return floor(quotient + Fraction(1, 2)) if quotient >= 0 else ceil(quotient - Fraction(1, 2))


@pytest.mark.parametrize("factor", FACTORS)
def test_multiplier_stands_for_its_factor(factor):
    mantissa, shift = quantize_multiplier(factor)
    assert 2**30 <= mantissa < 2**31
    assert Fraction(int(mantissa)) / 2 ** (31 - int(shift)) == pytest.approx(factor, rel=2**-31)


def test_multiplier_carries_when_the_mantissa_rounds_up():
    mantissa, shift = quantize_multiplier(np.nextafter(1.0, 0.0))
    assert (mantissa, shift) == (2**30, 1)


@pytest.mark.parametrize("factor", [0.0, 2.0**-33])
def test_factors_too_small_for_a_shift_become_zero(factor):
    assert tuple(map(int, quantize_multiplier(factor))) == (0, 0)


@pytest.mark.parametrize("factor", [-0.1, np.nan, np.inf])
def test_multiplier_refuses_what_is_no_factor(factor):
    with pytest.raises(ValueError, match="factors must be finite and 0 or above. Received: "):
        quantize_multiplier([0.5, factor])


@pytest.mark.parametrize("factor", FACTORS)
def test_product_rounds_twice(factor):
    mantissa, shift = map(int, quantize_multiplier(factor))
    largest = 2 ** (31 - max(shift, 0)) - 1
    small = np.arange(-70, 71)
    values = np.concatenate([small, np.random.default_rng(0).integers(-largest, largest, 300)])
    products = multiply_by_quantized_multiplier(values, mantissa, shift)
    assert products.tolist() == [multiplied(int(value), mantissa, shift) for value in values]


def test_product_takes_a_factor_for_each_channel():
    mantissas, shifts = quantize_multiplier(FACTORS)
    values = np.random.default_rng(0).integers(-(2**20), 2**20, (50, len(FACTORS)))
    expected = [multiply_by_quantized_multiplier(values[:, i], mantissas[i], shifts[i]) for i in range(len(FACTORS))]
    np.testing.assert_array_equal(multiply_by_quantized_multiplier(values, mantissas, shifts), np.stack(expected, 1))


def test_product_by_a_power_of_two_may_be_one_above_the_nearest():
    # 127 / 2**8: 63.5 is rounded up to 64, and 64 / 2**7 = 1/2 to 1.
    assert multiply_by_quantized_multiplier([127, -127, 126], *quantize_multiplier(2.0**-8)).tolist() == [1, 0, 0]
