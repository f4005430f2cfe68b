"""From a graph, a budget and a score to the allocation: uniform, greedy, evolutionary."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from absl import logging
from numpy.typing import NDArray

from tf_structprune.allocation._allocation import Allocation
from tf_structprune.allocation._budget import Budget
from tf_structprune.allocation._choices import Choices, CostCap, Steps, first_within, joined, meets
from tf_structprune.allocation._cost import Cost, CountedCost, FittedCost
from tf_structprune.allocation._greedy import Sensitivity, greedy_path
from tf_structprune.allocation._space import AllocationSpace
from tf_structprune.channels import PrunableGraph
from tf_structprune.masks import Importance, MaskSet, kept_space
from tf_structprune.search import EvolutionaryParticleFilter, Metric

MethodName = Literal["uniform", "greedy", "evolutionary", "least_squares"]
METHODS: tuple[MethodName, ...] = get_args(MethodName)
_SCORE = Metric("score")
Method = MethodName | EvolutionaryParticleFilter
"""How units are allocated; an `EvolutionaryParticleFilter` is "evolutionary" with settings of one's own."""

CostFunction = Callable[[Mapping[str, int]], float]
"""A measured cost, from the units that each prunable group keeps, by name."""


@dataclass(frozen=True)
class Problem:
    """What an allocation is found for.

    Attributes:
        graph: the traced model.
        base: masks that are there; units that they removed stay removed.
        budget: what the network may cost.
        count: what the budget counts, the MACs by layer for a latency.
        importance: by group, shape (units,); the most important units stay.
        score: scores of candidates, higher is better.
        measure: the measured cost, for a latency only.
        path: the group that goes down a step, one after the other, for the method "least_squares".
    """

    graph: PrunableGraph
    base: MaskSet
    budget: Budget
    count: CountedCost
    importance: Importance
    score: Callable[[Sequence[MaskSet]], Sequence[float]]
    measure: CostFunction | None = None
    path: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        if (self.budget.kind == "latency") != (self.measure is not None):
            raise ValueError(
                f"A latency is measured by a cost function, and nothing else is. Received: kind={self.budget.kind!r} "
                f"{'without' if self.measure is None else 'with'} cost. Use cost=tflite_export.latency_cost(masked) "
                "with Budget('latency', ...) only."
            )


@dataclass(frozen=True)
class _Run:
    """A problem with what was found out about it so far: nothing is scored or measured twice."""

    problem: Problem
    choices: Choices
    cost: Callable[[tuple[int, ...]], float]  # of kept units
    whole: float  # cost without masks
    scores: dict[tuple[int, ...], float] = field(default_factory=dict)  # by steps

    @property
    def limit(self) -> float:
        """Largest cost."""
        return self.problem.budget.fraction * self.whole

    def cost_of(self, steps: Steps) -> float:
        """Cost of an allocation, measured if the budget is."""
        return self.cost(tuple(self.choices.kept(steps).tolist()))

    def fits(self, steps: Steps) -> bool:
        """Whether it is within the limit."""
        return bool(meets(self.cost_of(steps), self.limit))

    def masks_of(self, steps: Steps) -> MaskSet:
        """The masks that keep its most important units."""
        space = kept_space(self.problem.graph, self.choices.by_name(steps), base=self.problem.base)
        return space.top(self.problem.importance)

    def score(self, candidates: Sequence[Steps]) -> list[float]:
        """Scores of several allocations."""
        keys = [tuple(steps.tolist()) for steps in candidates]
        new = list(dict.fromkeys(key for key in keys if key not in self.scores))
        if new:
            values = self.problem.score([self.masks_of(np.array(key, np.int64)) for key in new])
            for key, value in zip(new, values, strict=True):
                self.scores[key] = _checked(float(value))
        return [self.scores[key] for key in keys]


def _checked(score: float) -> float:
    if np.isnan(score):
        raise ValueError(
            "An allocation's score is not a number. Received: nan. Check the model's outputs on the validation data, "
            "or the score function."
        )
    return score


