"""Strata of samples, and orders that are spread over them."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from tf_structprune.scoring import spread, strata_of

LABELS = st.lists(st.integers(0, 6), min_size=1, max_size=200).map(np.array)


@pytest.mark.parametrize(
    "targets",
    [
        pytest.param(lambda labels: labels, id="labels"),
        pytest.param(lambda labels: labels[:, None], id="a column of labels"),
        pytest.param(lambda labels: np.eye(10)[labels], id="one-hot"),
        pytest.param(lambda labels: [labels, np.zeros(len(labels))], id="two outputs"),
    ],
)
def test_classes_are_strata(targets):
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 20))
    assert (strata_of(targets(labels), first=128) == labels).all()


@pytest.mark.parametrize("shape", [(4, 4, 2), (4, 2)], ids=["images", "sequences"])
def test_targets_of_every_place_are_taken_by_their_mean(shape):
    maps = np.random.default_rng(0).random((100, *shape)) + np.arange(100).reshape(100, *[1] * len(shape))
    strata = strata_of(maps, first=128)
    assert (np.diff(strata) >= 0).all()
    assert strata.max() > 5


@given(LABELS, st.integers(1, 300))
def test_strata_are_numbered_ordered_and_large(labels, first):
    strata = strata_of(labels, first=first)
    sizes = np.bincount(strata)
    assert (sizes > 0).all()
    assert len(sizes) <= max(1, min(16, first // 8))
    assert len(sizes) == 1 or sizes.min() >= len(labels) / 16
    assert all(len(set(strata[labels == label])) == 1 for label in labels)
    assert (np.diff(strata[labels.argsort(kind="stable")]) >= 0).all()


@given(LABELS, st.integers(0, 1000))
def test_every_part_of_an_order_has_its_share_of_each_stratum(labels, seed):
    strata = strata_of(labels, first=128)
    order = spread(strata, np.random.default_rng(seed))
    assert sorted(order) == list(range(len(labels)))
    inside = np.eye(strata.max() + 1)[strata[order]]
    shares = inside.mean(axis=0)
    behind = inside.cumsum(axis=0) - shares * np.arange(1, len(labels) + 1)[:, None]
    assert (np.abs(behind) <= 1 + shares * len(shares) + 1e-9).all()


def test_order_is_random_and_the_seed_decides_it():
    strata = np.repeat([0, 1], 50)
    first, same, other = (spread(strata, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert (first == same).all()
    assert (first != other).any()
    assert len({tuple(spread(strata, np.random.default_rng(seed))[:2]) for seed in range(50)}) > 40
