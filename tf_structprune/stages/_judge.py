"""The tolerance as a value."""

import math
from dataclasses import dataclass
from typing import Self

import keras

from tf_structprune.search import Metric
from tf_structprune.task import Validation

_ROUNDING = 1e-9  # scores that differ by less are the same


@dataclass(frozen=True)
class Judge:
    """Says what is good enough: what may be lost of the score of the model that was given.

    Attributes:
        validation: held-out samples and how outputs on them are scored.
        given: score of the model that was given.
        tolerance: how far a score may be below that.
    """

    validation: Validation
    given: float
    tolerance: float

    @classmethod
    def of(cls, model: keras.Model, validation: Validation, tolerance: float) -> Self:
        """The judge of a run that begins with a model."""
        return cls(validation, validation.of(model), tolerance)

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

    def accepts(self, score: float) -> bool:
        """Whether a score is within the tolerance; one that is not finite never is."""
        return math.isfinite(score) and score >= self.least
