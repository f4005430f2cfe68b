"""Search masks for a masked model: candidates are scored on data, the model stays as it is."""

from typing import Any

import keras
from rich.progress import Progress

from tf_structprune.graph import trace
from tf_structprune.layers import get_masks, polarity_of
from tf_structprune.masks import Granularity, MaskSet, PatternOptions, as_granularity, mask_space
from tf_structprune.measure import MEASURES
from tf_structprune.scoring import LOCAL, Scorer, Validation
from tf_structprune.search import Search, SearchResult, find


def find_masks(
    masked: keras.Model,
    granularity: Granularity,
    sparsity: float,
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
        masked: a model from `wrap`.
        granularity: what the candidates prune, by name or with demands such as `masks.Kernel(groups=4)`.
        sparsity: total fraction of the prunable weights removed in the end, in [0, 1).
        search: the selector.
        validation: data and score of the candidates.
        seed: seed of the selector's draws.
        racing: stop scoring candidates that cannot be the best of their round, see `search.score`.
        enough: score at which the search ends early, e.g. one within the tolerance; None to find the best.
        executor: who scores, see `search.score`.
        verbose: show a progress bar.

    Raises:
        ValueError: a sparsity out of range or reach, or a selector that cannot do the granularity.
    """
    # Ten names: a search is its settings, and scripts give them by keyword.
    graph = trace(masked)
    base = get_masks(masked, graph=graph)
    name = as_granularity(granularity).name
    space = mask_space(graph, granularity, sparsity, base=base, patterns=PatternOptions(polarity=polarity_of(masked)))
    importance = MEASURES[search.measure](masked, graph, name, validation.x) if search.measure else {}
    scorer = Scorer(masked, validation, racing=racing, enough=enough, seed=seed, executor=executor)
    try:
        with Progress(transient=True, disable=not verbose) as progress:
            task = progress.add_task(f"search {name} masks, sparsity {sparsity:.2f}", total=None)

            def score(candidates: tuple[MaskSet, ...]) -> list[float]:
                values: list[float] = scorer.score(
                    candidates, on_samples=lambda count: progress.advance(task, count)
                ).values.tolist()
                return values

            return find(search, space, score, importance=importance, seed=seed, enough=enough)
    finally:
        scorer.close()
