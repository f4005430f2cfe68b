"""Allocate a budget among the channel groups of a masked model."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
from absl import logging

from tf_structprune.allocation import (
    FLOOR,
    MEASURED,
    SCORING,
    Allocation,
    Bound,
    Budget,
    Choices,
    Cost,
    CostFunction,
    CountedCost,
    Limit,
    Method,
    Order,
    Problem,
    as_budgets,
    check_floor,
    find_allocation,
)
from tf_structprune.channels import PrunableGraph
from tf_structprune.cluster import LOCAL, as_executor
from tf_structprune.graph import weight_shapes
from tf_structprune.layers import MaskedModel
from tf_structprune.masks import FEATURE_MAP, MaskSet
from tf_structprune.measure import elimination_of, l1
from tf_structprune.scoring import ERROR, RECONSTRUCTION, PredictedScorer, Scorer
from tf_structprune.stages._guessing import near_guessing
from tf_structprune.task import Validation, check_validation


def allocate(
    masked: keras.Model | MaskedModel,
    budget: Budget | str | Sequence[Budget | str],
    *,
    validation_data: tuple[Any, Any],
    method: Method = "least_squares",
    score: Any = "mcr",
    cost: CostFunction | Mapping[str, CostFunction] | None = None,
    levels: int = 8,
    floor: float = FLOOR,
    seed: int = 0,
    batch_size: int = 256,
    executor: Any = LOCAL,
) -> Allocation:
    """How many feature maps each channel group keeps, so that the network costs no more than a budget.

    Groups are not equally sensitive: one sparsity for all, as in the papers (arXiv 1610.09639), takes as much from
    the one that errs at once as from the one that does not notice. See `allocation.find_allocation` for the methods.
    Candidates are scored without retraining, with the masks that keep the maps of largest L1 norm: before any
    reconstruction, which for a small network is near chance. With the score "reconstruction" they are scored by the
    squared error that least squares cannot make up for, predicted without a forward pass. With that score or the
    method "least_squares" they keep the maps that the others make up for least. Which maps go is then a selector's
    choice, e.g. in `StructuredPruning(sparsity=allocation)`.

    Feature maps are the only granularity that is allocated, because they are what a cost of the whole network depends
    on; kernel and intra-kernel masks that the model holds stay as they are, and what they remove is not taken off
    the cost.

    Args:
        masked: a model from `wrap` with "feature_map"; it is left with the masks it had, and maps that they
            removed stay removed.
        budget: what the network may cost, e.g. `Budget("macs", 0.5)` or "macs=6M", or several, which are all met.
        validation_data: pair of arrays (x, y) held out from training; some thousand samples are enough. With the score
            "reconstruction" no labels are needed: y may be None, and a thousand of the samples are used.
        method: "uniform", "greedy", "evolutionary", "least_squares", or a `search.EvolutionaryParticleFilter`.
        score: "mcr" or another score, see `scoring.as_score`; or "reconstruction", see `scoring.PredictedScorer`, for a
            model whose weights are reconstructed afterwards.
        cost: for a budget of latency, flash or arena what measures it, e.g. `tflite_export.latency_cost(masked)`: a
            function of the kept units by group name that returns a positive number; of several such budgets a
            dictionary by kind. Where a function has an attribute `estimate`, a cost as `allocation.Limit` takes it,
            and `why`, what decides a cost, they are used.
        levels: numbers of units at which each group is scored (and timed) alone.
        floor: share of its units, rounded up, that each group keeps, in [0, 1); 0 for none. Where the budget cannot be
            met with it, it is halved until it can, and is 0 at last; a warning and `Allocation.floor` say so.
        seed: seed of the evolutionary method, and of the choice of samples for the score "reconstruction".
        batch_size: samples a prediction step.
        executor: who scores candidates, "local", "ray", or a `RayExecutor`; a latency is measured here, and errors of
            reconstruction are predicted here.

    Raises:
        TypeError: validation data that are no pair.
        ValueError: a model without masks or groups, a budget out of reach, two of a kind, a measured one without
            `cost`, an unknown executor, another setting out of range, or a score that is not a number.
    """
    # Eleven names: what is asked for, what it is judged by, and how it is searched, each by keyword.
    predicted = isinstance(score, str) and score == RECONSTRUCTION
    validation = check_validation(validation_data, "kl" if predicted else score, batch_size)
    floor, who = check_floor(floor), as_executor(executor)
    handle = MaskedModel.of(masked)
    _check_wrapped(handle.graph, handle.masks)
    limits = _limits(as_budgets(budget), handle, cost)
    scored: list[float] = []
    scorer: Scorer | PredictedScorer
    if predicted:
        scorer, metric = PredictedScorer(handle, validation.x, seed=seed), ERROR
    else:
        scorer, metric = Scorer(handle, validation, racing=False, executor=who), validation.score.metric

    def score_of(candidates: Sequence[MaskSet]) -> list[float]:
        scored.extend(scorer.score(candidates).values.tolist())
        return scored[-len(candidates) :]

    order = _by_norm(handle)
    if predicted or method == "least_squares":
        order = _eliminated(handle, validation.x, floor, scorer)
    problem = Problem(handle.graph, handle.masks, limits, order, score_of, floor)
    try:
        found = find_allocation(problem, method, levels=levels, seed=seed, metric=metric)
    finally:
        scorer.close()
    if not predicted and found.method in SCORING:
        _tell_if_blind(validation, found.score, scored[1:])
    return found


def _tell_if_blind(validation: Validation, score: float, scored: Sequence[float]) -> None:
    """Say when an allocation, or most of those that it was chosen by, hardly beats guessing."""
    blind = [told for each in scored if (told := near_guessing(validation, each))]
    told = f"The allocation {near}" if (near := near_guessing(validation, score)) else ""
    if not told and 2 * len(blind) > len(scored):
        told = f"{len(blind)} of {len(scored)} allocations scored are near guessing; one {blind[0]}"
    if told:
        logging.warning(
            '%s: before retraining such scores tell little. Use score="reconstruction" (--reconstruct full), or the '
            "method least_squares.",
            told,
        )


def _by_norm(handle: MaskedModel) -> Callable[[Choices, Cost], Order]:
    """Maps of smaller L1 norm go first."""
    return lambda choices, cost: Order(l1(handle.model, handle.graph, FEATURE_MAP, None))


def _eliminated(
    handle: MaskedModel, x: Any, floor: float, scorer: Scorer | PredictedScorer
) -> Callable[[Choices, Cost], Order]:
    """Maps go first that the others make up for; the moments are those of the scorer where it has them."""

    def order(choices: Choices, cost: Cost) -> Order:
        layers = scorer.layers if isinstance(scorer, PredictedScorer) else None
        found = elimination_of(handle.model, handle.graph, x, choices, cost, floor=floor, layers=layers)
        return Order(found.importance, found.path)

    return order


def check_reach(
    masked: keras.Model | MaskedModel,
    budget: Budget | str | Sequence[Budget | str],
    *,
    cost: CostFunction | Mapping[str, CostFunction] | None = None,
) -> None:
    """Refuse budgets that are not met by the fewest feature maps that may stay, where every floor has given way.

    Args:
        masked: as for `allocate`, and so are the others.
        budget: one or several.
        cost: what measures those that are measured.

    Raises:
        allocation.OutOfReachError: a ValueError: a budget cannot be met; names the least that is possible.
        ValueError: as of `allocate`.
    """
    handle = MaskedModel.of(masked)
    choices = Choices.of(handle.graph, handle.masks)
    for limit in _limits(as_budgets(budget), handle, cost):
        Bound.of(limit, handle.graph).check_reach(choices.kept(choices.most))


def _limits(
    budgets: tuple[Budget, ...], handle: MaskedModel, cost: CostFunction | Mapping[str, CostFunction] | None
) -> tuple[Limit, ...]:
    """The budgets, each with what counts or measures it."""
    weights = weight_shapes(handle.model, handle.graph)
    kinds = [each.kind for each in budgets]
    measures: Mapping[str, CostFunction] = {}
    if isinstance(cost, Mapping):
        measures = cost
    elif cost is not None:
        measures = {kind: cost for kind in kinds if kind in MEASURED} or {"function": cost}
    if unused := sorted(set(measures) - set(kinds)):
        raise ValueError(
            f"A cost function measures a budget of {', '.join(MEASURED)} that was given. Received: cost "
            f"{unused[0]} beside {', '.join(kinds)}. Leave it out."
        )
    return tuple(_limit(each, handle, weights, measures.get(each.kind)) for each in budgets)


def _limit(budget: Budget, handle: MaskedModel, weights: Any, measure: CostFunction | None) -> Limit:
    estimate = getattr(measure, "estimate", None) or CountedCost.of(budget, handle.graph, weights)
    return Limit(budget, estimate, measure, getattr(measure, "why", None))


def _check_wrapped(graph: PrunableGraph, masks: MaskSet) -> None:
    if graph.prunable_groups and not masks.feature_map:
        raise ValueError(
            f"Model '{graph.model_name}' holds no feature map masks, which an allocation is about. Received: a model "
            "wrapped for other granularities. Use wrap(model, granularity=(..., 'feature_map'))."
        )
