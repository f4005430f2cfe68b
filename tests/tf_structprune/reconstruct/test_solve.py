"""Solved weights are the least-squares fit to the rows that the moments were taken of."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tf_structprune.reconstruct import Covariances, MomentSum, Rows, _solve, solve

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


def both_forms(seed, groups, rows):
    """Moments of the same rows, once as rows and once as covariances, the targets' mean large against their spread."""
    rng = np.random.default_rng(seed)
    size, each = 60, OUTPUTS // groups
    x = rng.normal(1, 1, (rows, groups, size)).astype(np.float32)
    t = (x @ rng.normal(size=(size, each)) + 30).astype(np.float32)
    found = []
    for many in (False, True):
        total = MomentSum(groups, size, each)
        for part in np.array_split(np.arange(rows), 3):
            total.add(x[part], t[part])
            if many:
                total._multiply()
        found.append(total.moments())
    assert isinstance(found[0].inputs, Rows) and isinstance(found[1].inputs, Covariances)
    return *found, rng.normal(size=(3, 20, OUTPUTS)), rng


@pytest.mark.parametrize("direct", [0, _solve._DIRECT], ids=["iterated", "direct"])
@given(
    st.sampled_from(["maps", "kernels", "weights"]),
    st.booleans(),
    st.integers(0, 999),
    st.sampled_from([1, 2]),
    st.integers(4, 15),
    st.sampled_from([0.1, 0.5, 0.9]),
)
def test_rows_give_what_their_covariance_gives(direct, kind, biased, seed, groups, rows, share):
    of_rows, of_covariance, kernel, rng = both_forms(seed, groups, rows)
    kept = rng.random(kernel.shape) < share
    if kind != "weights":
        kept = np.broadcast_to(kept[:1, :, :1] if kind == "maps" else kept[:1], kept.shape)
    bias = rng.normal(size=OUTPUTS) if biased else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_solve, "_DIRECT", direct)
        one, other = (solve(each, kernel, kept, bias=bias, ridge=1e-2) for each in (of_rows, of_covariance))
    np.testing.assert_allclose(one.kernel, other.kernel, atol=5e-4 if direct else 2e-3)
    np.testing.assert_allclose(one.bias, other.bias, atol=5e-3 if direct else 2e-2)
    np.testing.assert_allclose([one.before, one.after], [other.before, other.after], rtol=1e-3, atol=1e-5)


def test_rows_say_of_themselves_what_covariances_say():
    of_rows, of_covariance, kernel, _ = both_forms(0, 2, 9)
    np.testing.assert_allclose(of_rows.inputs.covariance(), of_covariance.inputs.covariance(), atol=1e-5)
    one, other = (each.inputs.of_weights(kernel) for each in (of_rows, of_covariance))
    for name in ("mean", "cross", "variance"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bias", [None, np.zeros(OUTPUTS)], ids=["free", "given"])
def test_few_unknowns_need_no_ridge_and_many_do(bias):
    moments, _, kernel, _ = both_forms(0, 1, 12)
    kept = np.zeros(kernel.shape, bool)
    kept[0, :10] = True
    assert solve(moments, kernel, kept, bias=bias, ridge=0).after < 1
    with pytest.raises(np.linalg.LinAlgError, match="Fewer rows than unknowns"):
        solve(moments, kernel, np.ones(kernel.shape, bool), bias=bias, ridge=0)


def test_singular_equations_are_refused_without_a_ridge():
    _, _, moments, kernel = problem(6, rows=1)
    with pytest.raises(np.linalg.LinAlgError):
        solve(moments, kernel, np.ones(kernel.shape, bool), ridge=0)


@pytest.mark.parametrize("ridge", [-1.0, float("nan")])
def test_ridge_below_0_is_refused(ridge):
    _, _, moments, kernel = problem(0)
    with pytest.raises(ValueError, match=f"ridge must be at least 0. Received: ridge={ridge}"):
        solve(moments, kernel, np.ones(kernel.shape, bool), ridge=ridge)
