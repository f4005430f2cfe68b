"""Masks by the weights alone."""

import numpy as np
import pytest

import tf_structprune as sp
from tests import zoo
from tf_structprune.layers import MaskedModel
from tf_structprune.masks import GRANULARITIES, Weight
from tf_structprune.stages import magnitude_masks


def with_zeros(share, granularity="weight"):
    """A masked network of whose weights in b and c a share is nearly zero."""
    model = zoo.build("chain")
    rng = np.random.default_rng(0)
    for name in "bc":
        kernel, bias = model.get_layer(name).get_weights()
        kernel = np.where(rng.random(kernel.shape) < share, 1e-5, kernel + np.sign(kernel))
        model.get_layer(name).set_weights([kernel, bias])
    return sp.wrap(model, granularity=granularity)


def joined(masks):
    return np.concatenate([mask.ravel() for mask in masks.weight.values()])


def zeros_of(masked):
    return np.concatenate([np.abs(sp.unwrap(masked).get_layer(n).get_weights()[0]).ravel() < 1e-3 for n in "bc"])


def test_zeros_go_first_and_then_any():
    masked = with_zeros(0.4)
    zero = zeros_of(masked)
    first, again, other = (joined(sp.random_after_zeros(masked, 0.7, seed=seed)) for seed in (0, 0, 1))
    assert not first[zero].any() and np.mean(~first) == pytest.approx(0.7, abs=0.002)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    magnitude = joined(magnitude_masks(MaskedModel(masked), Weight(across="model"), 0.7))
    assert (first != magnitude).sum() > 50  # beyond the zeros it is chance, not size


def test_only_zeros_go_where_there_are_enough():
    masked = with_zeros(0.6)
    gone = ~joined(sp.random_after_zeros(masked, 0.3))
    assert zeros_of(masked)[gone].all() and np.mean(gone) == pytest.approx(0.3, abs=0.002)
    anything = ~joined(sp.random_after_zeros(masked, 0.3, threshold=0.0))
    assert not zeros_of(masked)[anything].all()


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_any_granularity_has_the_sparsity(granularity):
    masked = with_zeros(0.2, GRANULARITIES)
    sp.set_masks(masked, sp.random_after_zeros(masked, 0.4, granularity=granularity))
    assert MaskedModel(masked).sparsity >= 0.4 - 1e-9


def test_what_is_out_of_range_is_refused():
    masked = with_zeros(0.2)
    with pytest.raises(ValueError, match="threshold must be 0 or more. Received: threshold=-1.0"):
        sp.random_after_zeros(masked, 0.5, threshold=-1.0)
    with pytest.raises(ValueError, match=r"random_after_zeros: sparsity must be in \[0, 1\)"):
        sp.random_after_zeros(masked, 1.0)
    with pytest.raises(ValueError, match="has no masks"):
        sp.random_after_zeros(zoo.build("chain"), 0.5)
