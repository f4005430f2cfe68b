"""Means and second moments of what a layer reads and is to give, summed up batch by batch."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tf_structprune.reconstruct._second import Floats, FullSecond, RowSecond, Second

_CHUNK = 2**21  # values whose products are summed in float32, before they join the sums in float64
_ROWS = 2048  # the same in rows
_BLOCK = 512  # rows of a covariance at once, from the diagonal on


@dataclass(frozen=True)
class InputMoments(ABC):
    """What is known of the inputs of a layer, one row for each pixel that it computes.

    A row is what one output reads: of a convolution a patch, position by position, and within one the input maps of
    its group. `n` is the number of these values, positions x group inputs.

    Attributes:
        mean: shape (groups, n).
    """

    mean: Floats

    @property
    @abstractmethod
    def rows(self) -> int:
        """Number of rows."""

    @abstractmethod
    def second(self, group: int, *, centred: bool = True) -> Second:
        """The covariance of a group, or its second moment."""

    @abstractmethod
    def covariance(self) -> Floats:
        """Of each group, shape (groups, n, n)."""

    @abstractmethod
    def is_finite(self) -> bool:
        """Whether all values are numbers."""

    def of_weights(self, kernel: NDArray[np.floating], bias: NDArray[np.floating] | None = None) -> "Moments":
        """The moments when what some weights compute is the target.

        Args:
            kernel: shape (positions, group inputs, outputs).
            bias: shape (outputs,); none by default.
        """
        weights = by_group(kernel, len(self.mean))
        cross = np.stack([self.second(at).times(each) for at, each in enumerate(weights)])
        made = (self.mean[:, None] @ weights)[:, 0]
        if bias is not None:
            made = made + np.asarray(bias, np.float64).reshape(made.shape)
        return Moments(self, made, cross, np.einsum("gno,gno->go", weights, cross))


@dataclass(frozen=True)
class Covariances(InputMoments):
    """Of many rows.

    Attributes:
        matrices: covariance of each group, shape (groups, n, n).
        count: number of rows.
    """

    matrices: Floats
    count: int

    @property
    def rows(self) -> int:
        return self.count

    def second(self, group: int, *, centred: bool = True) -> Second:
        mean, found = self.mean[group], self.matrices[group]
        return FullSecond(found if centred else found + mean[:, None] * mean)

    def covariance(self) -> Floats:
        return self.matrices

    def is_finite(self) -> bool:
        return bool(np.isfinite(self.matrices).all())


@dataclass(frozen=True)
class Rows(InputMoments):
    """The rows themselves, where they are few against the values of one, as behind `Flatten`.

    Attributes:
        values: less the mean, shape (groups, rows, n).
    """

    values: NDArray[np.float32]

    @property
    def rows(self) -> int:
        return int(self.values.shape[1])

    def covariance(self) -> Floats:
        values = self.values.astype(np.float64)
        return values.transpose(0, 2, 1) @ values / self.rows

    def second(self, group: int, *, centred: bool = True) -> Second:
        return RowSecond(self.values[group], None if centred else self.mean[group])

    def is_finite(self) -> bool:
        return bool(np.isfinite(self.values).all())


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


def few_rows(rows: int, inputs: int) -> bool:
    """Whether rows take the place of the covariance: they then need an eighth of its memory at most.

    Args:
        rows: in all.
        inputs: values of a row.
    """
    return 4 * rows <= inputs


class MomentSum:
    """Sums up the moments of rows that come in parts, or keeps the rows as long as they are few (`few_rows`).

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
        self._groups, self._size = groups, inputs
        self._sum = np.zeros((groups, inputs + outputs))
        self._square = np.zeros((groups, outputs))
        self._cross = np.zeros((groups, inputs, outputs))
        self._inner: Floats | None = None
        self._held: list[NDArray[np.float32]] = []

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
        both = np.concatenate([inputs, targets], axis=2)
        if self._shift is None:
            self._shift = both.mean(axis=0, dtype=np.float64).astype(np.float32)
        self._count += len(both)
        step = max(1, min(_ROWS, _CHUNK // both[0].size))
        for start in range(0, len(both), step):
            part = np.ascontiguousarray((both[start : start + step] - self._shift).transpose(1, 0, 2))
            wanted = part[..., self._size :]
            self._sum += part.sum(axis=1, dtype=np.float64)
            self._square += np.einsum("gro,gro->go", wanted, wanted, dtype=np.float64)
            self._held.append(part)
        if not few_rows(self._count, self._size):
            self._multiply()

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
        square = np.maximum(self._square / self._count - high**2, 0)
        mean_low, mean_high = low + self._shift[:, : self._size], high + self._shift[:, self._size :]
        inputs: InputMoments
        if self._inner is None:
            values, wanted = self._rows(mean.astype(np.float32))
            inputs = Rows(mean_low, values)
            for at, cross in enumerate(self._cross):
                RowSecond(values[at]).covariance_with(wanted[at], cross)
        else:
            inputs = Covariances(mean_low, _finished(self._inner, low, self._count), self._count)
            for cross, first, other in zip(self._cross, low, high, strict=True):
                cross /= self._count
                cross -= first[:, None] * other
        self._found = Moments(inputs, mean_high, self._cross, square)
        return self._found

    def _multiply(self) -> None:
        """Products of the rows that are held, in place of these: of the covariance what is not below its diagonal."""
        if self._inner is None:
            self._inner = np.zeros((self._groups, self._size, self._size))
        while self._held:
            part = self._held.pop()
            across = part.transpose(0, 2, 1)
            for start in range(0, self._size, _BLOCK):
                rows = slice(start, min(start + _BLOCK, self._size))
                found = across[:, rows] @ part[..., start:]
                self._inner[:, rows, start:] += found[..., : self._size - start]
                self._cross[:, rows] += found[..., self._size - start :]

    def _rows(self, mean: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Inputs and targets of the rows that are held, less their means."""
        values = np.empty((self._groups, self._count, self._size), np.float32)
        wanted = np.empty((self._groups, self._count, mean.shape[1] - self._size), np.float32)
        end = self._count
        while self._held:  # from the last one on, each let go of at once
            part = self._held.pop() - mean[:, None]
            rows = slice(end - part.shape[1], end)
            values[:, rows], wanted[:, rows] = part[..., : self._size], part[..., self._size :]
            end = rows.start
        return values, wanted


def _finished(products: Floats, mean: Floats, count: int) -> Floats:
    """Covariances, in the place of the products, which of a wide layer are what needs memory."""
    for each, first in zip(products, mean, strict=True):
        each /= count
        for start in range(0, len(first), _BLOCK):
            rows = slice(start, start + _BLOCK)
            each[rows, start:] -= first[rows, None] * first[start:]
            each[start:, rows] = each[rows, start:].T
    return products


def by_group(kernel: NDArray[np.floating], groups: int) -> Floats:
    """A kernel of shape (positions, group inputs, outputs) as (groups, n, outputs of a group)."""
    return np.ascontiguousarray(_by_group(kernel, groups), np.float64)


def kept_by_group(kept: NDArray[np.bool_], groups: int) -> NDArray[np.bool_]:
    """As `by_group`, which weights may be other than zero."""
    return np.ascontiguousarray(_by_group(kept, groups))


def _by_group(kernel: NDArray[np.generic], groups: int) -> NDArray[np.generic]:
    return kernel.reshape(-1, groups, kernel.shape[-1] // groups).transpose(1, 0, 2)


def as_kernel(weights: Floats, shape: tuple[int, ...]) -> Floats:
    """What `by_group` gave, as a kernel of that shape again."""
    return weights.transpose(1, 0, 2).reshape(shape)
