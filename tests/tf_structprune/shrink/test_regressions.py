"""What once gave a wrong model, or no model at all."""

import keras
import numpy as np
import pytest
from keras import ops

import tf_structprune as sp
from tests import zoo
from tf_structprune.graph import layer_inputs, trace
from tf_structprune.masks import MaskSet
from tf_structprune.shrink import shrink

_L = keras.layers
SIZE = (8, 8, 2)


def net(junction, size=SIZE):
    """stem -> before -> the junction -> after -> classifier, all weights random."""
    inputs = keras.Input(size)
    x = junction(zoo.conv(zoo.conv(inputs, 4, name="stem"), 6, name="before"))
    x = _L.GlobalAveragePooling2D()(zoo.conv(x, 5, name="after"))
    return zoo.randomize(keras.Model(inputs, _L.Dense(3, name="classifier")(x)))


def halved(model):
    """The masked model without every second unit."""
    masked = sp.wrap(model)
    groups = trace(masked).prunable_groups
    sp.set_masks(masked, MaskSet(feature_map={group.name: np.arange(group.size) % 2 == 0 for group in groups}))
    return masked


def agree(masked, x):
    assert zoo.largest_difference(masked, shrink(masked).model, x) < 1e-5


class Tripled(keras.Sequential):
    def call(self, inputs, training=None, mask=None):
        return super().call(inputs, training=training, mask=mask) * 3.0


class Softened(keras.Model):
    def call(self, inputs, training=None, mask=None):
        return ops.softmax(super().call(inputs, training=training, mask=mask))


def test_sequential_with_its_own_call_is_refused():
    model = Tripled([keras.Input(SIZE), _L.Conv2D(4, 3), _L.Conv2D(4, 3), _L.Flatten(), _L.Dense(2)], name="own")
    with pytest.raises(ValueError, match=r"Model 'own' is subclassed \(Tripled\)"):
        sp.wrap(model)


def test_nested_model_with_its_own_call_is_a_barrier():
    inputs = keras.Input((8, 8, 6))
    block = Softened(inputs, _L.Conv2D(6, 3, padding="same", name="inside")(inputs), name="block")
    graph = trace(net(block))
    assert {item.name: item.reason for item in graph.skipped}["block"] == "there is no rule for Softened"
    assert {group.name for group in graph.prunable_groups} == {"after"}


class Mixing(_L.LeakyReLU):
    def call(self, inputs):
        return ops.softmax(inputs)


def test_subclass_of_an_activation_layer_is_not_trusted():
    graph = trace(net(_L.Conv2D(8, 3, activation=Mixing(), name="mixed")))
    assert "mixed" not in {group.name for group in graph.prunable_groups}


@pytest.mark.parametrize(
    "layer",
    [_L.Conv2D(6, 3, activity_regularizer="l1"), _L.LayerNormalization(activity_regularizer="l1")],
    ids=["conv", "norm"],
)
def test_activity_regularizer_counts_in_the_masked_model(layer):
    model = net(layer)
    x, y = zoo.batch(shape=SIZE), np.zeros((6, 3), np.float32)
    losses = []
    for each in (model, sp.wrap(model)):
        each.compile("sgd", "mse", jit_compile=False)
        losses.append(each.evaluate(x, y, verbose=0))
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_rms_normalization_over_another_axis_is_a_barrier():
    graph = trace(net(_L.RMSNormalization(axis=1, name="rows")))
    assert {item.name: item.reason for item in graph.skipped}["rows"] == "its axis is [1], not the last"


@pytest.mark.parametrize("name", ["flip", "norm in training"])
def test_layers_are_looked_at_in_inference(name):
    inputs = keras.Input(SIZE)
    x = _L.RandomFlip()(inputs) if name == "flip" else _L.BatchNormalization()(inputs, training=True)
    x = zoo.conv(zoo.conv(x, 4, name="stem"), 5, name="b")
    model = zoo.randomize(keras.Model(inputs, _L.Dense(2)(_L.GlobalAveragePooling2D()(x))))
    batch = zoo.batch(4, shape=SIZE)
    probe = keras.Model(model.inputs, model.get_layer("b").input)
    seen = layer_inputs(model, ["b"], batch)["b"][0]
    np.testing.assert_allclose(seen, probe.predict(batch, verbose=0), atol=1e-5)


def test_layers_are_looked_at_on_integer_images():
    images = np.random.default_rng(0).integers(0, 256, (4, *SIZE), np.uint8)
    model = net(lambda x: x)
    as_integers, as_floats = (layer_inputs(model, ["after"], x)["after"][0] for x in (images, images.astype("float32")))
    np.testing.assert_array_equal(as_integers, as_floats)


def test_layers_of_a_sequential_that_was_never_called_are_looked_at():
    model = keras.Sequential([keras.Input(SIZE, name="image"), zoo_conv("a"), zoo_conv("b")])
    x = zoo.batch(2, shape=SIZE)
    np.testing.assert_array_equal(layer_inputs(model, ["a"], {"image": x})["a"][0], x)


def zoo_conv(name):
    return _L.Conv2D(3, 3, padding="same", name=name)


def test_nested_model_of_open_size_keeps_it():
    inputs = keras.Input((None, None, 6))
    block = keras.Model(inputs, _L.Conv2D(6, 3, padding="same", name="inside")(inputs), name="block")
    masked = halved(net(lambda x: _L.Add()([block(x), _L.UpSampling2D(2)(block(_L.MaxPooling2D(2)(x)))])))
    agree(masked, zoo.batch(shape=SIZE))
    assert shrink(masked).model.get_layer("block").input_shape == (None, None, None, 3)


def test_padded_channels_in_the_middle_are_a_barrier():
    def junction(x):
        x = ops.pad(_L.Permute((3, 1, 2))(x), ((0, 0), (1, 1), (0, 0), (0, 0)))
        return _L.Permute((2, 3, 1))(x)

    model = net(junction)
    assert "it changes the number of channels" in {item.reason for item in trace(model).skipped}
    agree(halved(model), zoo.batch(shape=SIZE))


def test_layer_that_cannot_be_copied_is_named():
    class Scaled(_L.Layer):
        """Holds a variable, so that it has to be copied, and does not say all that it is made of."""

        def __init__(self, factor, **kwargs):
            super().__init__(**kwargs)
            self.factor = self.add_weight(shape=(), initializer=keras.initializers.Constant(factor))

        def call(self, x):
            return x * self.factor

        def get_config(self):
            return super().get_config()

    model = net(Scaled(2.0, name="doubled"))
    with pytest.raises(ValueError, match=r"Layer 'doubled' \(Scaled\) cannot be copied from its configuration"):
        sp.wrap(model)
