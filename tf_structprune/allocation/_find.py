"""From a graph, a budget and a score to the allocation: uniform, greedy, evolutionary."""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from absl import logging
from numpy.typing import NDArray

from tf_structprune.allocation._allocation import Allocation, Spent
from tf_structprune.allocation._choices import CostCap, Pick, Steps, first_within, joined
from tf_structprune.allocation._greedy import Sensitivity, greedy_path
from tf_structprune.allocation._limits import ShareCost
from tf_structprune.allocation._problem import Problem, Run, finite
from tf_structprune.allocation._space import AllocationSpace
from tf_structprune.search import EvolutionaryParticleFilter, Metric

MethodName = Literal["uniform", "greedy", "evolutionary", "least_squares"]
METHODS: tuple[MethodName, ...] = get_args(MethodName)
SCORING: tuple[MethodName, ...] = ("greedy", "evolutionary")
"""Methods that choose by scores; the others score their result alone."""
_SCORE = Metric("score")
_SHARES = (1.12, 1.08, 1.05, 1.03, 1.01, 1.0, 0.98, 0.95)  # of a measured budget, by estimates that may err
Method = MethodName | EvolutionaryParticleFilter
"""How units are allocated; an `EvolutionaryParticleFilter` is "evolutionary" with settings of one's own."""


def find_allocation(
    problem: Problem, method: Method = "least_squares", *, levels: int = 8, seed: int = 0, metric: Metric = _SCORE
) -> Allocation:
    """How many units each group keeps within a budget.

    - "uniform": every group loses the same fraction of its units, give or take one.
    - "greedy": each group is pruned alone to some levels and scored; then the group that loses least of the score
      for its gain in cost goes down, step by step, until the budget is met, and what is left of the budget is
      given back where it saves most. See `Sensitivity` and `greedy_path`.
    - "least_squares": down the path of the order, on which groups lose what the others make up for best, to the
      first place that meets the budget; what is left of it is given back to the groups that went down last. Nothing
      is scored but the result.
    - "evolutionary": an `EvolutionaryParticleFilter` over allocations, whose first particles are the greedy and the
      uniform one, and where the order has a path that of "least_squares"; every particle is repaired to the
      budget and scored with the masks of its most important units. The result is never worse than any of them on the
      score.

    No group keeps less than the problem's floor, unless that does not meet the budgets: then it is halved until they
    are in reach, and is 0 at last; a line says so.

    Of several budgets all are met: where one cost is asked for, it is the largest share of a budget that is used up.

    A latency, the flash and the arena are not counted but measured. Paths are laid by an estimate, for a latency by a
    price for the MACs of each layer, fitted to measurements of each group alone at some levels; the place on a path
    where the budget is met is found by bisection on real measurements. What does not bind is then given back by the
    estimate, set right by what was measured there, as far as measurements allow: an arena has one peak, and the groups
    of other signals may keep their units. The filter's particles are repaired to the estimate for the greedy
    allocation; of all that were scored, the best whose own measurement meets the budget is taken.

    Args:
        problem: the model, its budgets and its score.
        method: "uniform", "greedy", "evolutionary", "least_squares", or an `EvolutionaryParticleFilter`.
        levels: numbers of units at which each group alone is scored, and timed where a latency is asked for.
        seed: seed of the evolutionary method.
        metric: how the scores are told, for the result.

    Raises:
        OutOfReachError: a ValueError: a budget that cannot be met.
        ValueError: an unknown method, nothing to prune, or a score that is not a number.
    """
    name = _method_name(method)
    if type(levels) is not int or levels < 1:
        raise ValueError(f"levels must be a whole number of at least 1. Received: levels={levels!r}. Use e.g. 8.")
    run = Run.begun(problem, None if name == "uniform" else levels)
    if name == "uniform":
        return _result(run, _along(run, run.choices.even_path()), name, metric)
    if name == "least_squares":
        return _result(run, _down(run, _path_of(run)), name, metric)
    greedy = _greedy(run, levels)
    if name == "greedy":
        return _result(run, greedy, name, metric)
    search = method if isinstance(method, EvolutionaryParticleFilter) else EvolutionaryParticleFilter()
    starts = [greedy, _along(run, run.choices.even_path())]
    if run.order.path is not None:
        starts.append(_down(run, run.order.path))
    return _result(run, _evolved(run, search, starts, seed), name, metric)


def _method_name(method: Method) -> MethodName:
    if isinstance(method, EvolutionaryParticleFilter):
        if method.first is not None:
            raise ValueError(
                "Allocations start from the greedy and the uniform one. Received: a filter with "
                f"first={method.first}. Leave it out."
            )
        return "evolutionary"
    if method not in METHODS:
        raise ValueError(
            f"Unknown method of allocation. Received: method={method!r}. Use one of: {', '.join(METHODS)}, or an "
            "EvolutionaryParticleFilter."
        )
    return method


