import numpy as np
import pytest

from tf_structprune.fixed_point import QFormat, to_grid, to_integers, word_range

WORDS = [(bits, True) for bits in range(2, 9)] + [(bits, False) for bits in range(3, 9)]


@pytest.mark.parametrize("bits, signed", WORDS)
def test_limits_hold_the_levels_of_the_paper(bits, signed):
    smallest, largest = word_range(bits, signed=signed)
    assert largest - smallest + 1 == (2**bits - 1 if signed else 2**bits)
    assert smallest == (-largest if signed else 0)


@pytest.mark.parametrize("bits, signed", [(1, True), (9, True), (2, False), (9, False)])
def test_limits_refuse_other_words(bits, signed):
    kind = "signed" if signed else "unsigned"
    with pytest.raises(ValueError, match=rf"bits of an? {kind} word must be from \d to 8. Received: bits={bits}"):
        word_range(bits, signed=signed)


@pytest.mark.parametrize("bits, signed", WORDS)
def test_to_integers_is_the_quantizer_of_the_paper(bits, signed):
    values = np.random.default_rng(bits).normal(0, 3, 500)
    smallest, largest = word_range(bits, signed=signed)
    expected = np.sign(values) * np.minimum(np.floor(np.abs(values) / 0.37 + 0.5), largest)
    np.testing.assert_array_equal(to_integers(values, 0.37, bits, signed=signed), np.maximum(expected, smallest))


def test_to_integers_rounds_halves_away_from_zero_and_saturates():
    values = [0.5, -0.5, 1.5, -1.5, 0.49, 99.0, -99.0, 0.0, -0.0]
    assert to_integers(values, 1.0, 3).tolist() == [1, -1, 2, -2, 0, 3, -3, 0, 0]
    assert to_integers(values, 1.0, 3, signed=False).tolist() == [1, 0, 2, 0, 0, 7, 0, 0, 0]


def test_to_integers_saturates_at_the_smallest_step_there_is():
    assert to_integers([1e300, -1e300], 5e-324, 4).tolist() == [7, -7]


@pytest.mark.parametrize("bits, signed", WORDS)
def test_grid_is_kept_by_the_quantizer(bits, signed):
    once = to_grid(np.random.default_rng(bits).normal(0, 3, 500), 0.37, bits, signed=signed)
    np.testing.assert_array_equal(to_grid(once, 0.37, bits, signed=signed), once)


def test_grid_is_symmetric():
    values = np.random.default_rng(0).normal(0, 3, 500)
    np.testing.assert_array_equal(to_grid(-values, 0.37, 4), -to_grid(values, 0.37, 4))


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_grid_takes_a_step_for_each_channel(axis):
    values = np.random.default_rng(0).normal(size=(3, 4, 5))
    steps = np.linspace(0.1, 0.3, values.shape[axis])
    channels = zip(np.moveaxis(values, axis, 0), steps, strict=True)
    alone = np.stack([to_grid(channel, step, 4) for channel, step in channels], axis)
    np.testing.assert_array_equal(to_grid(values, steps, 4, axis=axis), alone)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_to_integers_refuses_what_is_not_finite(bad):
    with pytest.raises(ValueError, match="values to quantize must be finite. Received: 1 NaN or infinite values of 3"):
        to_integers([0.0, bad, 1.0], 1.0, 4)


@pytest.mark.parametrize("step", [0.0, -1.0, np.nan, np.inf])
def test_to_integers_refuses_a_step_that_is_none(step):
    with pytest.raises(ValueError, match="step must be above 0 and finite. Received: step="):
        to_integers([1.0], step, 4)


@pytest.mark.parametrize("step, axis", [([1.0, 1.0], None), ([1.0, 1.0], 0), (1.0, 0)])
def test_to_integers_refuses_steps_of_another_shape(step, axis):
    with pytest.raises(ValueError, match=r"step must have shape .* for values of shape \(3, 2\) and axis="):
        to_integers(np.ones((3, 2)), step, 4, axis=axis)


@pytest.mark.parametrize("frac_bits", [-3, 0, 4, 12])
@pytest.mark.parametrize("bits, signed", WORDS)
def test_q_format_reads_back_what_it_wrote(bits, signed, frac_bits):
    word = QFormat(bits, frac_bits, signed)
    integers = np.arange(word.smallest, word.largest + 1)
    assert word.step == 2.0**-frac_bits
    np.testing.assert_array_equal(word.quantize(word.dequantize(integers)), integers)


def test_q_format_errs_by_half_a_step_at_most():
    word = QFormat(6, 4)
    values = np.random.default_rng(0).uniform(word.dequantize(word.smallest), word.dequantize(word.largest), 500)
    assert np.abs(word.dequantize(word.quantize(values)) - values).max() <= word.step / 2


def test_q_format_refuses_other_words():
    with pytest.raises(ValueError, match="bits of a signed word must be from 2 to 8. Received: bits=16"):
        QFormat(16, 8)
