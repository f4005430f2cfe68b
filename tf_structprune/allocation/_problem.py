"""What an allocation is found for, and what was found out about it so far."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from absl import logging
from numpy.typing import NDArray

from tf_structprune.allocation._choices import Choices, Steps, joined
from tf_structprune.allocation._cost import Cost, CountedCost, FittedCost
from tf_structprune.allocation._floor import choices_above, told_floor
from tf_structprune.allocation._limits import Bound, Limit, ShareCost
from tf_structprune.channels import PrunableGraph
from tf_structprune.masks import Importance, MaskSet, kept_space


@dataclass(frozen=True)
class Order:
    """In which order units go.

    Attributes:
        importance: by group, how late each unit goes, shape (units,); the most important stay.
        path: the group that goes down a step, one after the other, to the last step of all; None where units are
            ranked within their groups alone.
    """

    importance: Importance
    path: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Problem:
    """What an allocation is found for.

    Attributes:
        graph: the traced model.
        base: masks that are there; units that they removed stay removed.
        limits: what the network may cost, at least one; all of them are met.
        order: in which order units go, from what the groups may keep and the largest share of a limit that is used
            up; asked for once, when the limits are known to be in reach.
        score: scores of candidates, higher is better.
        floor: share of its units that each group keeps, in [0, 1), as far as the limits allow, see `choices_above`.
    """

    graph: PrunableGraph
    base: MaskSet
    limits: tuple[Limit, ...]
    order: Callable[[Choices, Cost], Order]
    score: Callable[[Sequence[MaskSet]], Sequence[float]]
    floor: float = 0.0


@dataclass(frozen=True)
class Run:
    """A problem with what was found out about it so far: nothing is scored or measured twice.

    Attributes:
        problem: what an allocation is found for.
        bounds: its limits of this network; those that are counted first, for they cost nothing to look at.
        choices: what the groups may keep.
        floor: share of its units that each group keeps; less than was asked for where the limits needed it.
        estimates: of the cost of each limit, by which paths are laid.
        order: in which order units go.
        scores: those that are known, by steps.
    """

    problem: Problem
    bounds: tuple[Bound, ...]
    choices: Choices
    floor: float
    estimates: tuple[Cost, ...]
    order: Order
    scores: dict[tuple[int, ...], float] = field(default_factory=dict)

    @classmethod
    def begun(cls, problem: Problem, levels: int | None) -> Self:
        """The run, after its budgets are known to be in reach.

        Args:
            problem: what an allocation is found for.
            levels: numbers of units at which each group alone is measured, where the prices of the parts of a cost are
                fitted; None where nothing goes by them.

        Raises:
            OutOfReachError: they are not.
            ValueError: no group may be pruned, or a floor out of its range.
        """
        bounds = [Bound.of(limit, problem.graph) for limit in problem.limits]
        bounds.sort(key=lambda bound: bound.measured)
        choices, floor = choices_above(problem.floor, problem.graph, problem.base, bounds)
        if floor < problem.floor:
            logging.warning("%s", told_floor(problem.floor, floor))
        estimates = tuple(_estimated(bound, choices, levels) for bound in bounds)
        order = problem.order(choices, ShareCost.of(bounds, estimates))
        return cls(problem, tuple(bounds), choices, floor, estimates, order)

    @property
    def measured(self) -> bool:
        """Whether a cost is measured, so that no estimate tells for sure what fits."""
        return any(bound.measured for bound in self.bounds)

    def fits(self, steps: Steps) -> bool:
        """Whether it is within every limit."""
        kept = self.choices.kept(steps)
        return all(bound.fits(kept) for bound in self.bounds)

    def masks_of(self, steps: Steps) -> MaskSet:
        """The masks that keep its most important units."""
        space = kept_space(self.problem.graph, self.choices.by_name(steps), base=self.problem.base)
        return space.top(self.order.importance)

    def score(self, candidates: Sequence[Steps]) -> list[float]:
        """Scores of several allocations."""
        keys = [tuple(steps.tolist()) for steps in candidates]
        new = list(dict.fromkeys(key for key in keys if key not in self.scores))
        if new:
            values = self.problem.score([self.masks_of(np.array(key, np.int64)) for key in new])
            for key, value in zip(new, values, strict=True):
                self.scores[key] = _checked(float(value))
        return [self.scores[key] for key in keys]


def finite(score: float) -> float:
    """The score itself, of the model before allocation.

    Raises:
        ValueError: it is not finite.
    """
    if not np.isfinite(score):
        raise ValueError(
            f"The model's score before allocation must be finite. Received: {score}. Check the score function, or "
            "train the model first."
        )
    return score


def _checked(score: float) -> float:
    if np.isnan(score):
        raise ValueError(
            "An allocation's score is not a number. Received: nan. Check the model's outputs on the validation data, "
            "or the score function."
        )
    return score


def _estimated(bound: Bound, choices: Choices, levels: int | None) -> Cost:
    """An estimate of a cost; where only its parts are known, their prices are fitted to what is measured."""
    estimate = bound.limit.estimate
    if levels is None or not bound.measured or not isinstance(estimate, CountedCost):
        return estimate
    alone = joined(choices, choices.levels(levels))
    points = choices.kept(np.stack([np.zeros(len(choices.names), np.int64), *alone, choices.most]))
    logging.info("Measuring %d allocations.", len(points))
    return FittedCost.of(estimate, points, np.array([bound.cost(each) for each in points]))
