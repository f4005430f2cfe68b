"""Rounding to a uniform grid in the backend's operations, with straight-through gradients."""

from typing import Any

from keras import ops


def rounded(values: Any, step: Any, smallest: Any, largest: Any, *, symmetric: bool) -> Any:
    """The nearest numbers of a grid, in float32. A step of 0 changes nothing.

    The gradient passes as if nothing were rounded (Bengio et al., arXiv
    1308.3432, section 4), so that small updates add up in the float values (Sung et al., arXiv 1511.06488).

    Args:
        values: any shape.
        step: distance of two numbers, broadcast against `values`.
        smallest: smallest multiple of the step.
        largest: largest multiple of the step.
        symmetric: whether halves go away from zero, as in `fixed_point.to_grid`; else they go up, as in TFLite's
            kernels with positive sums and in those without ties.
    """
    step = ops.cast(step, values.dtype)
    on = step > 0
    safe = ops.where(on, step, ops.ones_like(step))
    multiples = ops.clip(values / safe, smallest, largest)
    snapped = ops.floor(multiples + 0.5)
    if symmetric:
        snapped = ops.sign(multiples) * ops.floor(ops.abs(multiples) + 0.5)
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
