"""The tolerance as a value."""

import math
from dataclasses import dataclass
from typing import Any, Self

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.search import Metric
from tf_structprune.task import Interval, Validation

_ROUNDING = 1e-9  # scores that differ by less are the same


@dataclass(frozen=True)
class Judgement:
    """What a judge says of a model.

    Attributes:
        score: its score.
        accepted: whether it is within the tolerance.
        interval: what is known of its loss of score in the population of the samples; None where samples have no
            score by themselves, or the score is not finite.
    """

    score: float
    accepted: bool
    interval: Interval | None


@dataclass(frozen=True)
class Judge:
    """Says what is good enough: what may be lost of the score of the model that was given.

    Attributes:
        validation: held-out samples and how outputs on them are scored.
        given: score of the model that was given.
        tolerance: how far a score may be below that.
        samples: score of the given model on each sample, shape (samples,); None where samples have none.
    """

    validation: Validation
    given: float
    tolerance: float
    samples: NDArray[np.float64] | None = None

    @classmethod
    def of(cls, model: keras.Model, validation: Validation, tolerance: float) -> Self:
        """The judge of a run that begins with a model.

        Raises:
            ValueError: its score is not finite, for nothing is within a tolerance of that.
        """
        validation = validation.for_model(model)
        given, samples = _scored(validation, validation.outputs_of(model))
        if not math.isfinite(given):
            raise ValueError(
                f"Model '{model.name}' must have a finite score on the validation data. Received: "
                f"{validation.score.metric.text(given)}. Look for NaN in its weights and outputs."
            )
        return cls(validation, given, tolerance, samples)

    @property
    def metric(self) -> Metric:
        """How scores are told."""
        return self.validation.score.metric

    @property
    def least(self) -> float:
        """Lowest score that is accepted."""
        return self.given - self.tolerance - _ROUNDING

    def score(self, model: keras.Model) -> float:
        """Score of a model as it is."""
        return self.validation.of(model)

    def judge(self, model: keras.Model) -> Judgement:
        """The judgement of a model as it is."""
        return self.judge_outputs(self.validation.outputs_of(model))

    def judge_outputs(self, outputs: Any) -> Judgement:
        """The judgement of outputs on the samples, in the order of the model's outputs."""
        score, samples = _scored(self.validation, outputs)
        return Judgement(score, self.accepts(score), self._interval(samples) if math.isfinite(score) else None)

    def accepts(self, score: float) -> bool:
        """Whether a score is within the tolerance; one that is not finite never is."""
        return math.isfinite(score) and score >= self.least

    def _interval(self, found: NDArray[np.float64] | None) -> Interval | None:
        if self.samples is None or found is None:
            return None
        unit = 1.0 if self.metric.percent else float(np.abs(self.samples - found).max())
        return Interval.of_loss(self.samples, found, unit=unit)


def _scored(validation: Validation, outputs: Any) -> tuple[float, NDArray[np.float64] | None]:
    """The score of outputs, and of each sample where samples have one by themselves, whose mean it is."""
    if validation.y is None or not validation.score.by_sample:
        return validation.score_of(outputs), None
    samples = validation.score.samples(validation.y, outputs)
    return float(samples.mean()), samples
