"""Intra-kernel patterns against the definition and the kept counts of the papers."""

import numpy as np
import pytest

from tf_structprune.masks import KEEP_ON_GRID, POLARITIES, PRUNE_ON_GRID, positions_kept
from tf_structprune.masks._patterns import default_strides, patterns_by_count


@pytest.mark.parametrize("positions", [1, 4, 9, 25])
@pytest.mark.parametrize("stride", [1, 2, 3, 4, 5, 6])
def test_positions_follow_the_definition(positions, stride):
    for offset in range(stride):
        on_grid = {i for i in range(positions) if i >= offset and (i - offset) % stride == 0}
        off_grid = set(range(positions)) - on_grid
        if (stride, offset) == (1, 0):
            off_grid = on_grid  # the dense pattern, in either polarity
        pattern = np.array([[stride, offset]], np.int32)
        for polarity, kept in ((KEEP_ON_GRID, on_grid), (PRUNE_ON_GRID, off_grid)):
            assert set(np.flatnonzero(positions_kept(pattern, positions, polarity)[:, 0])) == kept


@pytest.mark.parametrize(
    "size, stride, at_zero, elsewhere",
    [(3, 2, 5, 4), (3, 3, 3, 3), (3, 4, 3, 2), (5, 2, 13, 12), (5, 3, 9, 8), (5, 4, 7, 6), (5, 5, 5, 5)],
)
def test_kept_counts_are_those_of_the_papers(size, stride, at_zero, elsewhere):
    patterns = np.array([[stride, offset] for offset in range(stride)], np.int32)
    counts = positions_kept(patterns, size * size).sum(axis=0)
    assert counts[0] == at_zero
    assert counts[-1] == elsewhere
    assert set(counts[1:]) <= {at_zero, elsewhere}
    complement = positions_kept(patterns, size * size, PRUNE_ON_GRID).sum(axis=0)
    assert (counts + complement == size * size).all()


def test_each_map_has_its_own_pattern():
    kept = positions_kept(np.array([[1, 0], [3, 0], [3, 1], [3, 2]], np.int32), 9)
    assert kept.shape == (9, 4)
    assert kept[:, 0].all()
    assert (kept[:, 1:].sum(axis=1) == 1).all()  # the three columns of a 3 x 3 kernel


@pytest.mark.parametrize("positions, strides", [(1, (1,)), (4, (1, 2, 3)), (9, (1, 2, 3, 4)), (25, (1, 2, 3, 4, 5, 6))])
def test_default_strides_go_one_beyond_a_column(positions, strides):
    assert default_strides(positions) == strides


@pytest.mark.parametrize("polarity", POLARITIES)
@pytest.mark.parametrize("positions", [2, 4, 9, 25])
def test_patterns_by_count_are_complete_and_ascending(positions, polarity):
    strides = default_strides(positions)
    found = patterns_by_count(positions, strides, polarity)
    assert list(found) == sorted(found)
    assert list(found)[-1] == positions
    for count, patterns in found.items():
        assert count > 0
        assert (positions_kept(patterns, positions, polarity).sum(axis=0) == count).all()
    every = {(s, o) for s in strides for o in range(min(s, positions)) if s > 1 or o == 0}
    listed = {tuple(p) for patterns in found.values() for p in patterns.tolist()}
    assert listed <= every
    empty = np.array(sorted(every - listed), np.int32).reshape(-1, 2)
    assert not positions_kept(empty, positions, polarity).any()


def test_positions_refuse_an_unknown_polarity():
    with pytest.raises(ValueError, match=r"Unknown polarity\. Received: polarity='both'\. Use one of: keep_on_grid, "):
        positions_kept(np.array([[1, 0]], np.int32), 9, "both")
