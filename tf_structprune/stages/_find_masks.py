"""Search masks for a masked model: candidates are scored on data, the model stays as it is."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Self

import keras
from absl import logging
from rich.progress import Progress

from tf_structprune.allocation import Allocation
from tf_structprune.channels import PrunableGraph
from tf_structprune.cluster import LOCAL, as_executor
from tf_structprune.layers import MaskedModel
from tf_structprune.masks import (
    FEATURE_MAP,
    Granularity,
    Importance,
    MaskSet,
    MaskSpace,
    PatternOptions,
    as_granularity,
    kept_space,
    mask_space,
)
from tf_structprune.measure import MEASURES
from tf_structprune.scoring import ERROR, PredictedScorer, Scorer
from tf_structprune.search import Metric, Search, SearchResult, find
from tf_structprune.stages._finalists import Finalists
from tf_structprune.stages._guessing import near_guessing
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
    verbose: bool | Callable[[str], None] = False,
    predicted: bool = False,
    finalists: int = 1,
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
        verbose: show a progress bar, or a function that is told how far the search is.
        predicted: score candidates by the error that least squares cannot make up for, without running any, see
            `scoring.PredictedScorer`; for masks behind which the weights are reconstructed.
        finalists: with `predicted`, of so many of the best the kept weights are solved and the model is scored on the
            data; the best of them is taken. Each costs a reconstruction.

    Raises:
        ValueError: a sparsity out of range or reach, an allocation of another model or for another granularity, a
            selector that cannot do the granularity, or no finalists.
    """
    # Twelve names: a search is its settings, and scripts give them by keyword.
    if finalists < 1:
        raise ValueError(f"finalists must be at least 1. Received: finalists={finalists}. Use 1 for the best one.")
    handle = MaskedModel.of(masked)
    graph, base = handle.graph, handle.masks
    name = as_granularity(granularity).name
    if isinstance(sparsity, Allocation):
        space, told = _allocated_space(graph, name, sparsity, base), f"{sparsity.method} allocation"
    else:
        options = PatternOptions(polarity=handle.polarity)
        space = mask_space(graph, granularity, sparsity, base=base, patterns=options)
        told = f"sparsity {sparsity:.2f}"
    importance: Importance = {}
    if search.measure:
        importance = MEASURES[search.measure](handle.model, graph, name, validation.x, validation.y)
    scorer: Scorer | PredictedScorer
    if predicted:
        scorer, metric = PredictedScorer(handle, validation.x, seed=seed), ERROR
    else:
        scorer = Scorer(handle, validation, racing=racing, enough=enough, seed=seed, executor=as_executor(executor))
        metric = validation.score.metric
    try:
        with _Told(f"search {name} masks, {told}", verbose, metric) as far:
            best = Finalists(finalists) if predicted and finalists > 1 else None

            def score(candidates: tuple[MaskSet, ...]) -> list[float]:
                values: list[float] = scorer.score(candidates, on_samples=far.samples).values.tolist()
                far.scored(values)
                if best is not None:
                    best.hear(candidates, values)
                return values

            found = find(search, space, score, importance=importance, seed=seed, enough=enough)
            if best is not None:
                found = replace(found, masks=best.winner(handle, validation, seed=seed))
        if not predicted and len(found.scores) > 1:
            _tell_if_blind(validation, found.score)
        return found
    finally:
        scorer.close()


def _tell_if_blind(validation: Validation, best: float) -> None:
    """Say when even the best candidate hardly beats guessing, so that its choice was hardly more than a draw."""
    if told := near_guessing(validation, best):
        logging.warning(
            "The best candidate %s: before retraining such scores tell little. Use reconstruct=True "
            "(--reconstruct full), or search.LeastSquares.",
            told,
        )


class _Told:
    """How far a search is, on a bar or to a function."""

    def __init__(self, what: str, verbose: bool | Callable[[str], None], metric: Metric) -> None:
        self.what, self.metric = what, metric
        self.tell = verbose if callable(verbose) else None
        self.bar = Progress(transient=True, disable=verbose is not True)
        self.task = self.bar.add_task(what, total=None)
        self.seen, self.candidates, self.best = 0, 0, -math.inf

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def samples(self, count: int) -> None:
        """So many more samples were looked at."""
        self.bar.advance(self.task, count)
        self.seen += count
        self._say()

    def scored(self, values: Sequence[float]) -> None:
        """More candidates have scores."""
        self.candidates += len(values)
        self.best = max([self.best, *(value for value in values if math.isfinite(value))])
        self._say()

    def _say(self) -> None:
        if self.tell is not None:
            best = f", best {self.metric.name} {self.metric.text(self.best)}" if math.isfinite(self.best) else ""
            self.tell(f"{self.what}: {self.candidates} candidates scored{best}, {self.seen:,} samples")


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
