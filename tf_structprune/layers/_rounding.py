"""Rounding to a uniform grid in the backend's operations, with straight-through gradients."""

from typing import Any

from keras import ops


def rounded(values: Any, step: Any, smallest: Any, largest: Any, *, signed: bool = True) -> Any:
    """The nearest numbers of a grid; halves go away from zero. A step of 0 changes nothing.

    As `fixed_point.to_grid`, in float32. The gradient passes as if nothing were rounded (Bengio et al., arXiv
    1308.3432, section 4), so that small updates add up in the float values (Sung et al., arXiv 1511.06488).

    Args:
        values: any shape.
        step: distance of two numbers, broadcast against `values`.
        smallest: smallest multiple of the step.
        largest: largest multiple of the step.
        signed: whether there are negative multiples.
    """
    step = ops.cast(step, values.dtype)
    on = step > 0
    safe = ops.where(on, step, ops.ones_like(step))
    multiples = ops.clip(values / safe, smallest, largest)
    snapped = ops.sign(multiples) * ops.floor(ops.abs(multiples) + 0.5) if signed else ops.floor(multiples + 0.5)
    # The difference is zero going forward, so that the result lies exactly on the grid.
    through = ops.stop_gradient(snapped * safe) + (values - ops.stop_gradient(values))
    return ops.where(on, through, values)


def saturated(values: Any, step: Any, smallest: Any, largest: Any) -> Any:
    """Values cut off at the ends of a grid, where no gradient passes; a step of 0 changes nothing."""
    step = ops.cast(step, values.dtype)
    # An open grid has ends too far away to matter.
    ends = [ops.where(step > 0, end * step, far) for end, far in ((smallest, -_FAR), (largest, _FAR))]
    return ops.clip(values, *ends)


_FAR = 3e38  # near the largest float32
