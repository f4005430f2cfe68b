"""Choices of single weights under a demand that couples them: all are made by ranking numbers."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tf_structprune.masks._subsets import Mask

Values = NDArray[np.float64]


class Ranked(ABC):
    """Units of which so many stay, chosen by their rank in some numbers and by a demand on the choice.

    Attributes:
        alive: units to choose from, any shape.
        keep: how many of them stay.
    """

    alive: Mask
    keep: int

    @abstractmethod
    def _protected(self, values: Values) -> Mask:
        """Alive units that the demand keeps when the numbers are these, at most `keep`; minus infinity where dead."""

    @property
    def removed(self) -> int:
        """Units that every choice removes."""
        return int(self.alive.sum()) - self.keep

    def top(self, values: Values) -> Mask:
        """The units of highest value that the demand allows; ties keep the lower index."""
        ranked = np.where(self.alive, values, -np.inf)
        mask = self._protected(ranked)
        open_ = np.flatnonzero(self.alive & ~mask)
        best = np.argsort(-ranked.ravel()[open_], kind="stable")
        mask.reshape(-1)[open_[best[: self.keep - int(mask.sum())]]] = True
        return mask

    def random(self, rng: np.random.Generator) -> Mask:
        """The choice by random numbers."""
        return self.top(rng.random(self.alive.shape))

    def perturb(self, mask: Mask, fraction: float, rng: np.random.Generator) -> Mask:
        """About `fraction` of the smaller side changes place with the other, at least one pair where possible."""
        kept, gone = (rng.permutation(np.flatnonzero(side & self.alive)) for side in (mask, ~mask))
        smaller = min(len(kept), len(gone))
        swaps = min(smaller, max(1, rng.binomial(smaller, fraction))) if smaller else 0
        values = mask + rng.random(mask.shape)
        values.reshape(-1)[gone[:swaps]] += 2
        values.reshape(-1)[kept[:swaps]] -= 2
        return self.top(values)

    def cross(self, first: Mask, second: Mask, rng: np.random.Generator) -> Mask:
        """Keep what both keep, fill up from what only one keeps."""
        return self.top(first.astype(np.float64) + second + rng.random(first.shape) / 2)


@dataclass(frozen=True)
class Runs(Ranked):
    """Weights of one layer of which `n` stay in every run of `m`, or more where fewer are to go.

    Attributes:
        alive: weights to choose from, shape (positions, group inputs, outputs).
        keep: how many stay.
        n: weights of a run that no choice removes.
        m: length of a run over inputs, then positions, of one output.
    """

    alive: Mask
    keep: int
    n: int
    m: int

    def _protected(self, values: Values) -> Mask:
        runs = _in_runs(values, self.m)
        order = np.argsort(-runs, axis=1, kind="stable")[:, : self.n]
        best = np.zeros(runs.shape, np.bool_)
        np.put_along_axis(best, order, True, axis=1)
        rows = values.shape[0] * values.shape[1]
        mask: Mask = best.reshape(-1, values.shape[2])[:rows].reshape(values.shape) & self.alive
        return mask


@dataclass(frozen=True)
class Pool(Ranked):
    """Weights of several layers, ranked together; the best weight of each layer stays.

    Attributes:
        alive: weights of all layers, one after the other, shape (weights,).
        keep: how many stay, at least one a layer that has some.
        starts: first weight of each layer, shape (layers,).
    """

    alive: Mask
    keep: int
    starts: NDArray[np.int64]

    def _protected(self, values: Values) -> Mask:
        mask = np.zeros(values.shape, np.bool_)
        for start, stop in zip(self.starts, [*self.starts[1:], len(values)], strict=True):
            if self.alive[start:stop].any():
                mask[start + int(values[start:stop].argmax())] = True
        return mask


def most_removed_in_runs(alive: Mask, n: int, m: int) -> int:
    """How many alive weights of a layer may go when `n` of every `m` stay."""
    in_run = _in_runs(np.where(alive, 0.0, -np.inf), m) > -np.inf
    return int(np.maximum(in_run.sum(axis=1) - n, 0).sum())


def _in_runs(values: Values, m: int) -> Values:
    """(positions, group inputs, outputs) as (runs, m, outputs), filled up with minus infinity."""
    flat = values.reshape(-1, values.shape[2])
    padded = np.pad(flat, ((0, -len(flat) % m), (0, 0)), constant_values=-np.inf)
    return padded.reshape(-1, m, values.shape[2])
