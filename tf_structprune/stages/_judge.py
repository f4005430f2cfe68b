"""The tolerance as a value."""

import math
import re
from dataclasses import dataclass
from typing import Any, Self

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.search import Metric
from tf_structprune.task import Interval, Validation

_ROUNDING = 1e-9  # scores that differ by less are the same
_SHARE = re.compile(r"(\d+(?:\.\d+)?)%")


def check_tolerance(tolerance: float | str) -> float | str:
    """The tolerance itself: a loss of score of 0 or more, or a share of the given model's error such as "10%".

    Raises:
        ValueError: none of these.
    """
    if isinstance(tolerance, str):
        if not (found := _SHARE.fullmatch(tolerance)) or not 0 <= float(found[1]) <= 100:
            raise ValueError(
                f"tolerance must be a number, or a share of the given model's error from 0% to 100%. Received: "
                f"tolerance={tolerance!r}. Use e.g. 0.01 or '10%'."
            )
    elif not 0 <= tolerance < math.inf:
        raise ValueError(f"tolerance must be at least 0. Received: tolerance={tolerance}. Use e.g. 0.01.")
    return tolerance


def tolerated_loss(metric: Metric, given: float, tolerance: float | str) -> float:
    """The loss of score that a tolerance allows.

    Args:
        metric: how scores are told: of one that falls the error is its value, of a fraction that rises what is missing
            to 1.
        given: score of the model that was given.
        tolerance: as `check_tolerance` takes it.

    Raises:
        ValueError: a share of the error where scores are no errors, or more than 1 of a fraction.
    """
    if not isinstance(tolerance, str):
        if metric.percent and tolerance > 1:
            raise ValueError(
                f"tolerance must be in [0, 1] for the {metric.name}. Received: tolerance={tolerance}. It is a "
                "fraction, not a percentage."
            )
        return tolerance
    share, value = float(tolerance[:-1]) / 100, metric.value(given)
    if not metric.falls and not metric.percent:
        raise ValueError(
            f"A tolerance in percent is one of an error. Received: tolerance={tolerance!r} for the {metric.name}, "
            "which is none. Give a number."
        )
    return share * abs(value if metric.falls else 1 - value)


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
    def of(cls, model: keras.Model, validation: Validation, tolerance: float | str) -> Self:
        """The judge of a run that begins with a model.

        Args:
            model: the model that was given.
            validation: held-out samples.
            tolerance: as `check_tolerance` takes it.

        Raises:
            ValueError: its score is not finite, for nothing is within a tolerance of that; or what `tolerated_loss`
                refuses.
        """
        validation = validation.for_model(model)
        given, samples = _scored(validation, validation.outputs_of(model))
        if not math.isfinite(given):
            raise ValueError(
                f"Model '{model.name}' must have a finite score on the validation data. Received: "
                f"{validation.score.metric.text(given)}. Look for NaN in its weights and outputs."
            )
        return cls(validation, given, tolerated_loss(validation.score.metric, given, tolerance), samples)

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
