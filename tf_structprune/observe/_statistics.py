"""Means and variances of tensors over all samples."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CHUNK = 2**18  # values that are float64 at once, 2 MiB


def mean_and_variance(tensors: Iterable[NDArray[Any]], axis: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and variance of each channel, as batch normalization would find them in one batch of all samples.

    Args:
        tensors: at least one, batch by batch.
        axis: of the channels.

    Returns:
        Both of shape (channels,).
    """
    count, mean, squares = 0, np.zeros(()), np.zeros(())
    for tensor in tensors:
        rows = np.moveaxis(tensor, axis, -1).reshape(-1, tensor.shape[axis])
        for start in range(0, len(rows), max(1, _CHUNK // tensor.shape[axis])):
            values = rows[start : start + max(1, _CHUNK // tensor.shape[axis])].astype(np.float64)
            found, total = values.mean(axis=0), count + len(values)
            off = found - mean
            values -= found
            squares = squares + np.einsum("rc,rc->c", values, values) + off**2 * (count * len(values) / total)
            mean = mean + off * (len(values) / total)
            count = total
    return mean, squares / count
