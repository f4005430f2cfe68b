"""How well a number of samples tells the loss of score of one model against another."""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

_QUANTILE = 1.959964  # of the normal distribution, for 95 % between both ends


@dataclass(frozen=True)
class Interval:
    """The 95 % confidence interval of a loss of score in the population that the samples were drawn from.

    Attributes:
        low: its lower end, negative for a gain.
        high: its upper end.
        samples: how many samples it comes from.
    """

    low: float
    high: float
    samples: int

    @classmethod
    def of_loss(cls, given: NDArray[np.float64], found: NDArray[np.float64], *, unit: float) -> Self:
        """The interval from the scores of both models on the same samples.

        The normal interval of the mean paired difference, with two samples more: one without a difference, and half a
        sample each that is won and lost by a unit. So few equal samples are not certain of anything. For right and
        wrong it is the interval of Agresti and Min (Statistics in Medicine 24, 2005, "+2").

        Args:
            given: of the model that is compared with, higher is better, shape (samples,), finite.
            found: of the other one, shape (samples,), finite.
            unit: the largest difference that a sample can make, 1 for right and wrong.
        """
        lost = given - found
        count = len(lost) + 2
        mean = lost.sum() / count
        variance = (np.square(lost).sum() + unit**2) / count - mean**2
        half = _QUANTILE * math.sqrt(max(variance, 0.0) / count)
        return cls(float(mean - half), float(mean + half), len(lost))

    @property
    def half_width(self) -> float:
        """How far its ends are from its middle."""
        return (self.high - self.low) / 2

    def samples_to_tell(self, tolerance: float) -> int:
        """How many such samples have an interval that reaches no further than a tolerance around its middle.

        Args:
            tolerance: above 0.
        """
        return max(self.samples, math.ceil(self.samples * (self.half_width / tolerance) ** 2))
