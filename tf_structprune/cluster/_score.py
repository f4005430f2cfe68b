"""Score candidates, here or on a cluster."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import keras

from tf_structprune.cluster._executor import LOCAL, as_executor
from tf_structprune.layers import MaskedModel
from tf_structprune.masks import MaskSet
from tf_structprune.scoring import BATCH_SIZE, RECONSTRUCTION, PredictedScorer, Scorer, Scores
from tf_structprune.task import check_validation


def score(
    masked: keras.Model | MaskedModel,
    candidates: Sequence[MaskSet],
    *,
    data: Any,
    score: Any = "mcr",
    racing: bool = True,
    seed: int = 0,
    batch_size: int = BATCH_SIZE,
    executor: Any = LOCAL,
) -> Scores:
    """Score candidates on held-out samples; the model is left as it was.

    What comes before the first layer in which candidates differ is computed once for each batch, feature map
    candidates run on a network without the maps that they remove, equal candidates are scored once.

    Args:
        masked: a model from `wrap`.
        candidates: sets of masks; entries that one lacks stay as the model has them.
        data: pair (x, y) of samples and targets; y None for the outputs of the model with all masks open, so that no
            labels are needed.
        score: "mcr", "kl" or another one, see `scoring.as_score`; or "reconstruction": minus the error that least
            squares cannot make up for, predicted without a forward pass, see `scoring.PredictedScorer`.
        racing: stop candidates that cannot win with 99.95 % confidence, see `scoring.race`; False scores all on
            all samples. With a Keras metric or a function of all samples they always are.
        seed: seed of the order of the samples.
        batch_size: samples a batch.
        executor: "local", "ray", or `RayExecutor(...)`.

    Raises:
        ValueError: no candidates, masks or data that do not fit, a score that is not a number.
        TypeError: data that are no pair, or a score of another kind.
    """
    begun = time.perf_counter()
    if isinstance(score, str) and score == RECONSTRUCTION:
        x = check_validation(data, "kl", batch_size, MaskedModel.of(masked).model).x
        scores = PredictedScorer(masked, x, seed=seed).score(candidates)
        return replace(scores, seconds=time.perf_counter() - begun)
    validation = check_validation(data, score, batch_size, MaskedModel.of(masked).model)
    scorer = Scorer(masked, validation, racing=racing, seed=seed, batch_size=batch_size, executor=as_executor(executor))
    try:
        scores = scorer.score(candidates)
        return replace(scores, seconds=time.perf_counter() - begun)
    finally:
        scorer.close()
