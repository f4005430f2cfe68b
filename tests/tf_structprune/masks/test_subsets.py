"""Subsets within a allowance."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_structprune.masks._subsets import Allowance, counted

LAWS = settings(max_examples=200, deadline=None, derandomize=True)
shapes = st.sampled_from([(1,), (7,), (3, 4), (2, 1)])


def moves(allowance, fraction, rng):
    """A subset by every way to make one."""
    first, second = allowance.random(rng), allowance.random(rng)
    yield from (first, second, allowance.top(rng.random(allowance.alive.shape)))
    yield from (allowance.perturb(first, fraction, rng), allowance.cross(first, second, rng))


@LAWS
@given(shapes, st.integers(0, 999), st.floats(0, 1), st.data())
def test_equal_weights_keep_the_size_and_stay_alive(shape, seed, fraction, data):
    rng = np.random.default_rng(seed)
    alive = rng.random(shape) < 0.8
    alive.flat[0] = True
    keep = data.draw(st.integers(1, int(alive.sum())))
    for mask in moves(counted(alive, keep), fraction, rng):
        assert mask.shape == shape
        assert mask.sum() == keep
        assert not (mask & ~alive).any()


@LAWS
@given(shapes, st.integers(0, 999), st.floats(0, 1), st.floats(0, 1))
def test_unequal_weights_stay_within_the_budget_and_use_it(shape, seed, fraction, share):
    rng = np.random.default_rng(seed)
    alive = rng.random(shape) < 0.8
    weight = np.where(alive, rng.integers(1, 9, shape), 0)
    limit = int(share * weight.sum())
    for mask in moves(Allowance(alive, weight, limit), fraction, rng):
        assert not (mask & ~alive).any()
        assert weight[mask].sum() <= limit
        assert mask[alive].all() or weight[mask].sum() > limit - weight.max()  # not one more would fit everywhere


def test_least_is_kept_even_beyond_the_budget():
    allowance = Allowance(np.ones(3, bool), np.full(3, 5), 2, least=1)
    assert allowance.random(np.random.default_rng(0)).sum() == 1


def test_random_subset_is_uniform():
    rng = np.random.default_rng(0)
    alive = np.array([True, True, False, True, True])
    counts = np.sum([counted(alive, 2).random(rng) for _ in range(4000)], axis=0)
    assert counts[2] == 0
    assert np.abs(counts[alive] - 2000).max() < 150  # 4.7 standard deviations


def test_top_prefers_value_for_weight():
    allowance = Allowance(np.ones(3, bool), np.array([4, 1, 2]), 3)
    assert allowance.top(np.array([5.0, 2.0, 3.0])).tolist() == [False, True, True]


def test_perturb_swaps_the_fraction_of_the_smaller_side():
    rng = np.random.default_rng(0)
    allowance = counted(np.ones(400, bool), 300)
    mask = allowance.random(rng)
    moved = [int((allowance.perturb(mask, 0.3, rng) & ~mask).sum()) for _ in range(50)]
    assert abs(np.mean(moved) - 30) < 4


def test_cross_inherits_what_both_parents_treat_alike():
    rng = np.random.default_rng(0)
    allowance = counted(np.ones(40, bool), 20)
    first, second = allowance.random(rng), allowance.random(rng)
    child = allowance.cross(first, second, rng)
    assert child[first & second].all()
    assert not child[~(first | second)].any()


def test_perturb_does_not_change_its_argument():
    mask = np.array([True, False, True])
    counted(np.ones(3, bool), 2).perturb(mask, 1.0, np.random.default_rng(0))
    assert mask.tolist() == [True, False, True]


@LAWS
@given(shapes, st.integers(0, 999), st.floats(0, 1))
def test_a_child_keeps_what_both_parents_keep_whatever_the_units_weigh(shape, seed, share):
    rng = np.random.default_rng(seed)
    weight = rng.integers(1, 9, shape)
    allowance = Allowance(np.ones(shape, bool), weight, int(share * weight.sum()))
    first, second = allowance.random(rng), allowance.random(rng)
    assert allowance.cross(first, second, rng)[first & second].all()


def test_a_child_has_parts_of_two_parents():
    """Of two disjoint parents about half of each."""
    rng = np.random.default_rng(0)
    allowance, first = counted(np.ones(400, bool), 200), np.arange(400) < 200
    child = allowance.cross(first, ~first, rng)
    assert 70 < (child & first).sum() < 130
