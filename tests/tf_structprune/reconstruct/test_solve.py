"""Solved weights are the least-squares fit to the rows that the moments were taken of."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tf_structprune.reconstruct import MomentSum, _solve, solve

POSITIONS, MAPS, OUTPUTS, ROWS = 2, 3, 4, 120


def problem(seed, groups=1, mean=0.5, rows=ROWS):
    """Rows, targets, their moments and some weights."""
    rng = np.random.default_rng(seed)
    size, each = POSITIONS * MAPS, OUTPUTS // groups
    mixing = np.eye(size) + rng.uniform(-0.15, 0.15, (size, size))
    x = (rng.normal(mean, 1, (rows, groups, size)) @ mixing).astype(np.float32)
    t = (x @ rng.normal(size=(size, each)) + rng.normal(1, 1, (rows, groups, each))).astype(np.float32)
    total = MomentSum(groups, size, each)
    total.add(x, t)
    return x.astype(float), t.astype(float), total.moments(), rng.normal(size=(POSITIONS, MAPS, OUTPUTS))


def computed(x, kernel, bias, groups=1):
    weights = kernel.reshape(-1, groups, OUTPUTS // groups).transpose(1, 0, 2)
    return np.matmul(x.transpose(1, 0, 2), weights).transpose(1, 0, 2) + bias.reshape(groups, -1)


def error(x, t, kernel, bias, groups=1):
    return ((computed(x, kernel, bias, groups) - t) ** 2).mean(axis=0).sum() / t.var(axis=0).sum()


def masks(rng, kind):
    kept = rng.random((POSITIONS, MAPS, OUTPUTS)) < 0.6
    if kind == "maps":
        kept = np.broadcast_to(kept[:1, :, :1], kept.shape)
    elif kind == "kernels":
        kept = np.broadcast_to(kept[:1], kept.shape)
    return kept.copy()


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("kind", ["maps", "kernels", "weights"])
@given(st.integers(0, 999))
def test_weights_are_the_least_squares_fit(kind, groups, seed):
    x, t, moments, kernel = problem(seed, groups)
    kept = masks(np.random.default_rng(seed), kind)
    found = solve(moments, kernel, kept, ridge=0)
    assert (found.kernel[~kept] == 0).all()
    per_group = OUTPUTS // groups
    for output in range(OUTPUTS):
        group, at = divmod(output, per_group)
        rows = kept[..., output].ravel()
        design = np.concatenate([x[:, group][:, rows], np.ones((ROWS, 1))], axis=1)
        best = np.linalg.lstsq(design, t[:, group, at], rcond=None)[0]
        np.testing.assert_allclose(found.kernel[..., output].ravel()[rows], best[:-1], atol=2e-3)
        if rows.any():
            np.testing.assert_allclose(found.bias[output], best[-1], atol=2e-3)


@given(st.integers(0, 999))
def test_given_bias_stays_and_the_weights_do_what_they_can(seed):
    x, t, moments, kernel = problem(seed)
    bias = np.random.default_rng(seed).normal(size=OUTPUTS)
    found = solve(moments, kernel, np.ones(kernel.shape, bool), bias=bias, ridge=0)
    best = np.linalg.lstsq(x[:, 0], t[:, 0] - bias, rcond=None)[0]
    np.testing.assert_allclose(found.kernel.reshape(-1, OUTPUTS), best, atol=2e-3)
    np.testing.assert_array_equal(found.bias, bias)


@given(st.integers(0, 999), st.sampled_from([0.0, 1e-3, 0.1, 10.0]), st.booleans())
def test_errors_are_those_of_the_rows_and_fall(seed, ridge, biased):
    x, t, moments, kernel = problem(seed)
    kept = masks(np.random.default_rng(seed), "maps")
    bias = np.zeros(OUTPUTS) if biased else None
    found = solve(moments, kernel, kept, bias=bias, ridge=ridge)
    cut = np.where(kept, kernel, 0)
    first = bias if biased else (t - computed(x, cut, np.zeros(OUTPUTS))).mean(axis=0).ravel()
    if kept.any():
        np.testing.assert_allclose(found.before, error(x, t, cut, first), rtol=1e-3)
        np.testing.assert_allclose(found.after, error(x, t, found.kernel, found.bias), rtol=1e-3, atol=1e-5)
    assert found.after <= found.before + 1e-9


def test_large_ridge_leaves_the_weights():
    _, _, moments, kernel = problem(3)
    kept = masks(np.random.default_rng(3), "weights")
    found = solve(moments, kernel, kept, ridge=1e9)
    np.testing.assert_allclose(found.kernel, np.where(kept, kernel, 0), atol=1e-5)


def test_with_fewer_rows_than_weights_the_ridge_takes_over():
    x, t, moments, kernel = problem(4, rows=3)
    kept = np.ones(kernel.shape, bool)
    found = solve(moments, kernel, kept, ridge=1e-3)
    assert np.abs(found.kernel - kernel).max() < 10 * np.abs(kernel).max()
    assert found.after < 1e-3 < found.before


def test_twin_of_a_removed_map_takes_its_part():
    x, _, _, kernel = problem(5)
    x = x.reshape(ROWS, 1, POSITIONS, MAPS)
    x[..., 2] = 2 * x[..., 0] - x[..., 1]
    x = x.reshape(ROWS, 1, -1)
    total = MomentSum(1, POSITIONS * MAPS, OUTPUTS)
    total.add(x.astype(np.float32), computed(x, kernel, np.zeros(OUTPUTS)).astype(np.float32))
    kept = np.ones(kernel.shape, bool)
    kept[:, 2] = False
    found = solve(total.moments(), kernel, kept, ridge=1e-9)
    assert found.before > 0.01
    np.testing.assert_allclose(found.kernel[:, 0], kernel[:, 0] + 2 * kernel[:, 2], atol=1e-3)
    np.testing.assert_allclose(found.kernel[:, 1], kernel[:, 1] - kernel[:, 2], atol=1e-3)
    assert found.after < 1e-6


@pytest.mark.parametrize("kind", ["maps", "kernels", "weights"])
def test_iterations_come_to_what_factorizations_give(kind, monkeypatch):
    for seed in range(20):
        _, _, moments, kernel = problem(seed)
        kept = masks(np.random.default_rng(seed), kind)
        direct = solve(moments, kernel, kept, ridge=1e-3)
        with monkeypatch.context() as patch:
            patch.setattr(_solve, "_DIRECT", 0)
            iterated = solve(moments, kernel, kept, ridge=1e-3)
        np.testing.assert_allclose(iterated.kernel, direct.kernel, atol=1e-4)


def test_singular_equations_are_refused_without_a_ridge():
    _, _, moments, kernel = problem(6, rows=1)
    with pytest.raises(np.linalg.LinAlgError):
        solve(moments, kernel, np.ones(kernel.shape, bool), ridge=0)


@pytest.mark.parametrize("ridge", [-1.0, float("nan")])
def test_ridge_below_0_is_refused(ridge):
    _, _, moments, kernel = problem(0)
    with pytest.raises(ValueError, match=f"ridge must be at least 0. Received: ridge={ridge}"):
        solve(moments, kernel, np.ones(kernel.shape, bool), ridge=ridge)
