"""The best candidates by prediction, tried for real: weights solved, scored on data."""

import heapq
from collections.abc import Sequence

import numpy as np
from absl import logging

from tf_structprune.layers import MaskedModel
from tf_structprune.masks import MaskSet
from tf_structprune.stages._reconstruct import reconstruct
from tf_structprune.task import Validation


class Finalists:
    """Remembers the best of the candidates that a search scores, each once.

    Args:
        count: how many, at least 1.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._best: list[tuple[float, int, MaskSet]] = []  # a heap, the worst first; of two alike the later one
        self._seen: set[tuple[bytes, ...]] = set()

    def hear(self, candidates: Sequence[MaskSet], values: Sequence[float]) -> None:
        """Candidates and their predicted scores."""
        for masks, value in zip(candidates, values, strict=True):
            key = tuple(np.packbits(array).tobytes() for array in masks.to_arrays().values())
            if key not in self._seen:
                self._seen.add(key)
                entry = (value, -len(self._seen), masks)
                (heapq.heappush if len(self._best) < self._count else heapq.heappushpop)(self._best, entry)

    def winner(self, handle: MaskedModel, validation: Validation, *, seed: int) -> MaskSet:
        """The one that scores best once its kept weights are solved; of those alike the best by prediction.

        Args:
            handle: the model; its weights and masks are left as they were.
            validation: what weights are solved on, without labels, and what is scored.
            seed: of the choice of pixels.
        """
        ordered = [masks for _, _, masks in sorted(self._best, reverse=True)]
        if len(ordered) == 1:
            return ordered[0]
        weights, present = handle.model.get_weights(), handle.masks
        scores = []
        try:
            for masks in ordered:
                handle.model.set_weights(weights)
                handle.set_masks(masks)
                reconstruct(handle, validation.x, seed=seed)
                scores.append(validation.of(handle.model))
        finally:
            handle.model.set_weights(weights)
            handle.set_masks(present)
        told = ", ".join(validation.score.metric.text(score) for score in scores)
        logging.info("The best candidates by prediction, solved: %s", told)
        return ordered[int(np.argmax(scores))]