def find_allocation(
    problem: Problem, method: Method = "greedy", *, levels: int = 8, seed: int = 0, metric: Metric = _SCORE
) -> Allocation:
    """How many units each group keeps within a budget.

    - "uniform": every group loses the same fraction of its units, give or take one.
    - "greedy": each group is pruned alone to some levels and scored; then the group that loses least of the score
      for its gain in cost goes down, step by step, until the budget is met, and what is left of the budget is
      given back where it saves most. See `Sensitivity` and `greedy_path`.
    - "least_squares": down the path of the problem, on which groups lose what the others make up for best, to the
      first place that meets the budget; what is left of it is given back to the groups that went down last. Nothing
      is scored but the result.
    - "evolutionary": an `EvolutionaryParticleFilter` over allocations, whose first particles are the greedy and the
      uniform one; every particle is repaired to the budget and scored with the masks of its most important units.
      The result is never worse than either of them on the score.

    A latency is not counted but measured. The greedy path is laid by an estimate, a price for the MACs of each layer
    fitted to measurements of each group alone at the same levels; the place on it where the budget is met is found by
    bisection on real measurements, and so is the uniform one. The filter's particles are repaired to the estimate
    for the greedy allocation; of all that were scored, the best whose own measurement meets the budget is taken.

    Args:
        problem: the model, its budget and its score.
        method: "uniform", "greedy", "evolutionary", "least_squares", or an `EvolutionaryParticleFilter`.
        levels: numbers of units at which each group is scored alone.
        seed: seed of the evolutionary method.
        metric: how the scores are told, for the result.

    Raises:
        ValueError: an unknown method, nothing to prune, a budget out of reach, or a score that is not a number.
    """
    name = _method_name(method)
    if type(levels) is not int or levels < 1:
        raise ValueError(f"levels must be a whole number of at least 1. Received: levels={levels!r}. Use e.g. 8.")
    run = _begun(problem)
    if name == "uniform":
        return _result(run, _along(run, run.choices.even_path()), name, metric)
    if name == "least_squares":
        return _result(run, _down(run, _path_of(problem)), name, metric)
    greedy, estimate = _greedy(run, levels)
    if name == "greedy":
        return _result(run, greedy, name, metric)
    search = method if isinstance(method, EvolutionaryParticleFilter) else EvolutionaryParticleFilter()
    starts = (greedy, _along(run, run.choices.even_path()))
    return _result(run, _evolved(run, search, starts, estimate, seed), name, metric)


def _method_name(method: Method) -> MethodName:
    if isinstance(method, EvolutionaryParticleFilter):
        return "evolutionary"
    if method not in METHODS:
        raise ValueError(
            f"Unknown method of allocation. Received: method={method!r}. Use one of: {', '.join(METHODS)}, or an "
            "EvolutionaryParticleFilter."
        )
    return method


def _path_of(problem: Problem) -> NDArray[np.int64]:
    if problem.path is None:
        raise ValueError(
            "The method 'least_squares' follows a path of groups. Received: a problem without one. Use "
            "stages.allocate, or reconstruct.eliminate to make it."
        )
    return problem.path


def _begun(problem: Problem) -> _Run:
    """The run, after its budget is known to be in reach."""
    choices = Choices.of(problem.graph, problem.base)
    all_units = tuple(group.size for group in problem.graph.prunable_groups)

    @functools.cache  # a second measurement of the same units would not be the same
    def cost(kept: tuple[int, ...]) -> float:
        if problem.measure is None:
            return float(problem.count(np.array(kept, np.int64)))
        return _checked_cost(float(problem.measure(dict(zip(choices.names, kept, strict=True)))))

    run = _Run(problem, choices, cost, cost(all_units))
    if not run.fits(choices.most):
        least = math.ceil(1e4 * run.cost_of(choices.most) / run.whole) / 1e4
        raise ValueError(
            f"Budget '{problem.budget.kind}': removing feature maps does not make the network that cheap. Received: "
            f"fraction={problem.budget.fraction:g}. Use at least {least:.4f}, or smaller min_channels."
        )
    return run


def _checked_cost(cost: float) -> float:
    if not 0 < cost < np.inf:  # also refuses NaN
        raise ValueError(f"A measured cost must be positive and finite. Received: {cost}. Check the cost function.")
    return cost


def _along(run: _Run, path: NDArray[np.int64]) -> Steps:
    """The first place of a path that meets the budget, which its end does."""
    return run.choices.after(path, first_within(len(path), lambda at: run.fits(run.choices.after(path, at))))


