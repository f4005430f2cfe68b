"""Weights that make up for those that are gone, by least squares."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tf_structprune.reconstruct._moments import Moments, as_kernel, by_group, kept_by_group
from tf_structprune.reconstruct._second import Floats, Second

RIDGE = 1e-3
_DIRECT = 2e11  # multiplications of the factorizations of a layer, about ten seconds; what needs more is iterated
_ITERATIONS = 300
_OUTPUTS = 128  # that are iterated at once
_LEAST = float(np.finfo(np.float32).tiny)  # of the mean square of what is read: of maps that are 0 nothing is asked
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
    open_, present = kept_by_group(kept, groups), by_group(np.where(kept, kernel, 0), groups)
    off = None if bias is None else moments.mean - bias.reshape(moments.mean.shape)
    found = np.empty_like(present)
    for at in range(groups):
        second = moments.inputs.second(at, centred=off is None)
        np.subtract(moments.cross[at], second.times(present[at]), out=found[at])
        if off is not None:
            found[at] += moments.inputs.mean[at][:, None] * off[at]
        _change(second, found[at], open_[at], ridge)
    found += present
    if not np.isfinite(found).all():
        raise np.linalg.LinAlgError("The solution is not finite.")
    live = np.asarray(open_.any(axis=1))
    before, _ = _error(moments, present, bias, live)
    after, chosen = _error(moments, found, bias, live)
    return Solution(as_kernel(found, kernel.shape), chosen.reshape(-1), before, after)


def _change(second: Second, rest: Floats, kept: NDArray[np.bool_], ridge: float) -> None:
    """What the weights of a group change by, in the place of what is still missing, shape (n, outputs)."""
    penalty = ridge * max(float(second.diagonal().mean()), _LEAST)
    rest *= kept
    patterns, which = np.unique(kept, axis=1, return_inverse=True)
    sizes = patterns.sum(axis=0).astype(float)
    if (sizes * np.minimum(sizes, second.rank) ** 2).sum() / 3 > _DIRECT:
        for start in range(0, rest.shape[1], _OUTPUTS):
            outputs = slice(start, start + _OUTPUTS)
            rest[:, outputs] = _iterated(second, rest[:, outputs], kept[:, outputs], penalty)
        return
    for at in np.flatnonzero(sizes):
        rows, columns = np.flatnonzero(patterns[:, at]), np.flatnonzero(which == at)
        rest[np.ix_(rows, columns)] = second.solved(rows, rest[np.ix_(rows, columns)], penalty)


def _iterated(second: Second, rest: Floats, kept: NDArray[np.bool_], penalty: float) -> Floats:
    """The same by conjugate gradients for many outputs at once, each with kept weights of its own."""
    scale = 1 / (second.diagonal() + penalty + np.finfo(float).tiny)[:, None]
    change, residual = np.zeros_like(rest), rest.copy()
    step = scaled = scale * residual
    product = (residual * scaled).sum(axis=0)
    least = (_RESIDUAL**2) * np.maximum((rest**2).sum(axis=0), np.finfo(float).tiny)
    for _ in range(_ITERATIONS):
        if ((residual**2).sum(axis=0) <= least).all():
            break
        image = kept * second.times(step) + penalty * step
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
    spread = -2 * np.einsum("gno,gno->go", weights, moments.cross)
    for at, each in enumerate(weights):
        spread[at] += np.einsum("no,no->o", each, moments.inputs.second(at).times(each))
    missing = np.maximum(moments.variance + spread, 0) + (made + chosen - moments.mean) ** 2
    total = float(moments.variance[live].sum())
    return (float(missing[live].sum()) / total if total else 0.0), chosen
