"""Search masks for a masked model: candidates are scored on data, the model stays as it is."""

from typing import Any

import keras
from rich.progress import Progress

from tf_structprune.allocation import Allocation
from tf_structprune.channels import PrunableGraph
from tf_structprune.cluster import LOCAL, as_executor
from tf_structprune.layers import MaskedModel
from tf_structprune.masks import (
    FEATURE_MAP,
    Granularity,
    MaskSet,
    MaskSpace,
    PatternOptions,
    as_granularity,
    kept_space,
    mask_space,
)
from tf_structprune.measure import MEASURES
from tf_structprune.scoring import Scorer
from tf_structprune.search import Search, SearchResult, find
from tf_structprune.task import Validation


def find_masks(
    masked: keras.Model | MaskedModel,
    granularity: Granularity,
    sparsity: float | Allocation,
    *,
    search: Search,
    validation: Validation,
    seed: int = 0,
    racing: bool = True,
    enough: float | None = None,
    executor: Any = LOCAL,
    verbose: bool = False,
) -> SearchResult:
    """Search the masks of one granularity on top of those the model holds.

    The model is left with the masks it had.

    Args:
        masked: a model from `wrap`, or the handle of one, which spares tracing it again.
        granularity: what the candidates prune, by name or with demands such as `masks.Kernel(groups=4)`.
        sparsity: total fraction of the prunable weights removed in the end, in [0, 1), or an `Allocation`, whose
            unit counts all candidates then have; for feature maps only.
        search: the selector.
        validation: data and score of the candidates.
        seed: seed of the selector's draws.
        racing: stop scoring candidates that cannot be the best of their round, see `score`.
        enough: score at which the search ends early, e.g. one within the tolerance; None to find the best.
        executor: who scores, see `score`.
        verbose: show a progress bar.

    Raises:
        ValueError: a sparsity out of range or reach, an allocation of another model or for another granularity, or a
            selector that cannot do the granularity.
    """
    # Ten names: a search is its settings, and scripts give them by keyword.
    handle = MaskedModel.of(masked)
    graph, base = handle.graph, handle.masks
    name = as_granularity(granularity).name
    if isinstance(sparsity, Allocation):
        space, told = _allocated_space(graph, name, sparsity, base), f"{sparsity.method} allocation"
    else:
        options = PatternOptions(polarity=handle.polarity)
        space = mask_space(graph, granularity, sparsity, base=base, patterns=options)
        told = f"sparsity {sparsity:.2f}"
    importance = MEASURES[search.measure](handle.model, graph, name, validation.x) if search.measure else {}
    scorer = Scorer(handle, validation, racing=racing, enough=enough, seed=seed, executor=as_executor(executor))
    try:
        with Progress(transient=True, disable=not verbose) as progress:
            task = progress.add_task(f"search {name} masks, {told}", total=None)

            def score(candidates: tuple[MaskSet, ...]) -> list[float]:
                values: list[float] = scorer.score(
                    candidates, on_samples=lambda count: progress.advance(task, count)
                ).values.tolist()
                return values

            return find(search, space, score, importance=importance, seed=seed, enough=enough)
    finally:
        scorer.close()


def _allocated_space(graph: PrunableGraph, granularity: str, allocation: Allocation, base: MaskSet) -> MaskSpace:
    """All feature map masks with the counts of an allocation."""
    check_allocated(granularity)
    allocation.check(graph)
    return kept_space(graph, allocation.kept, base=base)


def check_allocated(granularity: str) -> None:
    """Refuse an allocation for another granularity than feature maps.

    Raises:
        ValueError: another granularity.
    """
    if granularity != FEATURE_MAP:
        raise ValueError(
            f"An allocation gives the number of feature maps in each group. Received: granularity={granularity!r}. Use "
            "it for 'feature_map', and a fraction for kernels and patterns."
        )
