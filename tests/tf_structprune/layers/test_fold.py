"""A batch normalization becomes part of the layer in front of it, where that changes nothing."""

import keras
import pytest

from tests import zoo
from tf_structprune.graph import list_calls, named_layers, readers_of
from tf_structprune.layers import foldable_norms, for_inference

_L = keras.layers
SHAPES = {1: (6, 4), 2: (6, 4, 4), 3: (3, 4, 4, 4)}  # an axis before the last is as wide as the last
TOLERANCE = 1e-5


def norm(**settings):
    return _L.BatchNormalization(name="norm", **settings)


def model_of(layer, behind, rank=2):
    """The layer called "first" and what is built behind it, with random weights."""
    inputs = keras.Input(SHAPES[rank])
    return zoo.randomize(keras.Model(inputs, behind(layer(inputs))))


def folded(model):
    """Names of the normalizations that the first layer can do."""
    found = list_calls(model)
    (call,) = (call for call in found.calls if call.name == "first" and not call.repeated)
    return [each.name for each in foldable_norms(call, readers_of(found))]


LINEAR = {
    "Conv1D": (1, lambda **s: _L.Conv1D(4, 2, **s)),
    "Conv2D": (2, lambda **s: _L.Conv2D(4, 2, **s)),
    "grouped Conv2D": (2, lambda **s: _L.Conv2D(4, 2, groups=2, **s)),
    "Conv3D": (3, lambda **s: _L.Conv3D(4, 2, **s)),
    "DepthwiseConv1D": (1, lambda **s: _L.DepthwiseConv1D(2, depth_multiplier=2, **s)),
    "DepthwiseConv2D": (2, lambda **s: _L.DepthwiseConv2D(2, depth_multiplier=2, **s)),
    "SeparableConv1D": (1, lambda **s: _L.SeparableConv1D(4, 2, **s)),
    "SeparableConv2D": (2, lambda **s: _L.SeparableConv2D(4, 2, depth_multiplier=2, **s)),
    "Dense": (2, lambda **s: _L.Dense(4, **s)),
}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rank, make", LINEAR.values(), ids=LINEAR)
def test_layer_does_the_work_of_all_normalizations_behind_it(rank, make, bias):
    layer = make(name="first", use_bias=bias)
    model = model_of(layer, lambda x: _L.BatchNormalization(scale=False, name="second")(norm(axis=rank + 1)(x)), rank)
    assert folded(model) == ["norm", "second"]
    plain = for_inference(model)
    assert not any(isinstance(each, _L.BatchNormalization) for each in named_layers(plain).values())
    assert zoo.largest_difference(model, plain, zoo.batch(3, shape=SHAPES[rank])) < TOLERANCE


def conv(**settings):
    return _L.Conv2D(4, 3, padding="same", name="first", **settings)


def shared_norm(x):
    shared = norm()
    return shared(_L.Conv2D(4, 3, padding="same")(shared(x)))


@keras.saving.register_keras_serializable(package="tests_of_folding")
class Doubled(_L.BatchNormalization):
    """A subclass may do anything."""

    def call(self, inputs, training=None, mask=None):
        return 2 * super().call(inputs, training=training, mask=mask)


STAYS = {
    "over another axis": (conv, lambda x: norm(axis=1)(x)),
    "over another axis, counted from the end": (conv, lambda x: norm(axis=-2)(x)),
    "called in training mode": (conv, lambda x: norm()(x, training=True)),
    "read beside it": (conv, lambda x: _L.Add()([x, norm()(x)])),
    "an output before it": (conv, lambda x: [x, norm()(x)]),
    "called twice": (conv, shared_norm),
    "a subclass": (conv, lambda x: Doubled(name="norm")(x)),
    "behind an activation": (lambda: conv(activation="relu"), lambda x: norm()(x)),
    "behind a layer of activation": (conv, lambda x: norm()(_L.ReLU()(x))),
    "behind a transposed convolution": (lambda: _L.Conv2DTranspose(4, 3, name="first"), lambda x: norm()(x)),
}


@pytest.mark.parametrize("make, behind", STAYS.values(), ids=STAYS)
def test_normalization_stays(make, behind):
    model = model_of(make(), behind)
    assert folded(model) == []
    plain = for_inference(model)
    assert any(isinstance(each, _L.BatchNormalization) for each in named_layers(plain).values())
    assert zoo.largest_difference(model, plain, zoo.batch(3, shape=SHAPES[2])) < TOLERANCE


def test_layer_that_is_called_twice_does_no_normalization():
    layer = conv()
    assert folded(model_of(layer, lambda x: norm()(layer(x)))) == []


def test_normalization_in_16_bits_is_not_folded_where_candidates_are_scored():
    model = model_of(conv(), lambda x: norm(dtype="mixed_float16")(x))
    assert folded(model) == ["norm"]
    assert any(isinstance(each, _L.BatchNormalization) for each in named_layers(for_inference(model)).values())
