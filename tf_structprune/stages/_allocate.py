"""Allocate a budget among the channel groups of a masked model."""

from collections.abc import Sequence
from typing import Any

import keras

from tf_structprune.allocation import (
    Allocation,
    Budget,
    Choices,
    CostFunction,
    CountedCost,
    Method,
    Problem,
    find_allocation,
)
from tf_structprune.channels import PrunableGraph
from tf_structprune.cluster import LOCAL, as_executor
from tf_structprune.graph import weight_shapes
from tf_structprune.layers import MaskedModel
from tf_structprune.masks import FEATURE_MAP, MaskSet
from tf_structprune.measure import elimination_of, l1
from tf_structprune.scoring import Scorer
from tf_structprune.task import check_validation


def allocate(
    masked: keras.Model | MaskedModel,
    budget: Budget,
    *,
    validation_data: tuple[Any, Any],
    method: Method = "greedy",
    score: Any = "mcr",
    cost: CostFunction | None = None,
    levels: int = 8,
    seed: int = 0,
    batch_size: int = 256,
    executor: Any = LOCAL,
) -> Allocation:
    """How many feature maps each channel group keeps, so that the network costs no more than a budget.

    Groups are not equally sensitive: one sparsity for all, as in the papers (arXiv 1610.09639), takes as much from
    the one that errs at once as from the one that does not notice. See `allocation.find_allocation` for the methods.
    Candidates are scored without retraining, with the masks that keep the maps of largest L1 norm, with
    "least_squares" those that the others make up for least; which maps go is then a selector's choice, e.g. in
    `StructuredPruning(sparsity=allocation)`.

    Feature maps are the only granularity that is allocated, because they are what a cost of the whole network depends
    on; kernel and intra-kernel masks that the model holds stay as they are, and what they remove is not taken off
    the cost.

    Args:
        masked: a model from `wrap` with "feature_map"; it is left with the masks it had, and maps that they
            removed stay removed.
        budget: what the network may cost, e.g. `Budget("macs", 0.5)`.
        validation_data: pair of arrays (x, y) held out from training; some thousand samples are enough.
        method: "uniform", "greedy", "evolutionary", "least_squares", or a `search.EvolutionaryParticleFilter`.
        score: "mcr" or another score, see `scoring.as_score`.
        cost: for `Budget("latency", ...)` what measures it, e.g. `tflite_export.latency_cost(masked)`: a function of
            the kept units by group name that returns a positive number.
        levels: numbers of units at which each group is scored (and timed) alone.
        seed: seed of the evolutionary method.
        batch_size: samples a prediction step.
        executor: who scores candidates, "local", "ray", or a `RayExecutor`; a latency is measured here.

    Raises:
        TypeError: validation data that are no pair.
        ValueError: a model without masks or groups, a budget out of reach, a latency without `cost`, an unknown
            executor, another setting out of range, or a score that is not a number.
    """
    # Ten names: what is asked for, what it is judged by, and how it is searched, each by keyword.
    validation = check_validation(validation_data, score, batch_size)
    handle = MaskedModel.of(masked)
    graph, base = handle.graph, handle.masks
    _check_wrapped(graph, base)
    count = CountedCost.of(budget, graph, weight_shapes(handle.model, graph))
    importance, path = l1(handle.model, graph, FEATURE_MAP, validation.x), None
    if method == "least_squares":
        order = elimination_of(handle.model, graph, validation.x, Choices.of(graph, base), count)
        importance, path = order.importance, order.path
    scorer = Scorer(handle, validation, racing=False, executor=as_executor(executor))

    def scores(candidates: Sequence[MaskSet]) -> list[float]:
        values: list[float] = scorer.score(candidates).values.tolist()
        return values

    try:
        problem = Problem(
            graph=graph,
            base=base,
            budget=budget,
            count=count,
            importance=importance,
            score=scores,
            measure=cost,
            path=path,
        )
        return find_allocation(problem, method, levels=levels, seed=seed, metric=validation.score.metric)
    finally:
        scorer.close()


def _check_wrapped(graph: PrunableGraph, masks: MaskSet) -> None:
    if graph.prunable_groups and not masks.feature_map:
        raise ValueError(
            f"Model '{graph.model_name}' holds no feature map masks, which an allocation is about. Received: a model "
            "wrapped for other granularities. Use wrap(model, granularity=(..., 'feature_map'))."
        )
