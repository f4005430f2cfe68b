"""Rules: taught by the user, refused for a setting, changed for a cut."""

import keras
import numpy as np
import pytest
from keras import ops

import tf_structprune as sp
from tests import zoo
from tf_structprune.graph import Flow, LayerRule, inner_layer, register_rule, rule_for, trace
from tf_structprune.layers import MaskedLayer
from tflite_export.shrink import shrink

_L = keras.layers
X = zoo.batch(4)
KERNEL = LayerRule(Flow.PRODUCE, "kernel", {"kernel": ("", "", "in", "out")}, size_argument="filters")


def scale_class():
    """A new class with vectors over the channels, one of them of the tensor's rank, and a number."""

    class Scale(_L.Layer):
        def build(self, shape):
            self.factor = self.add_weight(shape=(1, 1, shape[-1]), name="factor")
            self.shift = self.add_weight(shape=(shape[-1],), name="shift")
            self.power = self.add_weight(shape=(), name="power")

        def call(self, inputs):
            return inputs * self.factor * ops.tanh(self.power) + self.shift

    return Scale


def odd_convolution_class():
    """A new class of convolutions whose kernel has shape (filters, rows, columns, inputs)."""

    class OddConvolution(_L.Layer):
        def __init__(self, filters, **kwargs):
            super().__init__(**kwargs)
            self.filters = filters

        def build(self, shape):
            self.weights_of_maps = self.add_weight(shape=(self.filters, 3, 3, shape[-1]), name="weights_of_maps")
            self.offset = self.add_weight(shape=(self.filters,), name="offset")

        def call(self, inputs):
            kernel = ops.transpose(self.weights_of_maps, (1, 2, 3, 0))
            return ops.tanh(ops.conv(inputs, kernel, padding="same") + self.offset)

        def compute_output_shape(self, input_shape):
            return (*input_shape[:-1], self.filters)

        def get_config(self):
            return {**super().get_config(), "filters": self.filters}

    return OddConvolution


def blend_class():
    """A new class that mixes two tensors, by a share for each channel."""

    class Blend(_L.Layer):
        def build(self, shapes):
            self.share = self.add_weight(shape=(shapes[0][-1],), name="share")

        def call(self, inputs):
            first, second = inputs
            return self.share * first + (1 - self.share) * second

        def compute_output_shape(self, input_shape):
            return input_shape[0]

    return Blend


def net(junction, channels=6):
    """Stem, 'before', junction, 'after', classifier."""
    inputs = keras.Input(zoo.INPUT_SHAPE)
    x = zoo.conv(zoo.conv(inputs, 4, name="stem"), channels, name="before")
    x = zoo.conv(junction(x), 5, name="after")
    return zoo.randomize(keras.Model(inputs, _L.Dense(3, name="classifier")(_L.GlobalAveragePooling2D()(x))))


def halved(model):
    """The masked model without half of the units of each group, and the shrunk one."""
    masked = sp.wrap(model)
    graph = trace(masked)
    masks = {group.name: np.arange(group.size) % 2 == 0 for group in graph.prunable_groups}
    sp.set_masks(masked, sp.MaskSet(feature_map=masks), graph=graph)
    return masked, shrink(masked).model


def producers(model):
    return {name for group in trace(model).prunable_groups for name in group.producers}


def skipped(model):
    return {item.name: item for item in trace(model).skipped}


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
def test_registered_convolution_has_masks_of_every_granularity(granularity):
    kind = odd_convolution_class()
    axes = {"weights_of_maps": ("out", "", "", "in")}
    register_rule(kind, LayerRule(Flow.PRODUCE, "weights_of_maps", axes, size_argument="filters"))
    masked = sp.wrap(net(kind(8, name="odd")))
    masks = sp.random_masks(masked, {granularity: 0.5})
    sp.set_masks(masked, masks)

    removed = ops.convert_to_numpy(masked.get_layer("odd").effective_kernel()) == 0  # (out, rows, columns, in)
    if granularity == "kernel":
        assert np.array_equal(removed.all(axis=(1, 2)), ~masks.kernel["odd"].T)
        assert removed.sum() == 9 * (~masks.kernel["odd"]).sum()
    else:
        assert (removed == removed[:1]).all()  # a map's pattern is shared by all kernels that leave it
        assert 0.4 < removed.mean() < 0.6
    assert zoo.largest_difference(masked, shrink(masked).model, X) < 1e-5
    assert zoo.largest_difference(masked, sp.unwrap(masked), X) < 1e-6


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