def _path_of(run: Run) -> NDArray[np.int64]:
    if run.order.path is None:
        raise ValueError(
            "The method 'least_squares' follows a path of groups. Received: an order without one. Use "
            "stages.allocate, or reconstruct.eliminate to make it."
        )
    return run.order.path


def _along(run: Run, path: NDArray[np.int64]) -> Steps:
    """The first place of a path that meets the budget, which its end does."""
    return run.choices.after(path, first_within(len(path), lambda at: run.fits(run.choices.after(path, at))))


def _down(run: Run, path: NDArray[np.int64]) -> Steps:
    """Down a path until the budget is met, and up again where it allows, the latest steps first."""
    steps = _along(run, path)
    taken = path[: int(steps.sum())]

    def pick(steps: Steps, groups: NDArray[np.int64]) -> int:
        del steps
        return int(max(groups, key=lambda group: np.flatnonzero(taken == group).max(initial=-1)))

    return _raised(run, steps, pick)


def _raised(run: Run, steps: Steps, pick: Pick) -> Steps:
    """Up from steps that meet the budget where it allows; where it is measured, up to the most that it is found to."""
    cost = ShareCost.near(run.bounds, run.estimates, run.choices.kept(steps))
    if not run.measured:
        return CostCap(run.choices, cost, 1.0).raised(steps, pick)
    ways = [CostCap(run.choices, cost, share).raised(steps, pick) for share in _SHARES] + [steps]
    return ways[first_within(len(_SHARES), lambda at: run.fits(ways[at]))]


def _greedy(run: Run, levels: int) -> Steps:
    """The greedy allocation."""
    alone = run.choices.levels(levels)
    whole = np.zeros(len(run.choices.names), np.int64)
    rows = joined(run.choices, alone)
    logging.info("Scoring %d groups alone, %d times in all.", len(run.choices.names), len(rows))
    score, *scores = run.score([whole, *rows])
    values = iter(scores)
    by_group = [{int(step): next(values) for step in steps} for steps in alone]
    sensitivity = Sensitivity.of(run.choices, finite(score), by_group)
    cost = ShareCost.of(run.bounds, run.estimates)
    path = greedy_path(run.choices, cost, sensitivity, limit=-np.inf if run.measured else 1.0)
    return _given_back(run, _along(run, path), sensitivity)


def _given_back(run: Run, steps: Steps, sensitivity: Sensitivity) -> Steps:
    """Units back where they save most for their cost, as far as the budget goes."""
    choices = run.choices
    cost = ShareCost.near(run.bounds, run.estimates, choices.kept(steps))

    def pick(steps: Steps, groups: NDArray[np.int64]) -> int:
        up = np.maximum(steps - 1, 0)
        alone = np.where(np.eye(len(steps), dtype=bool), up, steps)
        price = cost(choices.kept(alone)) - cost(choices.kept(steps))
        saved = sensitivity.between(up, steps) / np.maximum(price, 1e-12)
        return int(groups[saved[groups].argmax()])

    return _raised(run, steps, pick)


def _evolved(run: Run, search: EvolutionaryParticleFilter, starts: Sequence[Steps], seed: int) -> Steps:
    """The allocation of the best score among all that the filter scored and that meet the budget."""
    problem, rng = run.problem, np.random.default_rng(seed)
    first = run.choices.kept(starts[0])
    most = [
        float(estimate(first)) if bound.measured else bound.most
        for bound, estimate in zip(run.bounds, run.estimates, strict=True)
    ]
    space = AllocationSpace(
        graph=problem.graph,
        base=problem.base,
        limit=CostCap(run.choices, ShareCost(run.estimates, tuple(most)), 1.0),
        importance=run.order.importance,
        starts=tuple(starts),
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


def _result(run: Run, steps: Steps, method: str, metric: Metric) -> Allocation:
    groups, kept = run.problem.graph.prunable_groups, run.choices.kept(steps)
    score, before = run.score([steps, np.zeros(len(groups), np.int64)])
    costs = {bound.limit.budget: Spent(bound.limit.budget, bound.whole, bound.cost(kept)) for bound in run.bounds}
    first, *others = (costs[limit.budget] for limit in run.problem.limits)
    return Allocation(
        kept=run.choices.by_name(steps),
        units={group.name: group.size for group in groups},
        budget=first.budget,
        cost_before=first.before,
        cost_after=first.after,
        method=method,
        score=score,
        score_before=finite(before),
        metric=metric,
        others=tuple(others),
        floor=run.floor,
    )