def _down(run: _Run, path: NDArray[np.int64]) -> Steps:
    """Down a path until the budget is met, and up again where it allows, the latest steps first."""
    steps = _along(run, path)
    if run.problem.measure is not None:
        return steps
    taken = path[: int(steps.sum())]

    def pick(steps: Steps, groups: NDArray[np.int64]) -> int:
        del steps
        return int(max(groups, key=lambda group: np.flatnonzero(taken == group).max(initial=-1)))

    return CostCap(run.choices, run.problem.count, run.limit).raised(steps, pick)


def _greedy(run: _Run, levels: int) -> tuple[Steps, Cost]:
    """The greedy allocation, and the cost by which its path was laid."""
    alone = run.choices.levels(levels)
    whole = np.zeros(len(run.choices.names), np.int64)
    rows = joined(run.choices, alone)
    logging.info("Scoring %d groups alone, %d times in all.", len(run.choices.names), len(rows))
    score, *scores = run.score([whole, *rows])
    values = iter(scores)
    by_group = [{int(step): next(values) for step in steps} for steps in alone]
    sensitivity = Sensitivity.of(run.choices, _finite(score), by_group)
    if run.problem.measure is not None:
        estimate = _estimated(run, np.stack([whole, *rows, run.choices.most]))
        return _along(run, greedy_path(run.choices, estimate, sensitivity)), estimate
    path = greedy_path(run.choices, run.problem.count, sensitivity, limit=run.limit)
    return _given_back(run, _along(run, path), sensitivity), run.problem.count


def _finite(score: float) -> float:
    if not np.isfinite(score):
        raise ValueError(
            f"The model's score before allocation must be finite. Received: {score}. Check the score function, or "
            "train the model first."
        )
    return score


def _estimated(run: _Run, points: Steps) -> FittedCost:
    """The cost of the points, measured, as a price for each layer's MACs."""
    logging.info("Measuring %d allocations.", len(points))
    costs = np.array([run.cost_of(steps) for steps in points])
    return FittedCost.of(run.problem.count, run.choices.kept(points), costs)


def _given_back(run: _Run, steps: Steps, sensitivity: Sensitivity) -> Steps:
    """Units back where they save most for their cost, as far as the budget goes."""
    count, choices = run.problem.count, run.choices

    def pick(steps: Steps, groups: NDArray[np.int64]) -> int:
        up = np.maximum(steps - 1, 0)
        alone = np.where(np.eye(len(steps), dtype=bool), up, steps)
        price = count(choices.kept(alone)) - count(choices.kept(steps))
        saved = sensitivity.between(up, steps) / np.maximum(price, 1e-12 * run.whole)
        return int(groups[saved[groups].argmax()])

    return CostCap(choices, count, run.limit).raised(steps, pick)


def _evolved(
    run: _Run, search: EvolutionaryParticleFilter, starts: tuple[Steps, ...], estimate: Cost, seed: int
) -> Steps:
    """The allocation of the best score among all that the filter scored and that meet the budget."""
    problem, rng = run.problem, np.random.default_rng(seed)
    most = run.limit if problem.measure is None else float(estimate(run.choices.kept(starts[0])))
    space = AllocationSpace(
        graph=problem.graph,
        base=problem.base,
        limit=CostCap(run.choices, estimate, most),
        importance=problem.importance,
        starts=starts,
    )
    state = search.init(space, {}, rng)
    found: list[tuple[float, Steps]] = []
    while not state.done:
        candidates = search.propose(space, state, rng)
        if not found:
            candidates = (*(space.masks_of(start) for start in starts), *candidates)[: len(candidates)]
        steps = [space.steps_of(candidate) for candidate in candidates]
        scores = run.score(steps)
        found += zip(scores, steps, strict=True)
        state = search.update(state, candidates, tuple(scores))
    best_first = sorted(found, key=lambda one: -one[0])
    return next((steps for _, steps in best_first if run.fits(steps)), starts[0])


def _result(run: _Run, steps: Steps, method: str, metric: Metric) -> Allocation:
    groups = run.problem.graph.prunable_groups
    score, before = run.score([steps, np.zeros(len(groups), np.int64)])
    return Allocation(
        kept=run.choices.by_name(steps),
        units={group.name: group.size for group in groups},
        budget=run.problem.budget,
        cost_before=run.whole,
        cost_after=run.cost_of(steps),
        method=method,
        score=score,
        score_before=_finite(before),
        metric=metric,
    )
