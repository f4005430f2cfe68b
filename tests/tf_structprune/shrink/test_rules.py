"""Layers change with a cut as their rules say: those that the user teaches, and those with settings to cut."""

import keras
import numpy as np
import pytest
from keras import ops

import tf_structprune as sp
from tests import zoo
from tests.rule_models import (
    ENDS,
    blend_class,
    dense_net,
    doubled_class,
    embedded,
    net,
    odd_convolution_class,
    scale_class,
)
from tf_structprune.graph import Flow, LayerRule, register_rule, trace
from tf_structprune.layers import MaskedLayer
from tf_structprune.shrink import shrink

_L = keras.layers
X = zoo.batch(4)


def halved(model):
    """The masked model without half of the units of each group, and the shrunk one."""
    masked = sp.wrap(model)
    graph = trace(masked)
    masks = {group.name: np.arange(group.size) % 2 == 0 for group in graph.prunable_groups}
    sp.set_masks(masked, sp.MaskSet(feature_map=masks), graph=graph)
    return masked, shrink(masked).model


def producers(model):
    return {name for group in trace(model).prunable_groups for name in group.producers}


# what the user teaches


def test_registered_elementwise_layer_loses_its_values_with_its_channels():
    kind = scale_class()
    register_rule(kind, LayerRule(Flow.FOLLOW))
    model = net(kind(name="scale"))
    masked, small = halved(model)

    assert producers(model) == {"before", "after"}
    assert [tuple(w.shape) for w in small.get_layer("scale").weights] == [(1, 1, 3), (3,), ()]
    assert np.array_equal(
        small.get_layer("scale").get_weights()[1], model.get_layer("scale").get_weights()[1][[0, 2, 4]]
    )
    assert zoo.largest_difference(masked, small, X) < 1e-5


def test_weight_of_the_tensor_s_rank_is_cut_along_its_channel_axis():
    class First(_L.Layer):
        def build(self, shape):
            self.factor = self.add_weight(shape=(shape[1], 1, 1), name="factor")

        def call(self, inputs):
            return inputs * self.factor

    register_rule(First, LayerRule(Flow.FOLLOW))
    turned = net(lambda x: _L.Permute((2, 3, 1))(First(name="first")(_L.Permute((3, 1, 2))(x))))
    masked, small = halved(turned)
    assert np.array_equal(small.get_layer("first").get_weights()[0], turned.get_layer("first").get_weights()[0][::2])
    assert zoo.largest_difference(masked, small, X) < 1e-5


def test_registered_convolution_is_masked_and_shrunk():
    kind = odd_convolution_class()
    axes = {"weights_of_maps": ("out", "", "", "in")}
    register_rule(kind, LayerRule(Flow.PRODUCE, "weights_of_maps", axes, size_argument="filters"))
    model = net(kind(8, name="odd"))
    masked, small = halved(model)

    layer = trace(model).layer("odd")
    assert (layer.positions, layer.inputs, layer.outputs) == (9, 6, 8)
    assert isinstance(masked.get_layer("odd"), MaskedLayer)
    kernel, offset = small.get_layer("odd").get_weights()
    old_kernel, old_offset = model.get_layer("odd").get_weights()
    assert np.array_equal(kernel, old_kernel[::2, :, :, ::2])
    assert np.array_equal(offset, old_offset[::2])
    assert small.get_layer("odd").filters == 4
    assert zoo.largest_difference(masked, small, X) < 1e-5


@pytest.mark.parametrize("granularity", ["kernel", "intra_kernel"])
def test_registered_convolution_keeps_its_other_masks_as_zeros(granularity):
    kind = odd_convolution_class()
    axes = {"weights_of_maps": ("out", "", "", "in")}
    register_rule(kind, LayerRule(Flow.PRODUCE, "weights_of_maps", axes, size_argument="filters"))
    masked = sp.wrap(net(kind(8, name="odd")))
    sp.set_masks(masked, sp.random_masks(masked, {granularity: 0.5}))
    assert zoo.largest_difference(masked, shrink(masked).model, X) < 1e-5


def test_registered_join_ties_its_inputs():
    kind = blend_class()
    register_rule(kind, LayerRule(Flow.JOIN))
    model = net(lambda x: kind(name="blend")([zoo.conv(x, 7, name="left"), zoo.conv(x, 7, name="right")]))
    masked, small = halved(model)

    assert {group.producers for group in trace(model).prunable_groups} >= {("left", "right"), ("before",)}
    assert np.array_equal(
        small.get_layer("blend").get_weights()[0], model.get_layer("blend").get_weights()[0][[0, 2, 4, 6]]
    )
    assert zoo.largest_difference(masked, small, X) < 1e-5


