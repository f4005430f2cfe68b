"""Subsets of fixed size."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_structprune.masks._subsets import cross_subsets, perturb_subset, random_subset

LAWS = settings(max_examples=200, deadline=None, derandomize=True)
shapes = st.sampled_from([(1,), (7,), (3, 4), (2, 1)])


@LAWS
@given(shapes, st.integers(0, 999), st.floats(0, 1), st.data())
def test_subsets_keep_size_and_stay_alive(shape, seed, fraction, data):
    rng = np.random.default_rng(seed)
    alive = rng.random(shape) < 0.8
    keep = data.draw(st.integers(0, int(alive.sum())))
    first, second = random_subset(alive, keep, rng), random_subset(alive, keep, rng)
    for mask in (first, second, perturb_subset(first, alive, fraction, rng), cross_subsets(first, second, rng)):
        assert mask.shape == shape
        assert mask.sum() == keep
        assert not (mask & ~alive).any()


def test_random_subset_is_uniform():
    rng = np.random.default_rng(0)
    alive = np.array([True, True, False, True, True])
    counts = np.sum([random_subset(alive, 2, rng) for _ in range(4000)], axis=0)
    assert counts[2] == 0
    assert np.abs(counts[alive] - 2000).max() < 150  # 4.7 standard deviations


def test_perturb_swaps_the_fraction_of_the_smaller_side():
    rng = np.random.default_rng(0)
    alive = np.ones(400, bool)
    mask = random_subset(alive, 300, rng)
    moved = [int((perturb_subset(mask, alive, 0.3, rng) & ~mask).sum()) for _ in range(50)]
    assert abs(np.mean(moved) - 30) < 4


def test_perturb_does_not_change_its_argument():
    mask = np.array([True, False, True])
    perturb_subset(mask, np.ones(3, bool), 1.0, np.random.default_rng(0))
    assert mask.tolist() == [True, False, True]
