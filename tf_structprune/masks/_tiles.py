"""Kernels that go in blocks: a few runs of inputs for each run of outputs."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tf_structprune.masks._subsets import Allowance, Mask


@dataclass(frozen=True)
class Tiles:
    """Keep some tiles in every column of tiles, an allowance each; a mask keeps a tile's kernels or none.

    All columns together keep at most a limit, even where each of them may keep its heaviest tile.

    Where the tiles of a column weigh the same, every block of inputs is read by as many groups of outputs
    as any other, give or take one: no input is left unread, and with one tile a column the blocks are
    disjoint, a grouped convolution.

    Attributes:
        alive: kernels to choose from, shape (inputs, outputs).
        block_of_input: run that each input map is in, shape (inputs,).
        group_of_output: run that each output map is in, shape (outputs,).
        columns: for each group of outputs, which blocks of inputs it may read.
        limit: largest weight of all tiles that are kept.
    """

    alive: Mask
    block_of_input: NDArray[np.int64]
    group_of_output: NDArray[np.int64]
    columns: tuple[Allowance, ...]
    limit: int

    @property
    def removed(self) -> int:
        """Weight that every choice removes at least."""
        return sum(int(column.weight.sum()) for column in self.columns) - self.limit

    def random(self, rng: np.random.Generator) -> Mask:
        """A mask drawn at random."""
        tiles = np.stack([column.random(rng) for column in self.columns], axis=1)
        return self._expanded(tiles, rng.random(tiles.shape))

    def top(self, values: NDArray[np.float64]) -> Mask:
        """The mask that keeps the tiles of highest summed value for their weight."""
        sums = np.zeros((len(self.columns[0].alive), len(self.columns)))
        live = np.where(self.alive, values, 0.0)
        np.add.at(sums, (self.block_of_input[:, None], self.group_of_output[None, :]), live)
        tiles = np.stack([column.top(sums[:, at]) for at, column in enumerate(self.columns)], axis=1)
        return self._expanded(tiles, sums)

    def perturb(self, mask: Mask, fraction: float, rng: np.random.Generator) -> Mask:
        """Swap about `fraction` of the tiles of the smaller side with the other, in every column."""
        old = self._tiles(mask)
        moved = [column.perturb(old[:, at], fraction, rng) for at, column in enumerate(self.columns)]
        tiles = np.stack(moved, axis=1)
        return self._expanded(tiles, rng.random(tiles.shape) + (tiles & ~old))

    def cross(self, first: Mask, second: Mask, rng: np.random.Generator) -> Mask:
        """Keep the tiles that both keep, fill up from those that only one keeps."""
        one, two = self._tiles(first), self._tiles(second)
        crossed = [column.cross(one[:, at], two[:, at], rng) for at, column in enumerate(self.columns)]
        tiles = np.stack(crossed, axis=1)
        return self._expanded(tiles, rng.random(tiles.shape), one ^ two, one & two)

    def _balanced(self, tiles: Mask, values: NDArray[np.float64], free: Mask | None = None) -> Mask:
        """The tiles after exchanges within columns until all blocks are read about equally often; each
        exchange is the one that loses least value. Only tiles that are `free` change, all by default."""
        if any(len(np.unique(column.weight[column.alive])) != 1 or not column.alive.all() for column in self.columns):
            return tiles
        result, free = tiles.copy(), np.ones_like(tiles) if free is None else free
        while True:
            uses = result.sum(axis=1)
            over, under = np.flatnonzero(uses == uses.max()), np.flatnonzero(uses == uses.min())
            if uses.max() - uses.min() <= 1:
                return result
            giving, taking = result & free, ~result & free
            if not (giving[over].any(axis=0) & taking[under].any(axis=0)).any():
                over, under = _first_of_chain(over, under, giving @ taking.T)
                if not len(over):
                    return result
            possible = giving[over][:, None, :] & taking[under][None, :, :]
            loss = values[over][:, None, :] - values[under][None, :, :]
            one, other, group = np.unravel_index(np.where(possible, loss, np.inf).argmin(), loss.shape)
            result[over[one], group], result[under[other], group] = False, True

    def _tiles(self, mask: Mask) -> Mask:
        """Which tiles a mask keeps, shape (blocks, groups)."""
        kept = np.zeros((len(self.columns[0].alive), len(self.columns)), np.bool_)
        rows, columns = np.nonzero(mask & self.alive)
        kept[self.block_of_input[rows], self.group_of_output[columns]] = True
        return kept

    def _light(self, tiles: Mask, values: NDArray[np.float64], fixed: Mask | None = None) -> Mask:
        """The tiles after exchanges within columns for lighter ones, or for none where others are left, until they
        weigh no more than the limit; each is the one that loses least value. Tiles that are `fixed` stay."""
        result, stays = tiles.copy(), np.zeros_like(tiles) if fixed is None else fixed
        none = np.zeros((1, len(self.columns)))
        weight = np.stack([column.weight for column in self.columns], axis=1)
        lighter = np.vstack([weight, none])[None] < weight[:, None]
        loss = values[:, None] - np.vstack([values, none])[None]
        while weight[result].sum() > self.limit:
            taking = np.vstack([~result & (weight > 0), result.sum(axis=0, keepdims=True) > 1])
            possible = (result & ~stays)[:, None] & taking[None] & lighter
            one, other, group = np.unravel_index(np.where(possible, loss, np.inf).argmin(), loss.shape)
            result[one, group] = False
            result[other : other + 1, group] = other < len(result)
        return result

    def _expanded(
        self, tiles: Mask, values: NDArray[np.float64], free: Mask | None = None, fixed: Mask | None = None
    ) -> Mask:
        """The kernels of tiles, which are exchanged for those of least value until blocks and weights are right."""
        tiles = self._light(self._balanced(tiles, values, free), values, fixed)
        mask: Mask = tiles[self.block_of_input[:, None], self.group_of_output[None, :]] & self.alive
        return mask


def _first_of_chain(
    over: NDArray[np.int64], under: NDArray[np.int64], possible: Mask
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The blocks that begin the shortest chains of possible exchanges, shape (blocks, blocks), and those that come next
    in them; none where no chain leads from one to the other."""
    steps = np.full(len(possible), len(possible))
    steps[under] = 0
    for count in range(1, len(possible)):
        reached = possible[:, steps == count - 1].any(axis=1) & (steps > count)
        if not reached.any() or (steps[over] < count).any():
            break
        steps[reached] = count
    near = steps[over].min()
    return over[(steps[over] == near) & (near < len(possible))], np.flatnonzero(steps == near - 1)


def runs(alive: Mask, parts: int) -> NDArray[np.int64]:
    """The run that each map is in when the alive ones are split in even runs, shape (maps,)."""
    count = max(1, int(alive.sum()))
    rank: NDArray[np.int64] = np.maximum(np.cumsum(alive) - 1, 0)
    run: NDArray[np.int64] = rank * min(parts, count) // count
    return run


def tile_weights(
    weights: NDArray[np.int64], block_of_input: NDArray[np.int64], group_of_output: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Weights in each tile, shape (blocks, groups), from those of the alive kernels, (inputs, outputs)."""
    total = np.zeros((int(block_of_input.max()) + 1, int(group_of_output.max()) + 1), np.int64)
    np.add.at(total, (block_of_input[:, None], group_of_output[None, :]), weights)
    return total
