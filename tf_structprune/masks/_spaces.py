"""Mask spaces: all masks of one granularity at one sparsity, and how to move among them.

A selector never sees a granularity: it samples, perturbs and crosses candidates here, and every
candidate keeps as many weights in every block as its budget allows.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tf_structprune.masks._mask_set import Arrays, MaskSet
from tf_structprune.masks._subsets import Budget

Importance = Mapping[str, NDArray[np.float64]]


class _Block(Protocol):
    """The choices of one group or layer."""

    @property
    def alive(self) -> NDArray[np.bool_]:
        """Units that earlier masks have left."""

    @property
    def removed(self) -> int:
        """What every choice removes at least."""


class MaskSpace(ABC):
    """The candidates that one selector may propose. Higher importance is kept first.

    Attributes:
        granularity: what the candidates differ in.
        base: masks of the other granularities, the same in every candidate.
    """

    granularity: str
    base: MaskSet

    @abstractmethod
    def _blocks(self) -> Mapping[str, _Block]:
        """The choices by group or layer."""

    @property
    def alive(self) -> Mapping[str, NDArray[np.bool_]]:
        """Units of each block that earlier masks have left: the ones to choose from."""
        return {name: block.alive for name, block in self._blocks().items()}

    @property
    def removed(self) -> Mapping[str, int]:
        """What every candidate removes at least in each block: units, or weights where units weigh
        differently."""
        return {name: block.removed for name, block in self._blocks().items()}

    @abstractmethod
    def sample(self, rng: np.random.Generator) -> MaskSet:
        """A candidate drawn uniformly."""

    @abstractmethod
    def perturb(self, masks: MaskSet, fraction: float, rng: np.random.Generator) -> MaskSet:
        """A neighbour: about `fraction` of the removed units change place with kept ones."""

    @abstractmethod
    def cross(self, first: MaskSet, second: MaskSet, rng: np.random.Generator) -> MaskSet:
        """A child of two candidates: units that both treat alike are inherited, the others drawn
        from them such that the counts are kept (crossover with repair)."""

    @abstractmethod
    def top(self, importance: Importance) -> MaskSet:
        """The candidate that keeps the most important units; ties keep the lower index."""

    def _with(self, masks: Arrays) -> MaskSet:
        return self.base.updated(self.granularity, masks)


@dataclass(frozen=True)
class SubsetSpace(MaskSpace):
    """Feature maps or kernels: a subset within a budget in every block."""

    granularity: str
    base: MaskSet
    blocks: Mapping[str, Budget]

    def _blocks(self) -> Mapping[str, _Block]:
        return self.blocks

    def sample(self, rng: np.random.Generator) -> MaskSet:
        return self._with({name: block.random(rng) for name, block in self.blocks.items()})

    def perturb(self, masks: MaskSet, fraction: float, rng: np.random.Generator) -> MaskSet:
        old = masks.of(self.granularity)
        return self._with({name: block.perturb(old[name], fraction, rng) for name, block in self.blocks.items()})

    def cross(self, first: MaskSet, second: MaskSet, rng: np.random.Generator) -> MaskSet:
        one, two = first.of(self.granularity), second.of(self.granularity)
        return self._with({name: block.cross(one[name], two[name], rng) for name, block in self.blocks.items()})

    def top(self, importance: Importance) -> MaskSet:
        return self._with({name: block.top(importance[name]) for name, block in self.blocks.items()})


@dataclass(frozen=True)
class PatternBlock:
    """Give each alive map of one layer a pattern: of the richer kind within a budget, else of the poorer.

    Attributes:
        low: patterns that keep the smaller number of positions, shape (patterns, 2).
        high: patterns that keep the larger number, shape (patterns, 2).
        low_kept: positions kept by each of `low`, shape (positions, patterns).
        high_kept: positions kept by each of `high`, shape (positions, patterns).
        budget: which maps may have a pattern of `high`; a map weighs as much as it has kernels.
    """

    low: NDArray[np.int32]
    high: NDArray[np.int32]
    low_kept: NDArray[np.bool_]
    high_kept: NDArray[np.bool_]
    budget: Budget

    @property
    def alive(self) -> NDArray[np.bool_]:
        """Maps that are there, shape (maps,); the others get (1, 0)."""
        return self.budget.alive

    @property
    def removed(self) -> int:
        """Weights that every choice of patterns removes at least."""
        low, high = int(self.low_kept[:, 0].sum()), int(self.high_kept[:, 0].sum())
        rich = (len(self.high_kept) - high) * int(self.budget.weight[self.alive].sum())
        return rich + self.budget.removed * (high - low)

    def is_high(self, patterns: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Which maps have a pattern of the richer kind, shape (maps,)."""
        high: NDArray[np.bool_] = (patterns[:, None, :] == self.high[None, :, :]).all(axis=2).any(axis=1)
        return high & self.alive

    def assemble(
        self, high: NDArray[np.bool_], low_choice: NDArray[np.int64], high_choice: NDArray[np.int64]
    ) -> NDArray[np.int32]:
        """Patterns of all maps from the kind of each map and the pattern it has in either kind."""
        chosen = np.where(high[:, None], self.high[high_choice], self.low[low_choice])
        return np.where(self.alive[:, None], chosen, np.array([1, 0], np.int32)).astype(np.int32)


