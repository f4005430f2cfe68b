"""How signals use the steps that the file gives them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tflite_export.file import TensorDescription

_STEPS = 255  # from the least int8 to the largest
_BELOW = 130  # integers from -130 to 129 are told apart: a value that is one step outside is not clipped by much
_MOST = 0.999  # of the values: what the rest takes beyond them is taken by outliers


@dataclass(frozen=True)
class Usage:
    """What a signal is on some samples, in steps of its grid.

    Attributes:
        largest_channel: how many of the 255 steps the channel with the widest range takes.
        median_channel: the same of the median channel, of those that are not constant.
        most_values: how many of the steps 99.9 % of all values take.
        clipped: share of the values that lie outside the range by more than a step.
    """

    largest_channel: float
    median_channel: float
    most_values: int
    clipped: float


class UsageMeter:
    """Counts the steps that a signal takes, batch by batch.

    Args:
        tensor: the signal in the int8 file.
    """

    def __init__(self, tensor: TensorDescription) -> None:
        self.scale, self.point = tensor.scales[0], tensor.zero_points[0]
        self._counts = np.zeros(2 * _BELOW, np.int64)  # by integer, the ends with all beyond them
        self._low: Any = np.inf
        self._high: Any = -np.inf

    def see(self, values: NDArray[np.float32]) -> None:
        """Count some samples.

        Args:
            values: shape (samples, ..., channels).
        """
        steps = np.asarray(values, np.float64) / self.scale + self.point
        places = np.clip(np.floor(steps + 0.5) + _BELOW, 0, 2 * _BELOW - 1).astype(np.int64)
        self._counts += np.bincount(places.ravel(), minlength=len(self._counts))
        rows = steps.reshape(-1, steps.shape[-1] if steps.ndim > 1 else 1)
        self._low, self._high = np.minimum(self._low, rows.min(axis=0)), np.maximum(self._high, rows.max(axis=0))

    def usage(self) -> Usage:
        """What was seen."""
        taken = np.minimum(self._high - self._low, _STEPS)
        living = taken[taken > 0]
        total = self._counts.sum()
        return Usage(
            float(taken.max()),
            float(np.median(living)) if living.size else 0.0,
            _shortest(self._counts, total),
            float((self._counts[0] + self._counts[-1]) / total),
        )


def _shortest(counts: NDArray[np.int64], total: int) -> int:
    """Steps between the values that cut half of the outliers off at either end."""
    shares = np.cumsum(counts) / total
    low = int(np.searchsorted(shares, (1 - _MOST) / 2, side="right"))
    high = int(np.searchsorted(shares, (1 + _MOST) / 2 - 1e-12))
    return min(high - low, _STEPS)
