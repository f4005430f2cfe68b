"""Rules: taught by the user, refused for a setting; the cut by them is tested with `tf_structprune.shrink`."""

import keras
import numpy as np
import pytest
from keras import ops

import tf_structprune as sp
from tests import zoo
from tests.rule_models import ENDS, dense_net, doubled_class, embedded, net, odd_convolution_class, scale_class
from tf_structprune.graph import Flow, LayerRule, inner_layer, register_rule, rule_for, trace
from tf_structprune.layers import MaskedLayer

_L = keras.layers
X = zoo.batch(4)


def producers(model):
    return {name for group in trace(model).prunable_groups for name in group.producers}


def skipped(model):
    return {item.name: item for item in trace(model).skipped}


# what the user teaches


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
    assert zoo.largest_difference(masked, sp.unwrap(masked), X) < 1e-6


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
    kind = doubled_class()
    model = net(lambda x: kind(name="doubled")(x))
    assert skipped(model)["doubled"].reason == "there is no rule for Doubled"
    register_rule(kind, LayerRule(Flow.FOLLOW))
    assert producers(model) == {"before", "after"}


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
    assert not isinstance(sp.wrap(model).get_layer(name), MaskedLayer)


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


# ends


@pytest.mark.parametrize("junction, reason", ENDS.values(), ids=ENDS)
def test_end_is_named_and_keeps_what_it_reads_but_nothing_else(junction, reason):
    model = net(junction)
    found = skipped(model)
    assert reason in found["end"].reason
    assert found["end"].remedy
    assert found["before"].reason == f"it feeds end: {found['end'].reason}"
    assert producers(model) == {"after"}


def test_embedding_is_named():
    model = embedded()
    found = skipped(model)
    assert "a table of vectors" in found["end"].reason
    assert found["end"].remedy
    assert producers(model) == {"after"}


def test_wrapper_has_the_rule_of_its_layer():
    masked = sp.wrap(net(_L.LayerNormalization(name="norm")))
    for name in ("before", "norm"):
        layer = masked.get_layer(name)
        assert inner_layer(layer) is layer.layer
        assert rule_for(layer) is rule_for(layer.layer)