@dataclass(frozen=True)
class PatternSpace(MaskSpace):
    """Intra-kernel strided sparsity: a pattern for each input map, the total within a budget."""

    granularity: str
    base: MaskSet
    blocks: Mapping[str, PatternBlock]

    def _blocks(self) -> Mapping[str, _Block]:
        return self.blocks

    def sample(self, rng: np.random.Generator) -> MaskSet:
        return self._with({name: self._draw(block, rng) for name, block in self.blocks.items()})

    def perturb(self, masks: MaskSet, fraction: float, rng: np.random.Generator) -> MaskSet:
        changed = {}
        for name, block in self.blocks.items():
            old = np.asarray(masks.intra_kernel[name], np.int32)
            high = block.budget.perturb(block.is_high(old), fraction, rng)
            redraw = rng.random(len(old)) < fraction
            keep_old = (high == block.is_high(old)) & ~redraw
            changed[name] = np.where(keep_old[:, None], old, self._draw(block, rng, high)).astype(np.int32)
        return self._with(changed)

    def cross(self, first: MaskSet, second: MaskSet, rng: np.random.Generator) -> MaskSet:
        children = {}
        for name, block in self.blocks.items():
            one, two = first.intra_kernel[name], second.intra_kernel[name]
            one_high, two_high = block.is_high(one), block.is_high(two)
            high = block.budget.cross(one_high, two_high, rng)
            take_one = np.where(one_high == two_high, rng.random(len(high)) < 0.5, one_high == high)
            children[name] = np.where(take_one[:, None], one, two).astype(np.int32)
        return self._with(children)

    def top(self, importance: Importance) -> MaskSet:
        best = {}
        for name, block in self.blocks.items():
            values = importance[name]  # (positions, maps)
            low, high = block.low_kept.T @ values, block.high_kept.T @ values  # (patterns, maps)
            gain = high.max(axis=0) - low.max(axis=0)
            is_high = block.budget.top(gain)
            best[name] = block.assemble(is_high, low.argmax(axis=0), high.argmax(axis=0))
        return self._with(best)

    def _draw(
        self, block: PatternBlock, rng: np.random.Generator, high: NDArray[np.bool_] | None = None
    ) -> NDArray[np.int32]:
        maps = len(block.alive)
        if high is None:
            high = block.budget.random(rng)
        low_choice = rng.integers(len(block.low), size=maps)
        return block.assemble(high, low_choice, rng.integers(len(block.high), size=maps))
