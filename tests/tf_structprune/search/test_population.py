"""Weights, resampling and the effective number of particles."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tf_structprune.search import (
    EvolutionaryParticleFilter,
    ParticleFilter,
    SearchState,
    effective_count,
    systematic_resample,
    weights_of,
)

LAWS = settings(max_examples=300, deadline=None, derandomize=True)
score_arrays = arrays(np.float64, st.integers(1, 12), elements=st.floats(-1, 0))
sharpnesses = st.floats(0.1, 200)


@LAWS
@given(score_arrays, sharpnesses)
def test_weights_are_the_normalized_likelihood(scores, sharpness):
    weights = weights_of(scores, sharpness)
    expected = np.exp(sharpness * (scores - scores.max()))
    assert np.allclose(weights, expected / expected.sum())
    assert weights[scores.argmax()] == weights.max()


def test_weights_follow_the_equation_by_hand():
    assert np.allclose(weights_of(np.array([-0.1, -0.3]), 10.0), [np.e**2 / (1 + np.e**2), 1 / (1 + np.e**2)])


@pytest.mark.parametrize(
    "scores, expected",
    [([-np.inf, -np.inf], [0.5, 0.5]), ([-np.inf, -1.0, -1.0], [0, 0.5, 0.5]), ([np.inf, 0.0], [1, 0])],
    ids=str,
)
def test_weights_of_infinite_scores(scores, expected):
    assert weights_of(np.array(scores), 2.0).tolist() == expected


@LAWS
@given(score_arrays, sharpnesses, st.floats(-1e6, 1e6))
def test_weights_do_not_overflow_or_depend_on_an_offset(scores, sharpness, offset):
    shifted = weights_of(scores + offset, sharpness)
    assert np.isfinite(shifted).all()
    assert np.allclose(shifted, weights_of(scores, sharpness), atol=1e-5)


@LAWS
@given(score_arrays, sharpnesses, st.integers(0, 999))
def test_resampling_keeps_floor_or_ceil_of_each_share(scores, sharpness, seed):
    weights = weights_of(scores, sharpness)
    chosen = systematic_resample(weights, np.random.default_rng(seed))
    survivors, shares = np.bincount(chosen, minlength=len(weights)), weights * len(weights)
    assert len(chosen) == len(weights)
    assert (np.floor(shares - 1e-9) <= survivors).all()
    assert (survivors <= np.ceil(shares + 1e-9)).all()


def test_resampling_is_unbiased():
    rng, weights = np.random.default_rng(0), np.array([0.07, 0.13, 0.35, 0.45])
    mean = np.mean([np.bincount(systematic_resample(weights, rng), minlength=4) for _ in range(4000)], axis=0)
    assert np.abs(mean - 4 * weights).max() < 0.04


@LAWS
@given(score_arrays, sharpnesses)
def test_effective_count_lies_between_one_and_all(scores, sharpness):
    assert 1 - 1e-9 <= effective_count(weights_of(scores, sharpness)) <= len(scores) + 1e-9


def test_effective_count_at_its_ends():
    assert effective_count(np.full(8, 1 / 8)) == 8
    assert effective_count(np.array([1.0, 0.0, 0.0])) == 1
    assert effective_count(np.array([0.5, 0.5, 0.0])) == 2


class Still:
    """A space whose moves change nothing: what is proposed are the survivors."""

    def perturb(self, masks, fraction, rng):
        return masks


def survivors(scores, seed):
    """Which particles the next generation comes from, as often as they do."""
    population = tuple(object() for _ in scores)
    state = SearchState(round=1, population=population, scores=tuple(scores))
    selector = ParticleFilter(particles=len(scores), sharpness=1.0)
    chosen = selector.propose(Still(), state, np.random.default_rng(seed))
    return [population.index(each) for each in chosen]


@pytest.mark.parametrize("scores", [[0.0] * 6, [0.0, 0.5, 1.0, 0.2], [0.0, 0.0, -np.inf, -np.inf]], ids=str)
@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_resampled_while_half_of_the_particles_count(scores, seed):
    """At N_eff = N / 2 and above all live on, the worst too."""
    assert effective_count(weights_of(np.array(scores), 1.0)) >= len(scores) / 2
    assert sorted(survivors(scores, seed)) == list(range(len(scores)))


@pytest.mark.parametrize("seed", range(5))
def test_particles_are_resampled_as_soon_as_fewer_count(seed):
    """N_eff = 1 / (0.98**2 + 0.02**2) = 1.04 of 4."""
    scores = [0.0, np.log(0.02 / 0.98), -np.inf, -np.inf]
    chosen = np.bincount(survivors(scores, seed), minlength=4)
    assert chosen[0] >= 3
    assert chosen[2:].tolist() == [0, 0]


class Told(Still):
    """A space that writes down what is done to each child."""

    def perturb(self, masks, fraction, rng):
        return f"{masks} moved"

    def cross(self, first, second, rng):
        return f"{first} crossed"


@pytest.mark.parametrize(
    "crossover, mutation, done",
    [(1, 0, {" crossed"}), (1, 1, {" crossed moved"}), (0, 0, {" moved"}), (0, 1, {" moved"}), (0.5, 0.5, None)],
)
def test_children_are_crossed_and_moved_as_often_as_the_settings_say(crossover, mutation, done):
    """None is its parent: a child with one parent is always moved."""
    selector = EvolutionaryParticleFilter(particles=400, crossover=crossover, mutation=mutation, elites=0)
    state = SearchState(round=1, population=("",) * 400, scores=(0.0,) * 400)
    children = selector.propose(Told(), state, np.random.default_rng(0))
    assert done is None or set(children) == done
    if done is None:
        shares = {kind: children.count(kind) / 400 for kind in (" moved", " crossed", " crossed moved")}
        assert shares == pytest.approx({" moved": 0.5, " crossed": 0.25, " crossed moved": 0.25}, abs=0.08)
