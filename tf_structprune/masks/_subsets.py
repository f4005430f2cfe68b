"""Subsets of fixed size as boolean masks: draw, move, cross, rank."""

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


def random_subset(alive: Mask, keep: int, rng: np.random.Generator) -> Mask:
    """`keep` of the alive entries, drawn uniformly."""
    return _of_indices(alive.shape, rng.choice(np.flatnonzero(alive), keep, replace=False))


def top_subset(values: NDArray[np.float64], alive: Mask, keep: int) -> Mask:
    """The `keep` alive entries of highest value; ties keep the lower index."""
    indices = np.flatnonzero(alive)
    order = np.argsort(-values.ravel()[indices], kind="stable")
    return _of_indices(alive.shape, indices[order[:keep]])


def perturb_subset(mask: Mask, alive: Mask, fraction: float, rng: np.random.Generator) -> Mask:
    """Swap about `fraction` of the smaller side with the other, at least one pair where possible."""
    kept, gone = np.flatnonzero(mask & alive), np.flatnonzero(~mask & alive)
    smaller = min(len(kept), len(gone))
    swaps = min(smaller, max(1, rng.binomial(smaller, fraction))) if smaller else 0
    changed = mask.copy().ravel()
    changed[rng.choice(kept, swaps, replace=False)] = False
    changed[rng.choice(gone, swaps, replace=False)] = True
    return changed.reshape(mask.shape)


def cross_subsets(first: Mask, second: Mask, rng: np.random.Generator) -> Mask:
    """Keep what both keep, fill up to the same size from what only one keeps."""
    child = first & second
    missing = int(first.sum()) - int(child.sum())
    return child | random_subset(first ^ second, missing, rng)


def _of_indices(shape: tuple[int, ...], indices: NDArray[np.int64]) -> Mask:
    mask = np.zeros(int(np.prod(shape)), np.bool_)
    mask[indices] = True
    return mask.reshape(shape)
