"""Rounding to a grid in the backend's operations, with straight-through gradients."""

from typing import Any

import numpy as np
from keras import ops
from numpy.typing import NDArray

from tf_structprune.fixed_point import Grid

_FAR = 3e38  # near the largest float32


class OnGrid:
    """Abstract: a layer that rounds to a grid, with the calibration of it as a variable.

    Attributes:
        grid: what it rounds to.
        fitted: the variable; zeros until calibrated.
    """

    grid: Grid
    fitted: Any

    @property
    def calibrated(self) -> bool:
        """Whether it rounds."""
        return bool(self.calibration().any())

    def calibration(self) -> NDArray[np.float64]:
        """What was set; zeros until then."""
        return np.asarray(ops.convert_to_numpy(self.fitted), np.float64)

    def step_values(self) -> NDArray[np.float64]:
        """What all the numbers that it rounds to are multiples of; 0 without."""
        return np.asarray(self.grid.step(self.calibration()), np.float64)

    def set_calibration(self, calibration: Any) -> None:
        """Set what `fit` gave, for the layer to round; 0 lets the values be."""
        self.fitted.assign(np.full(self.fitted.shape, calibration, np.float32))


def rounded(values: Any, grid: Grid, calibration: Any) -> Any:
    """The nearest numbers of a grid, in the type of the values. A calibration of zeros changes nothing.

    Args:
        values: any shape.
        grid: the grid.
        calibration: of the grid, behind its own axes broadcast against `values`.
    """
    calibration = ops.cast(calibration, values.dtype)
    nearest = grid.numbers(grid.words(values, calibration, ops), calibration, ops)
    return straight_through(values, nearest, _is_set(grid, calibration))


def straight_through(values: Any, nearest: Any, on: Any) -> Any:
    """Rounded values where `on`, else the values.

    The gradient passes as if nothing were rounded (Bengio et al., arXiv
    1308.3432, section 4), so that small updates add up in the float values (Sung et al., arXiv 1511.06488).
    """
    # The difference is zero going forward, so that the result lies exactly on the grid.
    return ops.where(on, ops.stop_gradient(nearest) + (values - ops.stop_gradient(values)), values)


def saturated(values: Any, grid: Grid, calibration: Any) -> Any:
    """Values cut off at the ends of a grid, where no gradient passes; a calibration of zeros changes nothing."""
    calibration = ops.cast(calibration, values.dtype)
    on = _is_set(grid, calibration)
    # An open grid has ends too far away to matter.
    ends = zip(_ends(grid, calibration), (-_FAR, _FAR), strict=True)
    return ops.clip(values, *(ops.where(on, end, far) for end, far in ends))


def _ends(grid: Grid, calibration: Any) -> tuple[Any, Any]:
    """The smallest and the largest number."""
    low, high = (grid.numbers(word, calibration, ops) for word in grid.ends(calibration))
    return low, high


def _is_set(grid: Grid, calibration: Any) -> Any:
    """Whether there is more than one number, also in the few digits of the calibration's type."""
    low, high = _ends(grid, calibration)
    return low != high