def test_registered_refusal_is_the_reason():
    kind = scale_class()
    register_rule(kind, LayerRule(Flow.FOLLOW, refuse=lambda layer: f"{layer.name} is not wanted"))
    assert skipped(net(kind(name="scale")))["scale"].reason == "scale is not wanted"


def test_registered_end_keeps_what_it_reads():
    kind = scale_class()
    register_rule(kind, LayerRule(Flow.END))
    model = net(kind(name="scale"))
    assert skipped(model)["scale"].reason == "its channels depend on each other"
    assert producers(model) == {"after"}


def test_registered_operation_is_followed():
    class Doubled(keras.Operation):
        def call(self, inputs):
            return inputs * 2.0

        def compute_output_spec(self, inputs):
            return keras.KerasTensor(inputs.shape, inputs.dtype)

    model = net(lambda x: Doubled(name="doubled")(x))
    assert skipped(model)["doubled"].reason == "there is no rule for Doubled"
    register_rule(Doubled, LayerRule(Flow.FOLLOW))
    assert producers(model) == {"before", "after"}
    assert zoo.largest_difference(*halved(model), X) < 1e-5


def test_rule_is_for_the_exact_class_and_the_last_one_counts():
    kind = scale_class()
    first, second = LayerRule(Flow.FOLLOW), LayerRule(Flow.END)
    register_rule(kind, first)
    assert rule_for(kind()) is first
    assert rule_for(type("Heir", (kind,), {})()) is None
    register_rule(kind, second)
    assert rule_for(kind()) is second


def test_subclass_of_a_keras_layer_has_no_rule_until_it_is_registered():
    kind = type("Turned", (_L.ReLU,), {})
    model = net(kind(name="turned"))
    assert skipped(model)["turned"].reason == "there is no rule for Turned"
    assert "register_rule" in skipped(model)["turned"].remedy
    register_rule(kind, LayerRule(Flow.FOLLOW))
    assert "turned" not in skipped(model)


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


@pytest.mark.parametrize(
    "kind", [_L.ReLU(), "Scale", dict, len, None], ids=["layer", "name", "other_class", "function", "none"]
)
def test_register_rule_refuses_what_is_no_layer_class(kind):
    with pytest.raises(TypeError, match=r"A rule is for a Keras layer class\. Received: .*Give the class, not a layer"):
        register_rule(kind, LayerRule(Flow.FOLLOW))


@pytest.mark.parametrize("rule", [Flow.FOLLOW, LayerRule, "follow", None], ids=["flow", "class", "name", "none"])
def test_register_rule_refuses_what_is_no_rule(rule):
    kind = scale_class()
    with pytest.raises(TypeError, match=r"Class 'Scale': not a rule\. Received: .*Use e\.g\. LayerRule\(Flow\.FOLLOW"):
        register_rule(kind, rule)
    assert rule_for(kind()) is None


@pytest.mark.parametrize(
    "rule",
    [
        LayerRule(Flow.PRODUCE),
        LayerRule(Flow.PRODUCE, "kernel"),
        LayerRule(Flow.PRODUCE, "kernel", {"weights": ("in", "out")}),
        LayerRule(Flow.PRODUCE, "kernel", {"kernel": ("", "", "in", "")}),
    ],
    ids=["nothing", "no_axes", "other_weight", "no_output_axis"],
)
def test_register_rule_refuses_a_kernel_that_it_cannot_find(rule):
    kind = odd_convolution_class()
    with pytest.raises(
        ValueError, match=r"Class 'OddConvolution': a rule with Flow\.PRODUCE names its kernel .*Received: kernel="
    ):
        register_rule(kind, rule)
    assert rule_for(kind(2)) is None


# what a setting makes a barrier


def dense_net():
    model = net(lambda x: _L.Dense(7, activation="relu", name="dense")(x))
    assert "dense" in producers(model)
    return model


@pytest.mark.filterwarnings("ignore:Layer .* does not have a .quantize. method:UserWarning")
def test_quantized_model_keeps_its_dense_layers():
    model = dense_net()
    model.quantize("int8")
    found = skipped(model)
    assert {name for name, item in found.items() if item.reason == "it is quantized (int8)"} == {"dense", "classifier"}
    assert found["before"].reason == "it feeds dense: it is quantized (int8)"
    assert found["after"].reason == "it feeds classifier: it is quantized (int8)"
    assert producers(model) == set()
    assert zoo.largest_difference(model, sp.wrap(model), X) == 0


