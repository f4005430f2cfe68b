"""Moments are those of all rows at once, in whatever parts they come."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tf_structprune.reconstruct import Covariances, MomentSum


def rows(seed, count, groups, inputs, outputs, mean=0.0):
    rng = np.random.default_rng(seed)
    mixed = rng.normal(mean, 1, (count, groups, inputs + outputs)) @ rng.normal(size=(inputs + outputs,) * 2)
    mixed = mixed.astype(np.float32)
    return mixed[..., :inputs], mixed[..., inputs:]


@given(st.integers(0, 999), st.integers(1, 3), st.integers(1, 5), st.integers(1, 4), st.integers(1, 6))
def test_moments_are_those_of_all_rows(seed, groups, inputs, outputs, parts):
    x, t = rows(seed, 40, groups, inputs, outputs)
    total = MomentSum(groups, inputs, outputs)
    for part in np.array_split(np.arange(40), parts):
        total.add(x[part], t[part])
    found = total.moments()
    for group in range(groups):
        together = np.cov(np.concatenate([x, t], axis=2)[:, group].astype(float), rowvar=False, bias=True)
        together = together.reshape(inputs + outputs, -1)
        np.testing.assert_allclose(found.inputs.covariance()[group], together[:inputs, :inputs], atol=1e-4, rtol=1e-4)
        np.testing.assert_allclose(found.cross[group], together[:inputs, inputs:], atol=1e-4, rtol=1e-4)
        np.testing.assert_allclose(found.variance[group], np.diag(together)[inputs:], atol=1e-4, rtol=1e-4)
    np.testing.assert_allclose(found.inputs.mean, x.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(found.mean, t.mean(axis=0), atol=1e-5)
    assert found.inputs.rows == 40


def test_large_mean_costs_no_digits():
    x, t = rows(0, 5000, 1, 3, 2)
    far, near = MomentSum(1, 3, 2), MomentSum(1, 3, 2)
    near.add(x, t)
    far.add(x + np.float32(1000), t - np.float32(1000))
    np.testing.assert_allclose(far.moments().cross, near.moments().cross, atol=2e-3)
    np.testing.assert_allclose(far.moments().inputs.covariance(), near.moments().inputs.covariance(), atol=2e-3)


def test_empty_parts_count_for_nothing():
    x, t = rows(0, 10, 1, 3, 2)
    total = MomentSum(1, 3, 2)
    total.add(x[:0], t[:0])
    total.add(x, t)
    assert total.moments().inputs.rows == 10


def test_rows_that_come_too_late_are_refused():
    x, t = rows(0, 10, 1, 3, 2)
    total = MomentSum(1, 3, 2)
    total.add(x, t)
    assert total.moments() is total.moments()
    with pytest.raises(RuntimeError, match="were taken already. Received: more rows"):
        total.add(x, t)


def test_no_rows_are_refused():
    with pytest.raises(ValueError, match="Moments need rows. Received: none"):
        MomentSum(1, 3, 2).moments()


@pytest.mark.parametrize("groups", [1, 2])
def test_moments_of_weights_are_those_of_what_they_compute(groups):
    x, _ = rows(1, 200, groups, 6, 1, mean=2.0)
    rng = np.random.default_rng(2)
    kernel, bias = rng.normal(size=(2, 3, 4)).astype(np.float32), rng.normal(size=4).astype(np.float32)
    weights = kernel.reshape(6, groups, -1).transpose(1, 0, 2)
    made = np.matmul(x.transpose(1, 0, 2), weights).transpose(1, 0, 2) + bias.reshape(groups, -1)
    total = MomentSum(groups, 6, 4 // groups)
    total.add(x, made)
    seen = total.moments()
    known = Covariances(seen.inputs.mean, seen.inputs.covariance(), 200).of_weights(kernel, bias)
    for one, other in ((known.mean, seen.mean), (known.cross, seen.cross), (known.variance, seen.variance)):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)
