"""The spaces of masks of single weights: by layer, n of m, or all layers together."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from tf_structprune.channels import PrunableGraph
from tf_structprune.masks._granularity import Weight
from tf_structprune.masks._mask_set import WEIGHT, MaskSet
from tf_structprune.masks._ranked import Pool, Runs, most_removed_in_runs
from tf_structprune.masks._reach import ROUNDING, PatternOptions, prunable_masks, unreachable
from tf_structprune.masks._spaces import Importance, MaskSpace, SubsetSpace
from tf_structprune.masks._subsets import Mask, counted


def weight_space(
    graph: PrunableGraph, sparsity: float, base: MaskSet, options: PatternOptions, demands: Weight
) -> MaskSpace:
    """Single weights; every layer loses the same fraction of them, or all layers share one ranking."""
    now = prunable_masks(graph, base, options)
    alive = {name: masks.kept for name, masks in now.items()}
    counts = np.array([int(kept.sum()) for kept in alive.values()])
    needed = math.ceil(int(counts.sum()) - (1 - sparsity) * graph.prunable_weights - ROUNDING)
    most = np.array([_most_removed(kept, demands) for kept in alive.values()])
    if demands.n is not None and demands.m is not None and sparsity <= 1 - demands.n / demands.m + ROUNDING:
        needed = min(needed, int(most.sum()))  # short runs at the ends of columns leave more
    if needed > most.sum():
        raise unreachable(WEIGHT, sparsity, 1 - int((counts - most).sum()) / graph.prunable_weights)
    if demands.across == "model":
        return _pooled(alive, base, int(counts.sum()) - max(0, needed))
    removed = shares_of(max(0, needed), counts, most)
    blocks = {
        name: counted(kept, int(kept.sum()) - lost)
        if demands.n is None or demands.m is None
        else Runs(kept, int(kept.sum()) - lost, demands.n, demands.m)
        for (name, kept), lost in zip(alive.items(), removed.tolist(), strict=True)
    }
    return SubsetSpace(WEIGHT, base, blocks)


def shares_of(needed: int, counts: NDArray[np.int64], most: NDArray[np.int64]) -> NDArray[np.int64]:
    """How much each block loses, so that the sum is as needed and all lose the same fraction, within their limits.

    Args:
        needed: what all lose together, at most the sum of `most`.
        counts: what each has, shape (blocks,).
        most: what each may lose, shape (blocks,).

    Returns:
        Whole numbers, shape (blocks,).
    """
    low, high = 0.0, 1.0
    for _ in range(64):
        middle = (low + high) / 2
        low, high = (low, middle) if np.minimum(middle * counts, most).sum() >= needed else (middle, high)
    exact: NDArray[np.float64] = np.minimum(high * counts, most)
    lost: NDArray[np.int64] = np.floor(exact + ROUNDING).astype(np.int64)
    order = np.argsort(lost - exact, kind="stable")  # the largest remainders first, then whoever may lose more
    while (left := needed - int(lost.sum())) > 0:
        open_ = order[lost[order] < most[order]][:left]
        lost[open_] += 1
    for at in order[::-1]:
        if lost.sum() <= needed:
            break
        lost[at] -= 1
    return lost


def _most_removed(alive: Mask, demands: Weight) -> int:
    if demands.n is None or demands.m is None:
        return max(0, int(alive.sum()) - 1)
    return most_removed_in_runs(alive, demands.n, demands.m)


_T = TypeVar("_T", bound=np.generic)


@dataclass(frozen=True)
class _Share:
    """A layer of a pooled space, which may lose all but one of its weights or none."""

    alive: Mask
    removed: int = 0


@dataclass(frozen=True)
class PooledSpace(MaskSpace):
    """Weights of all layers in one ranking: how many each layer loses is part of the choice.

    Attributes:
        granularity: "weight".
        base: masks of the other granularities.
        alive_by_layer: weights to choose from by layer name, each (positions, group inputs, outputs).
        pool: the same, one after the other, and how many stay.
    """

    granularity: str
    base: MaskSet
    alive_by_layer: Mapping[str, Mask]
    pool: Pool

    def _blocks(self) -> Mapping[str, _Share]:
        return {name: _Share(alive) for name, alive in self.alive_by_layer.items()}

    def sample(self, rng: np.random.Generator) -> MaskSet:
        return self._split(self.pool.random(rng))

    def perturb(self, masks: MaskSet, fraction: float, rng: np.random.Generator) -> MaskSet:
        return self._split(self.pool.perturb(self._joined(masks.weight), fraction, rng))

    def cross(self, first: MaskSet, second: MaskSet, rng: np.random.Generator) -> MaskSet:
        return self._split(self.pool.cross(self._joined(first.weight), self._joined(second.weight), rng))

    def top(self, importance: Importance) -> MaskSet:
        return self._split(self.pool.top(self._joined(importance)))

    def _joined(self, arrays: Mapping[str, NDArray[_T]]) -> NDArray[_T]:
        joined: NDArray[_T] = np.concatenate([arrays[name].ravel() for name in self.alive_by_layer])
        return joined

    def _split(self, mask: Mask) -> MaskSet:
        parts = np.split(mask, self.pool.starts[1:])
        shaped = zip(self.alive_by_layer.items(), parts, strict=True)
        return self._with({name: part.reshape(alive.shape) for (name, alive), part in shaped})


def _pooled(alive: Mapping[str, Mask], base: MaskSet, keep: int) -> PooledSpace:
    starts = np.cumsum([0, *(kept.size for kept in alive.values())])[:-1]
    joined = np.concatenate([kept.ravel() for kept in alive.values()])
    return PooledSpace(WEIGHT, base, alive, Pool(joined, keep, starts.astype(np.int64)))
