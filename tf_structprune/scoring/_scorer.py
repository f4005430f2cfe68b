"""Score candidates on held-out samples, as fast as the machine can."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.layers import MaskedModel, check_masks, keep_everything
from tf_structprune.masks import MaskSet
from tf_structprune.scoring._bench import Executor, LocalExecutor
from tf_structprune.scoring._changes import Change
from tf_structprune.scoring._race import FIRST, race
from tf_structprune.scoring._strata import spread, strata_of
from tf_structprune.task import Validation

BATCH_SIZE = 128  # samples; smaller batches leave two cores waiting for each other in small networks
_HERE = LocalExecutor()


@dataclass(frozen=True)
class Scores:
    """Scores of some candidates and what they cost.

    Attributes:
        values: a score for each candidate, higher is better, shape (candidates,). Exact for those that were scored on
            all samples, the best one always; of one that was stopped, the best one's score plus the mean difference
            to it on the samples that both have seen.
        samples: how many samples each was scored on, shape (candidates,); 0 for a candidate that was known already.
        seconds: time that it took, compilation included.
    """

    values: NDArray[np.float64]
    samples: NDArray[np.int64]
    seconds: float

    @property
    def best(self) -> int:
        """Index of the best candidate, the first of equals."""
        return int(self.values.argmax())

    @property
    def scored_samples(self) -> int:
        """Samples that went through a network, all candidates together."""
        return int(self.samples.sum())

    def __str__(self) -> str:
        return (
            f"{len(self.values)} candidates, best {self.values.max():.4f}, {self.scored_samples:,} samples scored "
            f"in {self.seconds:.2f} s"
        )


class Scorer:
    """Scores rounds of candidates of one model on the same samples.

    Networks are compiled once and kept; candidates that were scored before are not scored again.

    Args:
        masked: a model from `wrap`, whose weights must not change as long as the scorer is used.
        validation: samples, targets and score. Without targets, the outputs of the model with all masks open.
        racing: stop candidates that cannot win with 99.95 % confidence; without, every score is exact.
        enough: stop a round as soon as one candidate has this score on all samples; None to find the best.
        seed: seed of the order of the samples.
        batch_size: samples a batch.
        executor: where candidates are run.

    Raises:
        ValueError: a model without masks.
    """

    def __init__(
        self,
        masked: keras.Model | MaskedModel,
        validation: Validation,
        *,
        racing: bool = True,
        enough: float | None = None,
        seed: int = 0,
        batch_size: int = BATCH_SIZE,
        executor: Executor = _HERE,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1. Received: batch_size={batch_size}. Use e.g. 128.")
        self._masked, self._racing, self._enough = MaskedModel.of(masked), racing, enough
        validation = validation.for_model(self._masked.model)
        if validation.y is None:
            validation = _with_dense_outputs(self._masked, validation)
        strata = strata_of(validation.y, first=max(FIRST, batch_size))
        order = spread(strata, np.random.default_rng(seed))
        self._strata = strata[order]
        self._bench = executor.bench(self._masked, validation, order, batch_size=min(batch_size, len(order)))
        self._known: dict[bytes, float] = {}
        self._checked: set[tuple[Any, ...]] = set()

    def score(self, candidates: Sequence[MaskSet], *, on_samples: Callable[[int], None] | None = None) -> Scores:
        """Scores of a round of candidates.

        Args:
            candidates: sets of masks; entries that one lacks stay as the model has them.
            on_samples: called with the number of samples scored, e.g. by a progress bar.

        Raises:
            ValueError: no candidates, masks that do not fit the model, or a score that is not a number.
        """
        begun = time.perf_counter()
        if not len(candidates):
            raise ValueError("There is nothing to score. Received: no candidates. Give at least one.")
        changes = [self._bench.change(self._check(candidate)) for candidate in candidates]
        fresh = {change.key: change for change in changes if change.key not in self._known}
        samples = dict.fromkeys(fresh, 0)
        if fresh:
            values, counts = self._scored(list(fresh.values()), on_samples or (lambda count: None))
            self._known.update(zip(fresh, values.tolist(), strict=True))
            samples.update(zip(fresh, counts.tolist(), strict=True))
        told = [samples.pop(change.key, 0) for change in changes]
        scores = np.array([self._known[change.key] for change in changes])
        return Scores(scores, np.array(told, np.int64), time.perf_counter() - begun)

    def close(self) -> None:
        """Let go of what other machines hold."""
        self._bench.close()

    def _check(self, candidate: MaskSet) -> MaskSet:
        shapes = tuple((key, array.shape) for key, array in candidate.to_arrays().items())
        if shapes not in self._checked:
            check_masks(self._masked.model, candidate, graph=self._masked.graph)
            self._checked.add(shapes)
        return candidate

    def _scored(
        self, changes: list[Change], on_samples: Callable[[int], None]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Scores of candidates of which no two are equal, and the samples that each took."""
        self._bench.begin(changes)
        sizes = self._bench.sizes

        def values(indices: Sequence[int], batches: Sequence[int]) -> NDArray[np.float64]:
            found = self._bench.values([changes[index] for index in indices], batches)
            on_samples(found.size)
            return _checked_numbers(found)

        if not self._bench.by_sample:
            whole = [self._bench.score_of(outputs) for outputs in self._bench.outputs(changes)]
            on_samples(len(changes) * sum(sizes))
            return _checked_numbers(np.array(whole)), np.full(len(changes), sum(sizes))
        if self._racing:
            raced = race(values, len(changes), sizes, strata=self._strata, enough=self._enough)
            return raced.scores, raced.samples
        exact = values(range(len(changes)), range(len(sizes)))
        return exact.mean(axis=1), np.full(len(changes), sum(sizes))


def _with_dense_outputs(masked: MaskedModel, validation: Validation) -> Validation:
    present = masked.masks
    masked.set_masks(keep_everything(present))
    try:
        return validation.with_outputs_of(masked.model)
    finally:
        masked.set_masks(present)


def _checked_numbers(values: NDArray[np.float64]) -> NDArray[np.float64]:
    if np.isnan(values).any():
        raise ValueError(
            "A candidate's score is not a number. Received: nan. Check the model's outputs on the "
            "validation data, or the score function."
        )
    return values
