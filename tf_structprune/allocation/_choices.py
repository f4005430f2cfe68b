"""The numbers of units that each group may keep, and how a budget is met among them."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tf_structprune.allocation._cost import Cost
from tf_structprune.channels import PrunableGraph
from tf_structprune.masks import Drops, MaskSet, unit_counts, unit_mask

_ROUNDING = 1e-9  # so that half of 10 MACs are 5, and a floor of 0.3 leaves 3 of 10 units

Steps = NDArray[np.int64]
"""How many steps each group has gone down its `counts`, shape (groups,)."""

Pick = Callable[[Steps, NDArray[np.int64]], int]
"""Which of several groups, given by index, goes next, from the steps of all."""


@dataclass(frozen=True)
class Choices:
    """What each prunable group may keep.

    Attributes:
        names: the groups, in the order of the graph.
        counts: for each group the numbers of units that it may keep, from all that are there down.
    """

    names: tuple[str, ...]
    counts: tuple[NDArray[np.int64], ...]

    @classmethod
    def of(cls, graph: PrunableGraph, base: MaskSet | None = None, *, floor: float = 0.0) -> Self:
        """The choices that a graph's limits allow, on top of masks that are there.

        Args:
            graph: the traced model.
            base: masks that are there; none by default.
            floor: share of all its units, rounded up, that each group keeps; one that has fewer keeps those.

        Raises:
            ValueError: no group may be pruned.
        """
        if not graph.prunable_groups:
            raise ValueError(
                f"Model '{graph.model_name}' has no channel group that may be pruned. Received: an allocation for it. "
                "See PrunableGraph.skipped for the reasons, or use keep_first=False."
            )
        alive = unit_mask(graph, MaskSet() if base is None else base)
        names, counts = [], []
        for group in graph.prunable_groups:
            allowed = unit_counts(group, int(alive[group.units].sum()))
            enough = allowed >= math.ceil(floor * group.size * (1 - _ROUNDING))
            names.append(group.name)
            counts.append(np.concatenate([allowed[:1], allowed[1:][enough[1:]]]))
        return cls(tuple(names), tuple(counts))

    @property
    def most(self) -> Steps:
        """All steps down."""
        return np.array([len(counts) - 1 for counts in self.counts], np.int64)

    def kept(self, steps: Steps) -> NDArray[np.int64]:
        """Units that the groups keep, shape (..., groups), after so many steps, shape (..., groups)."""
        return np.stack([counts[steps[..., at]] for at, counts in enumerate(self.counts)], axis=-1)

    def by_name(self, steps: Steps) -> dict[str, int]:
        """Units that the groups keep, by name."""
        return dict(zip(self.names, self.kept(steps).tolist(), strict=True))

    def steps_of(self, kept: Mapping[str, int]) -> Steps:
        """The steps after which the groups keep so many units."""
        places = (int(np.flatnonzero(c == kept[name])[0]) for name, c in zip(self.names, self.counts, strict=True))
        return np.array(list(places), np.int64)

    def levels(self, count: int) -> list[NDArray[np.int64]]:
        """For each group up to `count` numbers of steps, even and down to the last, none of them 0."""
        spread = (np.unique(np.ceil(np.linspace(0, most, count + 1)).astype(np.int64)) for most in self.most)
        return [steps[steps > 0] for steps in spread]

    def even_path(self) -> NDArray[np.int64]:
        """The groups that go down a step, one after the other, such that all lose about the same fraction."""
        return Drops.of(self.counts).owners

    def after(self, path: NDArray[np.int64], length: int) -> Steps:
        """The steps after the first part of a path."""
        return np.bincount(path[:length], minlength=len(self.names)).astype(np.int64)


def meets(cost: float | NDArray[np.float64], limit: float) -> NDArray[np.bool_]:
    """Whether a cost is within a limit, rounding left aside."""
    return np.asarray(np.asarray(cost) <= limit * (1 + _ROUNDING))


def first_within(length: int, fits: Callable[[int], bool]) -> int:
    """The first place of a path from 0 to `length` from which on it fits, by bisection; its end is taken to fit."""
    low, high = 0, length
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle + 1, high)
    return low


@dataclass(frozen=True)
class CostCap:
    """A largest cost, and how an allocation is brought to it.

    Attributes:
        choices: what the groups may keep; their last choices meet the limit.
        cost: what they cost.
        most: largest cost.
    """

    choices: Choices
    cost: Cost
    most: float

    def met_by(self, steps: Steps) -> NDArray[np.bool_]:
        """Whether allocations are within the limit, shape (...), from steps of shape (..., groups)."""
        return meets(self.cost(self.choices.kept(steps)), self.most)

    def lowered(self, steps: Steps, pick: Pick) -> Steps:
        """Down until the limit is met, then up again wherever it allows, see `raised`.

        Args:
            steps: where the groups are.
            pick: which group goes next.
        """
        steps = steps.copy()
        while not self.met_by(steps):
            steps[pick(steps, np.flatnonzero(steps < self.choices.most))] += 1
        return self.raised(steps, pick)

    def raised(self, steps: Steps, pick: Pick) -> Steps:
        """Up where the limit allows; no group can go up a step after that.

        Args:
            steps: where the groups are.
            pick: which group goes next.
        """
        steps = steps.copy()
        while True:
            fitting = np.flatnonzero(steps > 0)
            fitting = fitting[self.met_by(steps - np.eye(len(steps), dtype=np.int64)[fitting])]
            if not len(fitting):
                return steps
            steps[pick(steps, fitting)] -= 1


def joined(choices: Choices, picked: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """One row of steps for each step of each group alone, the others whole, shape (rows, groups)."""
    rows = [np.eye(len(choices.names), dtype=np.int64)[at] * step for at, steps in enumerate(picked) for step in steps]
    return np.array(rows, np.int64).reshape(-1, len(choices.names))
