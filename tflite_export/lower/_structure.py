"""Which taps of which input maps a convolution really needs, and how they lie: NumPy only."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Piece:
    """A run of input maps of which all kernels of a block need the same taps.

    Attributes:
        start: first input map.
        stop: input map behind the last.
        taps: flat indices into the kernel's height x width, ascending.
    """

    start: int
    stop: int
    taps: tuple[int, ...]

    @property
    def maps(self) -> int:
        """Number of input maps."""
        return self.stop - self.start


@dataclass(frozen=True)
class Block:
    """A run of output maps and all that they read.

    Attributes:
        start: first output map.
        stop: output map behind the last.
        pieces: what they read, in the order of the input maps.
    """

    start: int
    stop: int
    pieces: tuple[Piece, ...]

    @property
    def maps(self) -> int:
        """Number of output maps."""
        return self.stop - self.start

    @property
    def reads(self) -> int:
        """Values that one output pixel reads: the depth of the matrix product."""
        return sum(piece.maps * len(piece.taps) for piece in self.pieces)

    def by_taps(self) -> dict[tuple[int, ...], tuple[Piece, ...]]:
        """The pieces by the taps that they need."""
        found: dict[tuple[int, ...], list[Piece]] = {}
        for piece in self.pieces:
            found.setdefault(piece.taps, []).append(piece)
        return {taps: tuple(pieces) for taps, pieces in found.items()}


@dataclass(frozen=True)
class Lattice:
    """Taps that are a smaller kernel of their own: `rows x columns` of them, evenly spaced.

    Attributes:
        top: row of the first.
        left: column of the first.
        rows: number of rows.
        columns: number of columns.
        row_step: kernel rows from one to the next.
        column_step: kernel columns from one to the next.
    """

    top: int
    left: int
    rows: int
    columns: int
    row_step: int = 1
    column_step: int = 1

    @property
    def size(self) -> int:
        """Number of taps."""
        return self.rows * self.columns

    @property
    def height(self) -> int:
        """Kernel rows from the first to the last."""
        return (self.rows - 1) * self.row_step + 1

    @property
    def width(self) -> int:
        """Kernel columns from the first to the last."""
        return (self.columns - 1) * self.column_step + 1

    def at_origin(self) -> "Lattice":
        """The same shape in the first row and column."""
        return Lattice(0, 0, self.rows, self.columns, self.row_step, self.column_step)

    def taps_at(self, place: tuple[int, int], width: int) -> frozenset[int]:
        """The taps of the shape when it begins at that row and column of a kernel so many columns wide."""
        rows = (place[0] + row * self.row_step for row in range(self.rows))
        columns = [place[1] + column * self.column_step for column in range(self.columns)]
        return frozenset(row * width + column for row in rows for column in columns)


def blocks_of(alive: NDArray[np.bool_], edges: Sequence[int]) -> tuple[Block, ...]:
    """What each run of output maps reads.

    Args:
        alive: weights that are not zero, shape (taps, input maps, output maps).
        edges: borders of the runs of output maps, from 0 to the number of them, ascending.
    """
    return tuple(
        Block(start, stop, _pieces(np.asarray(alive[:, :, start:stop].any(axis=2))))
        for start, stop in zip(edges[:-1], edges[1:], strict=True)
    )


def _pieces(needed: NDArray[np.bool_]) -> tuple[Piece, ...]:
    """Runs of input maps with the same taps; maps without any are left out, shape (taps, input maps)."""
    changes = np.flatnonzero((needed[:, 1:] != needed[:, :-1]).any(axis=0)) + 1
    edges = [0, *changes.tolist(), needed.shape[1]]
    runs = zip(edges[:-1], edges[1:], strict=True)
    found = (Piece(start, stop, tuple(np.flatnonzero(needed[:, start]).tolist())) for start, stop in runs)
    return tuple(piece for piece in found if piece.taps)


def lattice_of(taps: Sequence[int], width: int) -> Lattice | None:
    """The lattice that the taps of a kernel of that width form; None if they are no full lattice."""
    rows, columns = ({tap // width for tap in taps}, {tap % width for tap in taps})
    steps = [_step(sorted(axis)) for axis in (rows, columns)]
    if len(rows) * len(columns) != len(set(taps)) or None in steps:
        return None
    return Lattice(min(rows), min(columns), len(rows), len(columns), steps[0] or 1, steps[1] or 1)


def _step(places: list[int]) -> int | None:
    distances = {after - before for before, after in zip(places[:-1], places[1:], strict=True)}
    return None if len(distances) > 1 else next(iter(distances), 1)


def even_edges(alive: NDArray[np.bool_], most: int = 16) -> tuple[int, ...]:
    """Borders of output maps in even blocks, such that the least weights are left to compute.

    Tries 1, 2, 4... blocks up to `most` and those where the needed input maps change; a further
    block has to save a tenth of the work at least.

    Args:
        alive: weights that are not zero, shape (taps, input maps, output maps).
        most: largest number of blocks.
    """
    outputs = alive.shape[2]
    changes = np.flatnonzero((alive[:, :, 1:] != alive[:, :, :-1]).any(axis=(0, 1))) + 1
    candidates = [(0, *changes.tolist(), outputs)] if len(changes) < most else []
    count = 1
    while count <= min(most, outputs):
        candidates.append(tuple(round(outputs * part / count) for part in range(count + 1)))
        count *= 2
    return min(candidates, key=lambda edges: _cost(alive, edges))


def _cost(alive: NDArray[np.bool_], edges: Sequence[int]) -> float:
    blocks = blocks_of(alive, edges)
    return sum(block.maps * block.reads for block in blocks) * math.pow(1.1, len(blocks) - 1)
