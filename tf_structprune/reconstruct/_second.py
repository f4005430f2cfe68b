"""Second moments of what the outputs of one group read: products with them, and equations in them."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

Floats = NDArray[np.float64]

_COLUMNS = 2048  # of float32 rows that are float64 at once


class Second(ABC):
    """The second moment G of the n values of a row, shape (n, n), however it is held."""

    @property
    @abstractmethod
    def rank(self) -> int:
        """Of the matrix, at most."""

    @abstractmethod
    def times(self, weights: Floats) -> Floats:
        """G times weights, shape (n, outputs)."""

    @abstractmethod
    def diagonal(self) -> Floats:
        """Mean squares of the values, shape (n,)."""

    @abstractmethod
    def solved(self, kept: NDArray[np.int64], right: Floats, penalty: float) -> Floats:
        """Solve (G + penalty) w = right for some of the values alone.

        Args:
            kept: which.
            right: shape (kept, outputs), made of the same rows as G.
            penalty: at least 0.

        Raises:
            numpy.linalg.LinAlgError: there is no single solution.
        """


@dataclass(frozen=True)
class FullSecond(Second):
    """The matrix itself, for rows that are many.

    Attributes:
        matrix: shape (n, n).
    """

    matrix: Floats

    @property
    def rank(self) -> int:
        return len(self.matrix)

    def times(self, weights: Floats) -> Floats:
        return self.matrix @ weights

    def diagonal(self) -> Floats:
        return np.diag(self.matrix)

    def solved(self, kept: NDArray[np.int64], right: Floats, penalty: float) -> Floats:
        return _solved(self.matrix[np.ix_(kept, kept)], right, penalty)


@dataclass(frozen=True)
class RowSecond(Second):
    """The rows in place of the matrix, where they are fewer than the values of one: G = X'X / rows.

    Attributes:
        rows: X, shape (rows, n).
        mean: added to each row, shape (n,), for rows that were taken off it; None to leave them as they are.
    """

    rows: NDArray[np.float32]
    mean: Floats | None = None

    @property
    def rank(self) -> int:
        return len(self.rows) + (self.mean is not None)

    def times(self, weights: Floats) -> Floats:
        every = np.arange(len(weights))
        return self._back(every, self._forth(every, weights))

    def diagonal(self) -> Floats:
        found = np.einsum("rn,rn->n", self.rows, self.rows, dtype=np.float64) / len(self.rows)
        return np.asarray(found if self.mean is None else found + self.mean**2)

    def solved(self, kept: NDArray[np.int64], right: Floats, penalty: float) -> Floats:
        """In the dual form where rows are fewer than unknowns: w = (right - X' (X X' + penalty)^-1 X right) / penalty.

        A difference of nearly equal terms, so what is left of the right-hand side is solved for once more.
        """
        if self.rank > len(kept):
            part = self._columns(kept)
            return _solved(part.T @ part, right, penalty)
        if not penalty:
            raise np.linalg.LinAlgError("Fewer rows than unknowns.")
        gram = np.zeros((self.rank, self.rank))
        for columns in _parts(kept):
            part = self._columns(columns)
            gram += part @ part.T
        factor = _factor(gram, penalty)

        def solved(right: Floats) -> Floats:
            found = self._back(kept, linalg.cho_solve(factor, self._forth(kept, right)))
            np.subtract(right, found, out=found)
            found /= penalty
            return found

        found = solved(right)
        left = self._back(kept, self._forth(kept, found))
        np.subtract(right, left, out=left)
        left -= penalty * found
        found += solved(left)
        return found

    def covariance_with(self, targets: NDArray[np.float32], out: Floats) -> None:
        """That of rows without a mean and of targets without one.

        Args:
            targets: shape (rows, outputs).
            out: where it goes, shape (n, outputs).
        """
        self._back(np.arange(len(out)), targets / np.sqrt(len(targets), dtype=np.float64), out)

    def _forth(self, columns: NDArray[np.int64], weights: Floats) -> Floats:
        """X times weights of some columns."""
        made = np.zeros((self.rank, weights.shape[1]))
        for start, part in zip(range(0, len(columns), _COLUMNS), _parts(columns), strict=True):
            made += self._columns(part) @ weights[start : start + _COLUMNS]
        return made

    def _back(self, columns: NDArray[np.int64], made: Floats, out: Floats | None = None) -> Floats:
        """X' of some columns times what was made."""
        found = np.empty((len(columns), made.shape[1])) if out is None else out
        for start, part in zip(range(0, len(columns), _COLUMNS), _parts(columns), strict=True):
            np.matmul(self._columns(part).T, made, out=found[start : start + _COLUMNS])
        return found

    def _columns(self, columns: NDArray[np.int64]) -> Floats:
        """Some columns of X, with X'X the second moment; the mean is one more row."""
        part = self.rows[:, columns].astype(np.float64)
        part /= np.sqrt(len(part))
        return part if self.mean is None else np.concatenate([part, self.mean[None, columns]])


def _parts(columns: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return [columns[start : start + _COLUMNS] for start in range(0, len(columns), _COLUMNS)]


def _solved(matrix: Floats, right: Floats, penalty: float) -> Floats:
    return np.asarray(linalg.cho_solve(_factor(matrix, penalty), right))


def _factor(matrix: Floats, penalty: float) -> tuple[Floats, bool]:
    """Of the matrix and the penalty, in the matrix's place."""
    matrix[np.diag_indices_from(matrix)] += penalty
    factor: tuple[Floats, bool] = linalg.cho_factor(matrix, lower=True, overwrite_a=True)
    return factor
