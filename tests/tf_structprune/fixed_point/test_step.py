import numpy as np
import pytest

from tf_structprune.fixed_point import _step, optimal_format, optimal_step, to_grid

DRAW = {
    "normal": lambda rng: rng.normal(0, 0.05, 400),
    "laplace": lambda rng: rng.laplace(0, 3, 300),
    "uniform": lambda rng: rng.uniform(-1, 1, 200),
    "heavy": lambda rng: rng.standard_t(1.5, 300),
    "two_scales": lambda rng: np.concatenate([rng.normal(0, 0.01, 200), rng.normal(0, 1, 20)]),
    "pruned": lambda rng: rng.normal(size=300) * (rng.uniform(size=300) < 0.2),
    "few": lambda rng: rng.normal(size=3),
    "one": lambda rng: rng.normal(size=1),
    "equal": lambda rng: np.full(20, 0.3),
    "integers": lambda rng: rng.integers(-9, 10, 100).astype(float),
}
WORDS = [(2, True), (3, True), (4, True), (5, True), (8, True), (3, False), (8, False)]
everywhere = pytest.mark.parametrize("name", DRAW)
each_word = pytest.mark.parametrize("bits, signed", WORDS)


def draw(name):
    return DRAW[name](np.random.default_rng(list(DRAW).index(name)))


def error(values, step, bits, signed=True):
    return float(np.square(to_grid(values, step, bits, signed=signed) - values).sum())


def noise(values):
    """What double precision may cost, as `optimal_step` documents."""
    return 1e-13 * float(np.square(values).sum())


@everywhere
@each_word
def test_no_step_of_a_fine_grid_is_better(name, bits, signed):
    values = draw(name)
    found = error(values, optimal_step(values, bits, signed=signed), bits, signed)
    others = np.geomspace(np.abs(values).max() / 300, np.abs(values).max() * 2.5, 1500)
    assert found <= min(error(values, step, bits, signed) for step in others) + noise(values)


@everywhere
@each_word
def test_no_other_power_of_two_is_better(name, bits, signed):
    values = draw(name)
    step = optimal_step(values, bits, power_of_two=True, signed=signed)
    assert np.frexp(step)[0] == 0.5
    others = [error(values, 2.0**n, bits, signed) for n in range(-40, 10)]
    assert error(values, step, bits, signed) == pytest.approx(min(others), rel=1e-12, abs=1e-25)
    assert error(values, optimal_step(values, bits, signed=signed), bits, signed) <= min(others) + noise(values)


def test_step_of_a_case_done_by_hand():
    # Ternary, so sum(|w| z)**2 / sum(z**2) is 9, 25 / 2 or 36 / 3 for the 1, 2 or 3 largest.
    assert optimal_step([1.0, -2.0, 3.0], 2) == 2.5


@everywhere
@pytest.mark.parametrize("power_of_two", [False, True])
def test_step_does_not_mind_signs_order_or_zeros(name, power_of_two):
    values = draw(name)
    step = optimal_step(values, 4, power_of_two=power_of_two)
    mixed = np.concatenate([np.zeros(7), -np.random.default_rng(9).permutation(values)])
    assert optimal_step(mixed.reshape(-1, 1), 4, power_of_two=power_of_two) == step


@everywhere
@pytest.mark.parametrize("factor", [2.0**-20, 0.037, 8.0, 1e6])
def test_step_scales_with_the_values(name, factor):
    values = draw(name)
    assert optimal_step(values * factor, 4) == pytest.approx(optimal_step(values, 4) * factor, rel=1e-9)


@everywhere
def test_power_of_two_step_scales_with_powers_of_two(name):
    values = draw(name)
    step = optimal_step(values, 3, power_of_two=True)
    assert optimal_step(values * 2.0**-30, 3, power_of_two=True) == step * 2.0**-30


@everywhere
@pytest.mark.parametrize("power_of_two", [False, True])
def test_more_bits_are_never_worse(name, power_of_two):
    values = draw(name)
    steps = [optimal_step(values, bits, power_of_two=power_of_two) for bits in range(2, 9)]
    errors = np.array([error(values, step, bits) for bits, step in zip(range(2, 9), steps, strict=True)])
    assert (np.diff(errors) <= noise(values)).all()


@everywhere
@each_word
def test_values_on_the_grid_are_kept(name, bits, signed):
    values = draw(name)
    once = to_grid(values, optimal_step(values, bits, signed=signed), bits, signed=signed)
    twice = to_grid(once, optimal_step(once, bits, signed=signed), bits, signed=signed)
    np.testing.assert_allclose(twice, once, rtol=1e-12)


@pytest.mark.parametrize("axis", [0, 2, -1])
@pytest.mark.parametrize("power_of_two", [False, True])
def test_step_for_each_channel_is_that_of_the_channel_alone(axis, power_of_two):
    values = np.random.default_rng(0).laplace(size=(4, 5, 6)) * np.linspace(0.1, 9, 6)
    steps = optimal_step(values, 3, axis=axis, power_of_two=power_of_two)
    channels = np.moveaxis(values, axis, 0)
    assert steps.tolist() == [float(optimal_step(channel, 3, power_of_two=power_of_two)) for channel in channels]
    of_layer = error(values, optimal_step(values, 3, power_of_two=power_of_two), 3)
    assert np.square(to_grid(values, steps, 3, axis=axis) - values).sum() <= of_layer + noise(values)


@pytest.mark.parametrize("power_of_two", [False, True])
def test_zeros_alone_take_step_one(power_of_two):
    assert optimal_step(np.zeros((2, 3)), 4, power_of_two=power_of_two) == 1
    assert optimal_step([-1.0, 0.0], 4, power_of_two=power_of_two, signed=False) == 1
    assert optimal_step([[0.0, 8.0]], 4, power_of_two=power_of_two, axis=1).tolist()[0] == 1


def test_step_does_not_depend_on_the_memory_it_may_use(monkeypatch):
    values = np.random.default_rng(0).normal(size=500)
    expected = optimal_step(values, 8)
    monkeypatch.setattr(_step, "_THRESHOLDS_AT_ONCE", 50)
    assert optimal_step(values, 8) == pytest.approx(float(expected), rel=1e-12)
    assert optimal_step(np.full(200, 0.7), 8) == pytest.approx(0.7, rel=1e-12)  # duplicates that no interval can part


@pytest.mark.parametrize("scale", [1e-320, 1e-30, 1e300])
def test_step_of_tiny_and_huge_values(scale):
    values = np.array([1.0, -2.0, 3.0]) * scale
    assert optimal_step(values, 2) == pytest.approx(2.5 * scale, rel=1e-3)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_step_refuses_what_is_not_finite(bad):
    with pytest.raises(ValueError, match="values to quantize must be finite. Received: 1 NaN"):
        optimal_step([0.0, bad], 4)


@pytest.mark.parametrize("values, frac_bits", [([0.75, 0.25], 2), ([6.0, 2.0], -1), ([0.0], 0)])
def test_format_is_that_of_the_power_of_two(values, frac_bits):
    assert optimal_format(values, 3).frac_bits == frac_bits
    assert optimal_format(values, 3).step == optimal_step(values, 3, power_of_two=True)


@everywhere
@each_word
def test_format_has_the_best_step_that_is_a_power_of_two(name, bits, signed):
    values = draw(name)
    step = optimal_step(values, bits, power_of_two=True, signed=signed)
    assert optimal_format(values, bits, signed=signed).step == step