@pytest.mark.parametrize("name", ["dense", "before"])
def test_layer_with_lora_is_a_barrier(name):
    model = dense_net()
    model.get_layer(name).enable_lora(2)
    assert skipped(model)[name].reason == "it has a LoRA kernel"
    assert skipped(model)[name].remedy
    assert name not in producers(model)
    masked, small = halved(zoo.randomize(model))
    assert not isinstance(masked.get_layer(name), MaskedLayer)
    assert zoo.largest_difference(masked, small, X) < 1e-5


def test_rms_scaling_is_a_barrier():
    with pytest.warns(UserWarning, match="rms_scaling"):
        layer = _L.LayerNormalization(rms_scaling=True, name="norm")
    assert "rms_scaling" in skipped(net(layer))["norm"].reason


# activations


def relu(x):
    """Named like one of Keras, but it mixes channels."""
    return ops.softmax(x, axis=-1)


class Mixing(_L.Layer):
    """An activation that is a layer of no known kind."""

    def call(self, inputs):
        return ops.softmax(inputs, axis=-1)


@pytest.mark.parametrize(
    "activation, name",
    [(relu, "relu"), (Mixing(), "Mixing"), (_L.Softmax(), "Softmax"), ("softmax", "softmax")],
    ids=["namesake", "layer", "softmax_layer", "softmax"],
)
@pytest.mark.parametrize("kind", [_L.Activation, _L.Conv2D, _L.DepthwiseConv2D], ids=lambda kind: kind.__name__)
def test_activation_that_may_mix_channels_keeps_them(kind, activation, name):
    sizes = {_L.Activation: (), _L.Conv2D: (6, 1), _L.DepthwiseConv2D: (1,)}
    model = net(lambda x: kind(*sizes[kind], activation=activation, name="mixer")(x))
    reason = f"the activation '{name}' of mixer mixes channels"
    assert reason in {item.reason for item in trace(model).skipped}
    assert "mixer" not in producers(model)
    assert ("before" in producers(model)) == (kind is _L.Conv2D)


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


# configurations that change with the channels


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


# ends


def attention(x):
    x = _L.Reshape((64, 6))(x)
    return _L.Reshape((8, 8, 6))(_L.MultiHeadAttention(2, 3, name="end")(x, x))


def recurrent(x):
    return _L.Reshape((8, 8, 5))(_L.LSTM(5, return_sequences=True, name="end")(_L.Reshape((64, 6))(x)))


def product(x):
    x = _L.Reshape((64, 6))(x)
    return _L.Reshape((6, 6, 1))(_L.Dot(axes=1, name="end")([x, x]))


@keras.saving.register_keras_serializable(package="tests_of_rules")
def doubled(x):
    return x * 2.0


ENDS = {
    "MultiHeadAttention": (attention, "relates all channels"),
    "LSTM": (recurrent, "recurrent"),
    "Lambda": (lambda x: _L.Lambda(doubled, output_shape=(8, 8, 6), name="end")(x), "Python code"),
    "Dot": (product, "a product of two tensors"),
}


@pytest.mark.parametrize("junction, reason", ENDS.values(), ids=ENDS)
def test_end_is_named_and_keeps_what_it_reads_but_nothing_else(junction, reason):
    model = net(junction)
    found = skipped(model)
    assert reason in found["end"].reason
    assert found["end"].remedy
    assert found["before"].reason == f"it feeds end: {found['end'].reason}"
    assert producers(model) == {"after"}
    assert zoo.largest_difference(*halved(model), X) < 1e-5


def test_embedding_is_named():
    inputs = keras.Input((12,), dtype="int32")
    x = _L.Conv1D(5, 3, name="stem")(_L.Embedding(9, 6, name="end")(inputs))
    x = _L.Conv1D(4, 3, name="after")(x)
    model = zoo.randomize(keras.Model(inputs, _L.Dense(3, name="classifier")(_L.GlobalMaxPooling1D()(x))))
    found = skipped(model)
    assert "a table of vectors" in found["end"].reason
    assert found["end"].remedy
    assert producers(model) == {"after"}
    words = np.random.default_rng(0).integers(0, 9, (4, 12))
    assert zoo.largest_difference(*halved(model), words) < 1e-5


def test_wrapper_has_the_rule_of_its_layer():
    masked = sp.wrap(net(_L.LayerNormalization(name="norm")))
    for name in ("before", "norm"):
        layer = masked.get_layer(name)
        assert inner_layer(layer) is layer.layer
        assert rule_for(layer) is rule_for(layer.layer)
