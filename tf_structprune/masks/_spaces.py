"""Mask spaces: all masks of one granularity at one sparsity, and how to move among them.

A selector never sees a granularity: it samples, perturbs and crosses candidates here, and every
candidate keeps as many weights in every block as its allowance allows.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tf_structprune.masks._mask_set import Arrays, MaskSet
from tf_structprune.masks._ranked import Runs
from tf_structprune.masks._subsets import Allowance
from tf_structprune.masks._tiles import Tiles

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
        """A candidate drawn at random.

        Uniformly where a block chooses single units of equal weight. Tiles of kernels are balanced afterwards, and
        units of unequal weight are taken in a random order for as long as they fit: there some candidates are likelier
        than others.
        """

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
    """Feature maps, kernels or weights: a subset, tiles or runs, within an allowance in every block."""

    granularity: str
    base: MaskSet
    blocks: Mapping[str, Allowance | Tiles | Runs]

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
    """Give each alive map of one layer a pattern: of the richer kind within an allowance, else of the poorer.

    Attributes:
        low: patterns that keep the smaller number of positions, shape (patterns, 2).
        high: patterns that keep the larger number, shape (patterns, 2).
        low_kept: positions kept by each of `low`, shape (positions, patterns).
        high_kept: positions kept by each of `high`, shape (positions, patterns).
        allowance: which maps may have a pattern of `high`; a map weighs as much as it has kernels.
        most: largest number of different patterns; None for any number.
    """

    low: NDArray[np.int32]
    high: NDArray[np.int32]
    low_kept: NDArray[np.bool_]
    high_kept: NDArray[np.bool_]
    allowance: Allowance
    most: int | None = None

    @property
    def alive(self) -> NDArray[np.bool_]:
        """Maps that are there, shape (maps,); the others get (1, 0)."""
        return self.allowance.alive

    @property
    def removed(self) -> int:
        """Weights that every choice of patterns removes at least."""
        low, high = int(self.low_kept[:, 0].sum()), int(self.high_kept[:, 0].sum())
        rich = (len(self.high_kept) - high) * int(self.allowance.weight[self.alive].sum())
        return rich + self.allowance.removed * (high - low)

    def is_high(self, patterns: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Which maps have a pattern of the richer kind, shape (maps,)."""
        high: NDArray[np.bool_] = (patterns[:, None, :] == self.high[None, :, :]).all(axis=2).any(axis=1)
        return high & self.alive

    def choose_high(self, choice: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The maps of the richer kind; none if only one pattern is allowed, which is then a poorer one."""
        return choice & (self.most != 1)

    def palettes(self, sizes: tuple[int, int]) -> tuple[int, int]:
        """How many different patterns of the poorer and the richer kind of so many may be used."""
        low, high = sizes
        if self.most is None:
            return low, high
        poorer = min(low, max(1, self.most - min(high, self.most // 2)))
        return poorer, max(1, min(high, self.most - poorer))

    def within(self, richer: NDArray[np.int64]) -> NDArray[np.int64]:
        """The poorer patterns that lie within some of those richer ones: once lowered, such maps are read as
        the others are. All patterns where their number does not matter, or where none lies within."""
        covers = np.asarray((~self.low_kept[:, :, None] | self.high_kept[:, richer][:, None, :]).all(axis=0))
        inside: NDArray[np.bool_] = np.asarray(covers.any(axis=1))
        everything = np.arange(len(self.low))
        return everything if self.most is None or not inside.any() else everything[inside]

    def assemble(
        self, high: NDArray[np.bool_], low_choice: NDArray[np.int64], high_choice: NDArray[np.int64]
    ) -> NDArray[np.int32]:
        """Patterns of all maps from the kind of each map and the pattern it has in either kind."""
        chosen = np.where(high[:, None], self.high[high_choice], self.low[low_choice])
        return np.where(self.alive[:, None], chosen, np.array([1, 0], np.int32)).astype(np.int32)


@dataclass(frozen=True)
class PatternSpace(MaskSpace):
    """Intra-kernel strided sparsity: a pattern for each input map, the total within an allowance."""

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
            high = block.choose_high(block.allowance.perturb(block.is_high(old), fraction, rng))
            redraw = rng.random(len(old)) < fraction
            keep_old = (high == block.is_high(old)) & ~redraw
            merged = np.where(keep_old[:, None], old, self._draw(block, rng, high)).astype(np.int32)
            changed[name] = self._few(block, merged, rng)
        return self._with(changed)

    def cross(self, first: MaskSet, second: MaskSet, rng: np.random.Generator) -> MaskSet:
        children = {}
        for name, block in self.blocks.items():
            one, two = first.intra_kernel[name], second.intra_kernel[name]
            one_high, two_high = block.is_high(one), block.is_high(two)
            high = block.choose_high(block.allowance.cross(one_high, two_high, rng))
            take_one = np.where(one_high == two_high, rng.random(len(high)) < 0.5, one_high == high)
            children[name] = self._few(block, np.where(take_one[:, None], one, two).astype(np.int32), rng)
        return self._with(children)

    def top(self, importance: Importance) -> MaskSet:
        best = {}
        for name, block in self.blocks.items():
            values = importance[name]  # (positions, maps)
            low, high = block.low_kept.T @ values, block.high_kept.T @ values  # (patterns, maps)
            few = block.palettes((len(block.low), len(block.high)))
            high_palette = _greedy(high[:, block.alive], few[1])
            within = block.within(high_palette)
            low_palette = within[_greedy(low[within][:, block.alive], few[0])]
            gain = high[high_palette].max(axis=0) - low[low_palette].max(axis=0)
            is_high = block.choose_high(block.allowance.top(gain))
            best[name] = block.assemble(
                is_high, low_palette[low[low_palette].argmax(axis=0)], high_palette[high[high_palette].argmax(axis=0)]
            )
        return self._with(best)

    def _draw(
        self, block: PatternBlock, rng: np.random.Generator, high: NDArray[np.bool_] | None = None
    ) -> NDArray[np.int32]:
        maps = len(block.alive)
        if high is None:
            high = block.choose_high(block.allowance.random(rng))
        few = block.palettes((len(block.low), len(block.high)))
        high_palette = rng.choice(len(block.high), few[1], replace=False)
        within = block.within(high_palette)
        low_palette = rng.choice(within, min(few[0], len(within)), replace=False)
        low_choice = low_palette[rng.integers(len(low_palette), size=maps)]
        return block.assemble(high, low_choice, high_palette[rng.integers(len(high_palette), size=maps)])

    def _few(self, block: PatternBlock, patterns: NDArray[np.int32], rng: np.random.Generator) -> NDArray[np.int32]:
        """The patterns with those of the rarest maps replaced, where there are more kinds than allowed."""
        if block.most is None:
            return patterns
        result = patterns.copy()
        few = block.palettes((len(block.low), len(block.high)))
        high = block.is_high(patterns)
        for mine, size in ((block.alive & ~high, few[0]), (high, few[1])):
            kinds, which, counts = np.unique(patterns[mine], axis=0, return_inverse=True, return_counts=True)
            kept = rng.permutation(np.argsort(-counts, kind="stable")[:size])
            if len(kept):
                other = kept[rng.integers(len(kept), size=len(which))]
                result[mine] = kinds[np.where(np.isin(which.ravel(), kept), which.ravel(), other)]
        return result


def _greedy(values: NDArray[np.float64], size: int) -> NDArray[np.int64]:
    """Rows that together give the maps most, one after the other, shape (size,), from (patterns, maps)."""
    if size >= len(values):
        return np.arange(len(values))
    chosen: list[int] = []
    best = np.full(values.shape[1], -np.inf)
    for _ in range(size):
        gains = np.maximum(values, best).sum(axis=1) if values.shape[1] else np.zeros(len(values))
        gains[chosen] = -np.inf
        chosen.append(int(gains.argmax()))
        best = np.maximum(best, values[chosen[-1]])
    return np.array(sorted(chosen), np.int64)
