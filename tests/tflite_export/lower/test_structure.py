"""Taps, pieces, blocks and grids, against the weights that they stand for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tflite_export.lower import Block, Lattice, Piece, blocks_of, even_edges, lattice_of

MANY = settings(max_examples=200, deadline=None, derandomize=True)


@st.composite
def masks(draw):
    shape = (draw(st.sampled_from([1, 4, 9])), draw(st.integers(1, 7)), draw(st.integers(1, 6)))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    return rng.random(shape) < draw(st.sampled_from([0.1, 0.5, 0.9]))


def covered(blocks, shape):
    """The weights that blocks compute."""
    mask = np.zeros(shape, bool)
    for block in blocks:
        for piece in block.pieces:
            mask[np.ix_(piece.taps, range(piece.start, piece.stop), range(block.start, block.stop))] = True
    return mask


@MANY
@given(alive=masks(), parts=st.integers(1, 6))
def test_blocks_cover_every_weight_and_no_needless_map(alive, parts):
    edges = sorted({round(alive.shape[2] * part / parts) for part in range(parts + 1)})
    blocks = blocks_of(alive, edges)
    mask = covered(blocks, alive.shape)
    assert (mask | ~alive).all()
    for block in blocks:
        read = alive[:, :, block.start : block.stop].any(axis=2)
        assert (mask[:, :, block.start] == read).all()
        assert block.reads == read.sum()
        assert sum(piece.maps for pieces in block.by_taps().values() for piece in pieces) == sum(
            piece.maps for piece in block.pieces
        )


@MANY
@given(alive=masks())
def test_chosen_edges_never_leave_more_work_than_one_block(alive):
    edges = even_edges(alive)
    assert (edges[0], edges[-1]) == (0, alive.shape[2])
    assert list(edges) == sorted(set(edges))
    assert (
        covered(blocks_of(alive, edges), alive.shape).sum()
        <= covered(blocks_of(alive, (0, edges[-1])), alive.shape).sum()
    )


def test_block_structure_is_found():
    alive = np.zeros((9, 8, 8), bool)
    alive[:, :4, :4] = True
    alive[:, 4:, 4:] = True
    assert even_edges(alive) == (0, 4, 8)
    taps = tuple(range(9))
    assert blocks_of(alive, (0, 4, 8)) == (Block(0, 4, (Piece(0, 4, taps),)), Block(4, 8, (Piece(4, 8, taps),)))


@pytest.mark.parametrize(
    "taps, width, lattice",
    [
        (range(9), 3, Lattice(0, 0, 3, 3)),
        ((0, 3, 6), 3, Lattice(0, 0, 3, 1)),
        ((2, 5, 8), 3, Lattice(0, 2, 3, 1)),
        ((3, 4, 5), 3, Lattice(1, 0, 1, 3)),
        ((4,), 3, Lattice(1, 1, 1, 1)),
        ((0, 2, 6, 8), 3, Lattice(0, 0, 2, 2, 2, 2)),
        ((0, 2, 4, 6, 8), 3, None),
        ((1, 3, 5, 7), 3, None),
        ((0, 4, 8), 3, None),
        ((0, 5, 10, 15, 20), 5, Lattice(0, 0, 5, 1)),
        ((0, 2, 4, 10, 12, 14, 20, 22, 24), 5, Lattice(0, 0, 3, 3, 2, 2)),
        ((0, 1, 3), 4, None),
    ],
)
def test_lattices_are_recognised(taps, width, lattice):
    assert lattice_of(tuple(taps), width) == lattice
