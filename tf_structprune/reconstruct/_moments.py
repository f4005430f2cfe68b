"""Means and covariances of what a layer reads and is to give, summed up batch by batch."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_CHUNK = 2048  # rows whose products are summed in float32, before they join the sums in float64

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class InputMoments:
    """What is known of the inputs of a layer, one row for each pixel that it computes.

    A row is what one output reads: of a convolution a patch, position by position, and within one the input maps of
    its group. `n` is the number of these values, positions x group inputs.

    Attributes:
        mean: shape (groups, n).
        covariance: shape (groups, n, n).
        rows: number of rows.
    """

    mean: Floats
    covariance: Floats
    rows: int

    def of_weights(self, kernel: NDArray[np.floating], bias: NDArray[np.floating] | None = None) -> "Moments":
        """The moments when what some weights compute is the target.

        Args:
            kernel: shape (positions, group inputs, outputs).
            bias: shape (outputs,); none by default.
        """
        weights = by_group(kernel, len(self.mean))
        cross = self.covariance @ weights
        made = (self.mean[:, None] @ weights)[:, 0]
        if bias is not None:
            made = made + np.asarray(bias, np.float64).reshape(made.shape)
        return Moments(self, made, cross, np.einsum("gno,gno->go", weights, cross))


@dataclass(frozen=True)
class Moments:
    """What is known of the inputs of a layer and of what it is to give for them.

    Attributes:
        inputs: moments of the inputs.
        mean: of the targets, shape (groups, outputs of a group).
        cross: covariance of inputs and targets, shape (groups, n, outputs of a group).
        variance: of the targets, shape (groups, outputs of a group).
    """

    inputs: InputMoments
    mean: Floats
    cross: Floats
    variance: Floats


class MomentSum:
    """Sums up the moments of rows that come in parts.

    Rows are shifted by the mean of the first part, so that a mean that is large against the spread costs no digits.

    Args:
        groups: groups of the layer, 1 without any.
        inputs: values that one output reads.
        outputs: outputs of a group.
    """

    def __init__(self, groups: int, inputs: int, outputs: int) -> None:
        self._shift: NDArray[np.float32] | None = None
        self._found: Moments | None = None
        self._count = 0
        self._size = inputs
        self._sum = np.zeros((groups, inputs + outputs))
        self._inner = np.zeros((groups, inputs, inputs))
        self._cross = np.zeros((groups, inputs, outputs))
        self._square = np.zeros((groups, outputs))

    def add(self, inputs: NDArray[np.float32], targets: NDArray[np.float32]) -> None:
        """Add rows.

        Args:
            inputs: shape (rows, groups, n).
            targets: shape (rows, groups, outputs of a group).
        """
        if self._found is not None:
            raise RuntimeError("These moments were taken already. Received: more rows. Make a new MomentSum.")
        if not len(inputs):
            return
        both = np.concatenate([inputs, targets], axis=2).transpose(1, 0, 2)
        if self._shift is None:
            self._shift = both.mean(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)
        for start in range(0, both.shape[1], _CHUNK):
            part = both[:, start : start + _CHUNK] - self._shift
            reads, wanted = part[..., : self._size], part[..., self._size :]
            across = reads.transpose(0, 2, 1)
            self._inner += across @ reads
            self._cross += across @ wanted
            self._square += np.einsum("gro,gro->go", wanted, wanted, dtype=np.float64)
            self._sum += part.sum(axis=1, dtype=np.float64)
        self._count += both.shape[1]

    def moments(self) -> Moments:
        """The moments of all rows; after it nothing can be added.

        Raises:
            ValueError: there was no row.
        """
        if self._found is not None:
            return self._found
        if self._shift is None:
            raise ValueError("Moments need rows. Received: none. Give samples.")
        mean = self._sum / self._count
        low, high = mean[:, : self._size], mean[:, self._size :]
        covariance = self._inner  # in its place: of a wide layer it is what needs memory
        for each, first in zip(covariance, low, strict=True):
            each /= self._count
            for row, value in zip(each, first, strict=True):
                row -= value * first
        cross = self._cross / self._count - low[:, :, None] * high[:, None]
        variance = self._square / self._count - high**2
        mean = mean + self._shift[:, 0]
        inputs = InputMoments(mean[:, : self._size], covariance, self._count)
        self._found = Moments(inputs, mean[:, self._size :], cross, np.maximum(variance, 0))
        return self._found


def by_group(kernel: NDArray[np.floating], groups: int) -> Floats:
    """A kernel of shape (positions, group inputs, outputs) as (groups, n, outputs of a group)."""
    outputs = kernel.shape[-1]
    flat = np.asarray(kernel, np.float64).reshape(-1, groups, outputs // groups)
    return np.ascontiguousarray(flat.transpose(1, 0, 2))


def as_kernel(weights: Floats, shape: tuple[int, ...]) -> Floats:
    """What `by_group` gave, as a kernel of that shape again."""
    return weights.transpose(1, 0, 2).reshape(shape)
