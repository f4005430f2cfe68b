"""Copies of a model compute with the weights that were copied, preprocessing included."""

import keras
import numpy as np
import pytest

import tflite_export as te
from tests import zoo
from tf_structprune.layers import assign_weights, renew_copies, set_masks, unwrap, wrap
from tf_structprune.masks import MaskSet
from tflite_export.lower import reorder

_L = keras.layers


def model():
    """A network behind a normalization that was adapted to data."""
    inputs = keras.Input(zoo.INPUT_SHAPE)
    normalize = _L.Normalization(name="normalize")
    x = zoo.conv(zoo.conv(normalize(inputs), 4, name="a"), 6, name="b")
    net = keras.Model(inputs, _L.Dense(3, name="classifier")(_L.GlobalAveragePooling2D()(x)))
    zoo.randomize(net)
    normalize.adapt(3 + 2 * zoo.batch(50))
    return net


def pruned(net):
    masked = wrap(net)
    set_masks(masked, MaskSet(feature_map={"b": np.arange(6) < 3}))
    return masked


COPIES = {"wrapped": wrap, "unwrapped": lambda net: unwrap(wrap(net)), "reordered": reorder}


@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES)
def test_copy_normalizes_as_the_model_does(copy):
    net = model()
    assert zoo.largest_difference(net, copy(net), zoo.batch()) < 1e-6


def test_shrunk_model_normalizes_and_reloads(tmp_path):
    masked = pruned(model())
    small = te.shrink(masked).model
    assert zoo.largest_difference(masked, small, zoo.batch()) < 1e-6
    small.save(tmp_path / "small.keras")
    assert zoo.largest_difference(small, keras.models.load_model(tmp_path / "small.keras"), zoo.batch()) == 0


def test_assigned_weights_are_those_it_computes_with():
    layer = _L.Normalization()
    layer.build((None, 2))
    assign_weights(layer, [np.array([1.0, 2.0], np.float32), np.array([4.0, 9.0], np.float32), np.array(5)])
    np.testing.assert_allclose(layer(np.array([[3.0, 5.0]])), [[1.0, 1.0]], atol=1e-5)


def test_weights_set_by_other_means_count_after_renewal():
    first, second = model(), model()
    for target, source in zip(second.weights, first.weights, strict=True):
        target.assign(source + (1.0 if target.name == "mean" else 0.0))
    before = zoo.outputs_of(second, zoo.batch())[0]
    renew_copies(second)
    assert np.abs(zoo.outputs_of(second, zoo.batch())[0] - before).max() > 1e-3
