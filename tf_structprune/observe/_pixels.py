"""Which pixels of the samples count: a random choice where there are more than the equations need."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_LEAST_ROWS = 8192
_ROWS_A_WEIGHT = 8  # rows for each unknown


@dataclass
class Pixels:
    """Chooses pixels of each sample at random, the same number of each.

    Attributes:
        samples: samples in all.
        unknowns: weights of one output.
        rng: the random numbers.
    """

    samples: int
    unknowns: int
    rng: np.random.Generator

    def count(self, pixels: int) -> int:
        """How many of the pixels of a sample are chosen."""
        return min(pixels, -(-max(_LEAST_ROWS, _ROWS_A_WEIGHT * self.unknowns) // self.samples))

    def choose(self, samples: int, pixels: int) -> NDArray[np.int64] | None:
        """Pixels of some samples, shape (samples, chosen); None for all.

        Args:
            samples: in this batch.
            pixels: that each has.
        """
        count = self.count(pixels)
        if count == pixels:
            return None
        return np.argpartition(self.rng.random((samples, pixels), np.float32), count, axis=1)[:, :count]


def taken(values: NDArray[np.float32], chosen: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
    """Rows of the chosen pixels.

    Args:
        values: shape (samples, pixels, ...).
        chosen: from `Pixels.choose`; None for all.

    Returns:
        Shape (rows, ...).
    """
    if chosen is not None:
        values = values[np.arange(len(values))[:, None], chosen]
    return values.reshape(-1, *values.shape[2:])
