"""The candidates of a search over allocations: masks by importance, for unit counts that meet a budget."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tf_structprune.allocation._choices import CostCap, Steps
from tf_structprune.channels import PrunableGraph
from tf_structprune.masks import FEATURE_MAP, Importance, MaskSet, MaskSpace, SubsetSpace, kept_space

_DRIFT = 0.1  # share of its steps that a drawn candidate's groups move from where they start


@dataclass(frozen=True)
class AllocationSpace(MaskSpace):
    """Allocations within a budget, each with the masks that keep its most important units.

    In other spaces all candidates keep as many units in every group and differ in which; here they differ in how
    many. Every candidate is repaired: groups go down at random until the budget is met, then up again until no
    group can go up a step.

    Attributes:
        graph: the traced model.
        base: masks that are there already.
        limit: what the groups may keep and cost.
        importance: by group, shape (units,).
        starts: allocations near which candidates are drawn, at least one.
    """

    graph: PrunableGraph
    base: MaskSet
    limit: CostCap
    importance: Importance
    starts: tuple[Steps, ...]
    granularity: str = FEATURE_MAP

    def _blocks(self) -> Mapping[str, Any]:
        return self.space_of(self.starts[0]).blocks

    def space_of(self, steps: Steps) -> SubsetSpace:
        """All masks of one allocation."""
        return kept_space(self.graph, self.limit.choices.by_name(steps), base=self.base)

    def masks_of(self, steps: Steps) -> MaskSet:
        """The candidate of an allocation: the masks that keep its most important units."""
        return self.space_of(steps).top(self.importance)

    def steps_of(self, masks: MaskSet) -> Steps:
        """The allocation of a candidate."""
        return self.limit.choices.steps_of(
            {name: int(masks.feature_map[name].sum()) for name in self.limit.choices.names}
        )

    def sample(self, rng: np.random.Generator) -> MaskSet:
        """A candidate near one of the starts."""
        start = self.starts[rng.integers(len(self.starts))]
        return self._moved(start, rng.random(len(start)) < 0.5, _DRIFT, rng)

    def perturb(self, masks: MaskSet, fraction: float, rng: np.random.Generator) -> MaskSet:
        """A neighbour: about half of the groups, at least one, move by up to `fraction` of their steps."""
        steps = self.steps_of(masks)
        moves = rng.random(len(steps)) < 0.5
        moves[rng.integers(len(steps))] = True
        return self._moved(steps, moves, fraction, rng)

    def cross(self, first: MaskSet, second: MaskSet, rng: np.random.Generator) -> MaskSet:
        """A child whose groups lie anywhere between those of its parents, repaired."""
        one, two = self.steps_of(first), self.steps_of(second)
        between = np.rint(one + rng.random(len(one)) * (two - one)).astype(np.int64)
        return self.masks_of(self._repaired(between, rng))

    def top(self, importance: Importance) -> MaskSet:
        """The most important units of the first start."""
        return self.space_of(self.starts[0]).top(importance)

    def _moved(self, steps: Steps, moves: NDArray[np.bool_], fraction: float, rng: np.random.Generator) -> MaskSet:
        reach = np.maximum(1, np.ceil(fraction * self.limit.choices.most)).astype(np.int64)
        moved = np.where(moves, steps + rng.integers(-reach, reach + 1), steps)
        return self.masks_of(self._repaired(np.clip(moved, 0, self.limit.choices.most), rng))

    def _repaired(self, steps: Steps, rng: np.random.Generator) -> Steps:
        """The allocation that meets the budget, groups drawn by the number of steps that they have in all."""

        def pick(_: Steps, groups: NDArray[np.int64]) -> int:
            share = self.limit.choices.most[groups] / self.limit.choices.most[groups].sum()
            return int(rng.choice(groups, p=share))

        return self.limit.lowered(steps, pick)
