"""Search masks for a masked model: candidates are set, scored on data, and taken off again."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from tf_structprune.callbacks._score import ScoreFunction
from tf_structprune.graph import trace
from tf_structprune.layers import get_masks, polarity_of, set_masks
from tf_structprune.masks import Granularity, MaskSet, PatternOptions, as_granularity, mask_space
from tf_structprune.measure import MEASURES, predict
from tf_structprune.search import Search, SearchResult, find


@dataclass(frozen=True)
class Validation:
    """Held-out samples, and how outputs on them are scored.

    Attributes:
        x: inputs, shape (images, ...).
        y: labels, shape (images, ...).
        score: function of (labels, outputs), higher is better.
        batch_size: samples a prediction step.
    """

    x: NDArray[Any]
    y: NDArray[Any]
    score: ScoreFunction
    batch_size: int = 256

    def of(self, model: keras.Model) -> float:
        """Score of a model as it is."""
        return self.score(self.y, predict(model, self.x, self.batch_size))


def check_validation(validation_data: Any, score: ScoreFunction, batch_size: int) -> Validation:
    """Validation data as arrays.

    Raises:
        TypeError: not a pair.
        ValueError: no samples, lengths that differ, or values that are not numbers.
    """
    if not isinstance(validation_data, (tuple, list)) or len(validation_data) != 2:
        raise TypeError(
            "validation_data must be a pair of arrays (x, y). Received: "
            f"{type(validation_data).__name__}. Collect a data set into arrays first."
        )
    x, y = np.asarray(validation_data[0]), np.asarray(validation_data[1])
    if len(x) == 0 or len(x) != len(y):
        raise ValueError(
            f"validation_data needs one label for each sample. Received: {len(x)} samples, {len(y)} labels. "
            "Split some training data off."
        )
    if np.issubdtype(x.dtype, np.floating) and not np.isfinite(x).all():
        raise ValueError("validation_data has values that are not finite. Received: NaN or infinity in x. Clean it.")
    return Validation(x, y, score, batch_size)


def find_masks(
    masked: keras.Model,
    granularity: Granularity,
    sparsity: float,
    *,
    search: Search,
    validation: Validation,
    seed: int = 0,
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
        verbose: show a progress bar.

    Raises:
        ValueError: a sparsity out of range or reach, or a selector that cannot do the granularity.
    """
    graph = trace(masked)
    base = get_masks(masked, graph=graph)
    name = as_granularity(granularity).name
    space = mask_space(graph, granularity, sparsity, base=base, patterns=PatternOptions(polarity=polarity_of(masked)))
    importance = MEASURES[search.measure](masked, graph, name, validation.x) if search.measure else {}

    def score(candidate: MaskSet) -> float:
        set_masks(masked, candidate, graph=graph)
        return validation.of(masked)

    try:
        with Progress(transient=True, disable=not verbose) as progress:
            task = progress.add_task(f"search {name} masks, sparsity {sparsity:.2f}", total=None)
            on_scored: Callable[[float], None] = lambda _: progress.advance(task)  # noqa: E731
            return find(search, space, score, importance=importance, seed=seed, on_scored=on_scored)
    finally:
        set_masks(masked, base, graph=graph)
