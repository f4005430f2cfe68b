"""Subsets within an allowance as boolean masks: draw, move, cross, rank."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Allowance:
    """Keep alive units whose weights sum to at most a limit.

    Units are put in an order and kept from its beginning up to the first that does not fit, whether or not a lighter
    one behind it would, unless fewer than `least` were kept. Where all weigh the same, every subset therefore has the
    same size.

    Attributes:
        alive: units to choose from, any shape; the others are gone already.
        weight: weight of each unit, same shape, positive where alive.
        limit: largest sum of the kept weights.
        least: how many units are kept in any case.
    """

    alive: Mask
    weight: NDArray[np.int64]
    limit: int
    least: int = 0

    @property
    def removed(self) -> int:
        """Weight that every subset removes at least."""
        return int(self.weight[self.alive].sum()) - self.limit

    def random(self, rng: np.random.Generator) -> Mask:
        """The subset of a random order; where all units weigh the same, each subset is as likely as any other."""
        return self._fill(rng.permutation(self._units(self.alive)))

    def top(self, values: NDArray[np.float64]) -> Mask:
        """The subset of highest value for its weight; ties keep the lower index."""
        units = self._units(self.alive)
        density = values.ravel()[units] / self.weight.ravel()[units]
        return self._fill(units[np.argsort(-density, kind="stable")])

    def perturb(self, mask: Mask, fraction: float, rng: np.random.Generator) -> Mask:
        """Swap about `fraction` of the smaller side with the other, at least one pair where possible."""
        kept = rng.permutation(self._units(mask & self.alive))
        gone = rng.permutation(self._units(~mask & self.alive))
        smaller = min(len(kept), len(gone))
        swaps = min(smaller, max(1, rng.binomial(smaller, fraction))) if smaller else 0
        return self._fill(np.concatenate([gone[:swaps], kept[swaps:], kept[:swaps], gone[swaps:]]))

    def cross(self, first: Mask, second: Mask, rng: np.random.Generator) -> Mask:
        """Keep what both keep, fill up from what only one keeps."""
        parts = (first & second, first ^ second, ~(first | second))
        return self._fill(np.concatenate([rng.permutation(self._units(part & self.alive)) for part in parts]))

    def _fill(self, order: NDArray[np.int64]) -> Mask:
        weights = self.weight.ravel()[order]
        fitting = int(np.searchsorted(np.cumsum(weights), self.limit, side="right"))
        if fitting < self.least:
            order = order[np.argsort(weights > self.limit, kind="stable")]
        mask = np.zeros(self.alive.size, np.bool_)
        mask[order[: max(self.least, fitting)]] = True
        return mask.reshape(self.alive.shape)

    @staticmethod
    def _units(mask: Mask) -> NDArray[np.int64]:
        return np.flatnonzero(mask)


def counted(alive: Mask, keep: int) -> Allowance:
    """A allowance of `keep` units of weight 1, at least one."""
    return Allowance(alive, np.ones(alive.shape, np.int64), keep, least=1)
