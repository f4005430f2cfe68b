"""Copies of a model compute with the weights that were copied, preprocessing included."""

import keras
import numpy as np
import pytest

from tests import zoo
from tf_structprune.layers import assign_weights, renew_copies, unwrap, wrap

_L = keras.layers


COPIES = {"wrapped": wrap, "unwrapped": lambda net: unwrap(wrap(net))}


@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES)
def test_copy_normalizes_as_the_model_does(copy):
    net = zoo.adapted()
    assert zoo.largest_difference(net, copy(net), zoo.batch()) < 1e-6


def test_assigned_weights_are_those_it_computes_with():
    layer = _L.Normalization()
    layer.build((None, 2))
    assign_weights(layer, [np.array([1.0, 2.0], np.float32), np.array([4.0, 9.0], np.float32), np.array(5)])
    np.testing.assert_allclose(layer(np.array([[3.0, 5.0]])), [[1.0, 1.0]], atol=1e-5)


def test_weights_set_by_other_means_count_after_renewal():
    first, second = zoo.adapted(), zoo.adapted()
    for target, source in zip(second.weights, first.weights, strict=True):
        target.assign(source + (1.0 if target.name == "mean" else 0.0))
    renew_copies(second)
    assert np.allclose(zoo.outputs_of(second, zoo.batch())[0], zoo.outputs_of(first, zoo.batch() - 1)[0], atol=1e-5)
    assert zoo.largest_difference(first, second, zoo.batch()) > 1e-3
