"""Pictures of masks hold what they show; the front has what nothing beats."""

import itertools

import numpy as np
import pytest

from tflite_export.report import Point, front, mask_picture, points_of


def drawn(kept, block, outputs, inputs):
    return mask_picture("layer", kept, block=block, outputs=outputs, inputs=inputs)


def test_kernels_that_go_whole_are_a_point_each():
    kept = np.tile(np.array([[1, 0, 1], [0, 1, 1]], np.bool_), (9, 1, 1))
    picture = drawn(kept, (3, 3), 5, 4)
    assert (picture.block, picture.rows, picture.columns) == ((1, 1), 5, 4)
    points = points_of(picture)
    assert (points[:3, :2] == kept[0].T).all()
    assert not points[3:].any() and not points[:, 2:].any()
    assert picture.kept == 9 * 4 / (9 * 5 * 4)


def test_kernels_in_part_are_blocks():
    kept = np.zeros((9, 2, 3), np.bool_)
    kept[5, 1, 2] = True  # second row, third column of the kernel from input 1 to output 2
    picture = drawn(kept, (3, 3), 3, 2)
    assert (picture.rows, picture.columns) == (9, 6)
    assert np.argwhere(points_of(picture)).tolist() == [[2 * 3 + 1, 1 * 3 + 2]]


@pytest.mark.parametrize("seed", range(20))
def test_picture_that_is_not_cut_shows_every_weight(seed):
    rng = np.random.default_rng(seed)
    height, width, inputs, outputs = rng.integers(1, 6, 4)
    kept = rng.random((height * width, inputs, outputs)) < 0.5
    kept[0, 0, 0], kept[-1, -1, -1] = True, False
    picture = drawn(kept, (int(height), int(width)), int(outputs), int(inputs))
    assert picture.kept == pytest.approx(kept.mean())
    if picture.block == (height, width):
        assert np.count_nonzero(points_of(picture)) == np.count_nonzero(kept)
    assert not picture.cut


def test_large_picture_is_cut_and_says_so():
    picture = drawn(np.ones((1, 100, 30), np.bool_), (1, 1), 70, 100)
    assert (picture.rows, picture.columns, picture.cut) == (64, 64, True)
    assert (picture.outputs, picture.inputs) == (70, 100)


@pytest.mark.parametrize("falls, seed", itertools.product([True, False], range(20)))
def test_front_has_exactly_what_nothing_beats(falls, seed):
    rng = np.random.default_rng(seed)
    points = [Point(str(at), *map(float, rng.integers(0, 6, 2))) for at in range(8)]
    sign = -1 if falls else 1

    def beaten(one):
        return any(
            other.cost <= one.cost
            and sign * other.score >= sign * one.score
            and (other.cost, other.score) != (one.cost, one.score)
            for other in points
        )

    best = {(point.cost, point.score) for point in front(points, falls=falls)}
    assert best == {(point.cost, point.score) for point in points if not beaten(point)}
