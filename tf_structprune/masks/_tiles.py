"""Kernels that go in blocks: a few runs of inputs for each run of outputs."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tf_structprune.masks._subsets import Budget, Mask


@dataclass(frozen=True)
class Tiles:
    """Keep some tiles in every column of tiles, a budget each; a mask keeps a tile's kernels or none.

    Attributes:
        alive: kernels to choose from, shape (inputs, outputs).
        block_of_input: run that each input map is in, shape (inputs,).
        group_of_output: run that each output map is in, shape (outputs,).
        columns: for each group of outputs, which blocks of inputs it may read.
    """

    alive: Mask
    block_of_input: NDArray[np.int64]
    group_of_output: NDArray[np.int64]
    columns: tuple[Budget, ...]

    @property
    def removed(self) -> int:
        """Weight that every choice removes at least."""
        return sum(column.removed for column in self.columns)

    def random(self, rng: np.random.Generator) -> Mask:
        """A mask drawn uniformly."""
        return self._expanded([column.random(rng) for column in self.columns])

    def top(self, values: NDArray[np.float64]) -> Mask:
        """The mask that keeps the tiles of highest summed value for their weight."""
        sums = np.zeros((len(self.columns[0].alive), len(self.columns)))
        live = np.where(self.alive, values, 0.0)
        np.add.at(sums, (self.block_of_input[:, None], self.group_of_output[None, :]), live)
        return self._expanded([column.top(sums[:, at]) for at, column in enumerate(self.columns)])

    def perturb(self, mask: Mask, fraction: float, rng: np.random.Generator) -> Mask:
        """Swap about `fraction` of the tiles of the smaller side with the other, in every column."""
        tiles = self._tiles(mask)
        moved = [column.perturb(tiles[:, at], fraction, rng) for at, column in enumerate(self.columns)]
        return self._expanded(moved)

    def cross(self, first: Mask, second: Mask, rng: np.random.Generator) -> Mask:
        """Keep the tiles that both keep, fill up from those that only one keeps."""
        one, two = self._tiles(first), self._tiles(second)
        crossed = [column.cross(one[:, at], two[:, at], rng) for at, column in enumerate(self.columns)]
        return self._expanded(crossed)

    def _tiles(self, mask: Mask) -> Mask:
        """Which tiles a mask keeps, shape (blocks, groups)."""
        kept = np.zeros((len(self.columns[0].alive), len(self.columns)), np.bool_)
        rows, columns = np.nonzero(mask & self.alive)
        kept[self.block_of_input[rows], self.group_of_output[columns]] = True
        return kept

    def _expanded(self, columns: list[Mask]) -> Mask:
        tiles = np.stack(columns, axis=1)
        mask: Mask = tiles[self.block_of_input[:, None], self.group_of_output[None, :]] & self.alive
        return mask


def runs(count: int, parts: int) -> NDArray[np.int64]:
    """The run that each of `count` maps is in when they are split in even runs, shape (count,)."""
    return np.arange(count) * min(parts, count) // count


def tile_weights(
    weights: NDArray[np.int64], block_of_input: NDArray[np.int64], group_of_output: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Weights in each tile, shape (blocks, groups), from those of the alive kernels, (inputs, outputs)."""
    total = np.zeros((int(block_of_input.max()) + 1, int(group_of_output.max()) + 1), np.int64)
    np.add.at(total, (block_of_input[:, None], group_of_output[None, :]), weights)
    return total