def test_registered_resize_changes_the_configuration():
    class Padded(_L.Layer):
        def __init__(self, values, **kwargs):
            super().__init__(**kwargs)
            self.values = values

        def call(self, inputs):
            return inputs + ops.convert_to_tensor(self.values, inputs.dtype)

        def get_config(self):
            return {**super().get_config(), "values": self.values}

    def resize(config, cut):
        config["values"] = [config["values"][index] for index in cut.outputs]

    register_rule(Padded, LayerRule(Flow.FOLLOW, resize=resize))
    model = net(Padded([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], name="padded"))
    masked, small = halved(model)
    assert small.get_layer("padded").values == [1.0, 3.0, 5.0]
    assert model.get_layer("padded").values == masked.get_layer("padded").values == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert zoo.largest_difference(masked, small, X) < 1e-5


def test_registered_operation_is_called_with_the_channels_that_are_left():
    kind = doubled_class()
    register_rule(kind, LayerRule(Flow.FOLLOW))
    assert zoo.largest_difference(*halved(net(lambda x: kind(name="doubled")(x))), X) < 1e-5


def test_weight_that_the_rule_does_not_explain_is_refused_when_it_is_cut():
    class Table(_L.Layer):
        def build(self, shape):
            self.table = self.add_weight(shape=(shape[-1], 3), name="table")

        def call(self, inputs):
            return inputs * ops.sum(self.table, axis=1)

    register_rule(Table, LayerRule(Flow.FOLLOW))
    with pytest.raises(
        ValueError,
        match=r"Layer 'table': weight 'table' has no axis .* Received: shape=\(6, 3\) for 6 channels.*weight_axes",
    ):
        halved(net(Table(name="table")))
    register_rule(Table, LayerRule(Flow.FOLLOW, weight_axes={"table": ("out", "")}))
    assert zoo.largest_difference(*halved(net(Table(name="table"))), X) < 1e-5


# configurations that change with the channels


@pytest.mark.parametrize(
    "activation",
    [_L.LeakyReLU(negative_slope=0.3), _L.ReLU(max_value=1.0), _L.ELU(alpha=0.5), "silu", keras.activations.relu],
    ids=["LeakyReLU", "ReLU", "ELU", "name", "function"],
)
def test_activation_of_each_channel_alone_is_kept_in_the_shrunk_model(activation):
    model = net(lambda x: _L.Conv2D(8, 3, activation=activation, name="conv")(x))
    masked, small = halved(model)
    assert producers(model) == {"before", "conv", "after"}
    assert type(small.get_layer("conv").activation) is type(model.get_layer("conv").activation)
    assert zoo.largest_difference(masked, small, X) < 1e-5


@pytest.mark.parametrize("kind", [_L.Dropout, _L.AlphaDropout], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(
    "shape, cut",
    [((None, 1, 1, 6), (None, 1, 1, 3)), ((None, 8, 1, 1), (None, 8, 1, 1)), (None, None)],
    ids=["channels", "rows", "none"],
)
def test_noise_shape_follows_the_channels(kind, shape, cut):
    model = net(lambda x: kind(0.5, noise_shape=shape, name="dropout")(x))
    masked, small = halved(model)
    found = small.get_layer("dropout").noise_shape
    assert (found and tuple(found)) == cut
    assert model.get_layer("dropout").noise_shape == shape
    assert zoo.largest_difference(masked, small, X) < 1e-5
    assert np.isfinite(ops.convert_to_numpy(small(X, training=True))).all()


@pytest.mark.parametrize("groups, kept", [(2, 1), (3, 2), (6, 3)])
def test_groups_follow_the_channels(groups, kept):
    model = net(lambda x: _L.GroupNormalization(groups, name="norm")(_L.Conv2D(12, 1, groups=groups, name="conv")(x)))
    masked, small = halved(model)
    assert small.get_layer("conv").groups == small.get_layer("norm").groups == kept
    assert zoo.largest_difference(masked, small, X) < 1e-5


def test_lists_with_one_value_a_channel_are_cut():
    values = [0.5, 1.0, 1.5, 2.0, 2.5, 3.0]

    def junction(x):
        x = _L.Rescaling(values, offset=0.25, name="rescaling")(x)
        return _L.Normalization(mean=values, variance=values, name="normalization")(x)

    masked, small = halved(net(junction))
    assert small.get_layer("rescaling").scale == values[::2]
    assert small.get_layer("rescaling").offset == 0.25
    assert zoo.largest_difference(masked, small, X) < 1e-5


# barriers and ends


@pytest.mark.parametrize("name", ["dense", "before"])
def test_layer_with_lora_is_left_whole(name):
    model = dense_net()
    model.get_layer(name).enable_lora(2)
    masked, small = halved(zoo.randomize(model))
    assert not isinstance(masked.get_layer(name), MaskedLayer)
    assert zoo.largest_difference(masked, small, X) < 1e-5


@pytest.mark.parametrize("junction", [junction for junction, _ in ENDS.values()], ids=ENDS)
def test_what_is_behind_an_end_is_shrunk(junction):
    assert zoo.largest_difference(*halved(net(junction)), X) < 1e-5


def test_what_is_behind_an_embedding_is_shrunk():
    words = np.random.default_rng(0).integers(0, 9, (4, 12))
    assert zoo.largest_difference(*halved(embedded()), words) < 1e-5
