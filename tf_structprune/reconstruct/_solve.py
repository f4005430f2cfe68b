"""Weights that make up for those that are gone, by least squares."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from tf_structprune.reconstruct._moments import Floats, Moments, as_kernel, by_group

RIDGE = 1e-3
_DIRECT = 2e11  # multiplications of the factorizations of a layer, about ten seconds; what needs more is iterated
_ITERATIONS = 300
_RESIDUAL = 1e-7  # of the right-hand side, where iterations end


@dataclass(frozen=True)
class Solution:
    """Weights of a layer and how near they come to what it is to give.

    Attributes:
        kernel: shape (positions, group inputs, outputs); zero where nothing is kept.
        bias: shape (outputs,).
        before: squared error with the weights that were given, as a share of the targets' variance, over the outputs
            that have weights.
        after: the same with these weights.
    """

    kernel: Floats
    bias: Floats
    before: float
    after: float


def solve(
    moments: Moments,
    kernel: NDArray[np.floating],
    kept: NDArray[np.bool_],
    *,
    bias: NDArray[np.floating] | None = None,
    ridge: float = RIDGE,
) -> Solution:
    """The kept weights of a layer that come nearest to its targets, for each output by itself.

    Minimizes E|W p + b - t|^2 + ridge * trace(G) / n * |W - W0|^2 over the kept weights, where p is what the layer
    reads, t what it is to give, G the second moment of p and W0 the weights that are there (channel pruning by
    reconstruction: He, Zhang, Sun 2017, arXiv 1707.06168, equation 4, with the penalty around the present weights in
    place of zero: where the samples say nothing, these stay).

    Args:
        moments: of what the layer reads and is to give.
        kernel: present weights, shape (positions, group inputs, outputs).
        kept: which of them may be other than zero, same shape.
        bias: of the layer, shape (outputs,), where it has to stay as it is; None to choose the best.
        ridge: relative to the mean second moment of an input; at least 0.

    Raises:
        ValueError: a ridge below 0.
        numpy.linalg.LinAlgError: the equations have no single solution, which a larger ridge mends.
    """
    if not ridge >= 0:
        raise ValueError(f"ridge must be at least 0. Received: ridge={ridge}. Use e.g. {RIDGE}.")
    groups = len(moments.mean)
    open_, present = by_group(kept.astype(float), groups) > 0, by_group(np.where(kept, kernel, 0), groups)
    second, cross = moments.inputs.covariance, moments.cross
    if bias is not None:
        mean = moments.inputs.mean
        second = second + mean[:, :, None] * mean[:, None]
        cross = cross + mean[:, :, None] * (moments.mean - bias.reshape(moments.mean.shape))[:, None]
    found = present.copy()
    for at in range(groups):
        found[at] += _change(second[at], cross[at] - second[at] @ present[at], open_[at], ridge)
    if not np.isfinite(found).all():
        raise np.linalg.LinAlgError("The solution is not finite.")
    live = np.asarray(open_.any(axis=1))
    before, _ = _error(moments, present, bias, live)
    after, chosen = _error(moments, found, bias, live)
    return Solution(as_kernel(found, kernel.shape), chosen.reshape(-1), before, after)


def _change(second: Floats, rest: Floats, kept: NDArray[np.bool_], ridge: float) -> Floats:
    """What the weights of a group change by, shape (n, outputs)."""
    penalty = ridge * float(np.trace(second)) / len(second)
    change = np.zeros_like(rest)
    patterns, which = np.unique(kept, axis=1, return_inverse=True)
    sizes = patterns.sum(axis=0).astype(float)
    if (sizes**3).sum() / 3 > _DIRECT:
        return _iterated(second, rest * kept, kept, penalty)
    for at in np.flatnonzero(sizes):
        rows, columns = np.flatnonzero(patterns[:, at]), np.flatnonzero(which == at)
        part = second[np.ix_(rows, rows)]
        part[np.diag_indices_from(part)] += penalty
        factor = linalg.cho_factor(part, lower=True, overwrite_a=True)
        change[np.ix_(rows, columns)] = linalg.cho_solve(factor, rest[np.ix_(rows, columns)])
    return change


def _iterated(second: Floats, rest: Floats, kept: NDArray[np.bool_], penalty: float) -> Floats:
    """The same by conjugate gradients for all outputs at once, each with kept weights of its own."""
    scale = 1 / (np.diag(second) + penalty + np.finfo(float).tiny)[:, None]
    change, residual = np.zeros_like(rest), rest.copy()
    step = scaled = scale * residual
    product = (residual * scaled).sum(axis=0)
    least = (_RESIDUAL**2) * np.maximum((rest**2).sum(axis=0), np.finfo(float).tiny)
    for _ in range(_ITERATIONS):
        if ((residual**2).sum(axis=0) <= least).all():
            break
        image = kept * (second @ step) + penalty * step
        length = product / np.maximum((step * image).sum(axis=0), np.finfo(float).tiny)
        change += length * step
        residual = residual - length * image
        scaled = scale * residual
        following = (residual * scaled).sum(axis=0)
        step = scaled + following / np.maximum(product, np.finfo(float).tiny) * step
        product = following
    return change


def _error(
    moments: Moments, weights: Floats, bias: NDArray[np.floating] | None, live: NDArray[np.bool_]
) -> tuple[float, Floats]:
    """Squared error of weights as a share of the targets' variance, and the bias, given or best."""
    made = np.einsum("gn,gno->go", moments.inputs.mean, weights)
    chosen = moments.mean - made if bias is None else np.asarray(bias, np.float64).reshape(made.shape)
    spread = np.einsum("gno,gno->go", weights, moments.inputs.covariance @ weights - 2 * moments.cross)
    missing = np.maximum(moments.variance + spread, 0) + (made + chosen - moments.mean) ** 2
    total = float(moments.variance[live].sum())
    return (float(missing[live].sum()) / total if total else 0.0), chosen
