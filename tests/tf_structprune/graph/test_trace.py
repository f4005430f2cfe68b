"""Groups, layers and reasons of traced models."""

import keras
import numpy as np
import pytest

from tests import zoo
from tf_structprune.graph import trace

_L = keras.layers


def members(graph):
    """Producers and consumers of the groups that may go."""
    return {group.name: (group.producers, group.consumers) for group in graph.prunable_groups}


def reasons(graph):
    return {item.name: item.reason for item in graph.skipped}


@pytest.mark.parametrize(
    "name, expected",
    [
        ("chain", {"b": (("b",), ("c",)), "c": (("c",), ("classifier",))}),
        ("batch_norm_chain", {"b": (("b",), ("c",)), "c": (("c",), ("classifier",))}),
        ("poolings", {"b": (("b",), ("c",)), "c": (("c",), ("classifier",))}),
        ("flatten_head", {"b": (("b",), ("hidden",)), "hidden": (("hidden",), ("classifier",))}),
        ("batch_norm_behind_flatten", {"b": (("b",), ("hidden",)), "hidden": (("hidden",), ("classifier",))}),
        (
            "residual_projection",
            {"main_1": (("main_1",), ("main_2",)), "main_2": (("main_2", "short"), ("classifier",))},
        ),
        (
            "residual_identity",
            {"wide": (("wide", "main_2"), ("main_1", "classifier")), "main_1": (("main_1",), ("main_2",))},
        ),
        (
            "residual_twice",
            {
                "stem": (("stem", "a_2", "b_2"), ("a_1", "b_1", "classifier")),
                "a_1": (("a_1",), ("a_2",)),
                "b_1": (("b_1",), ("b_2",)),
            },
        ),
        ("add_itself", {"b": (("b",), ("c",)), "c": (("c",), ("classifier",))}),
        ("dense_on_maps", {"b": (("b",), ("pointwise",)), "pointwise": (("pointwise",), ("classifier",))}),
        ("two_outputs", {"b": (("b",), ("c", "left")), "c": (("c",), ("right",))}),
        ("sequential", {"b": (("b",), ("hidden",)), "hidden": (("hidden",), ("classifier",))}),
        ("unknown_layer", {"c": (("c",), ("d",)), "d": (("d",), ("classifier",))}),
        (
            "grouped_convolution",
            {"b": (("b", "grouped"), ("grouped", "c")), "c": (("c",), ("d",)), "d": (("d",), ("classifier",))},
        ),
        ("shared_layer", {"b": (("b", "shared"), ("shared", "c")), "c": (("c",), ("classifier",))}),
    ],
)
def test_groups_are_those_of_the_wiring(name, expected):
    found = members(trace(zoo.build(name)))
    assert {key: tuple(map(set, value)) for key, value in found.items()} == {
        key: tuple(map(set, value)) for key, value in expected.items()
    }


def test_barrier_keeps_what_feeds_it_and_says_why():
    graph = trace(zoo.build("unknown_layer"))
    found = reasons(graph)
    assert found["unknown"] == "there is no rule for Unknown"
    assert found["b"] == "it feeds unknown: there is no rule for Unknown"
    assert found["a"] == "a is the first convolution"
    assert found["classifier"] == "classifier is the last layer with a kernel"
    assert "unknown" not in graph.channels
    assert [layer.name for layer in graph.layers if layer.name == "unknown"] == []


def test_barrier_keeps_the_maps_it_feeds_but_not_the_kernels():
    layer = trace(zoo.build("unknown_layer")).layer("b")
    assert layer.prunable


@pytest.mark.parametrize("name", zoo.ZOO)
def test_every_kept_group_is_explained(name):
    graph = trace(zoo.build(name))
    kept = {group.name for group in graph.groups if not group.prunable}
    assert kept <= {item.name for item in graph.skipped}
    assert all(item.reason and item.remedy for item in graph.skipped)


@pytest.mark.parametrize("name", zoo.ZOO)
def test_units_are_consistent(name):
    graph = trace(zoo.build(name))
    owners = np.concatenate([group.units for group in graph.groups])
    assert len(np.unique(owners)) == len(owners)  # a unit is in one group
    for group in graph.groups:
        for producer in group.producers:
            assert np.isin(group.units, graph.channels[producer].outputs).all()
        for consumer in group.consumers:
            assert np.isin(group.units, graph.channels[consumer].inputs).any()
    for layer in graph.layers:
        channels = graph.channels[layer.name]
        assert (len(channels.inputs), len(channels.outputs)) == (layer.inputs, layer.outputs)
        assert layer.weights == np.prod(layer.kernel_shape)


def test_counts_by_hand_for_a_chain():
    graph = trace(zoo.build("chain"))
    counts = {layer.name: (layer.weights, layer.macs, layer.positions) for layer in graph.layers}
    assert counts == {
        "a": (9 * 2 * 4, 9 * 2 * 4 * 64, 9),
        "b": (9 * 4 * 6, 9 * 4 * 6 * 64, 9),
        "c": (9 * 6 * 5, 9 * 6 * 5 * 64, 9),
        "classifier": (15, 15, 1),
    }
    assert graph.prunable_weights == 9 * 4 * 6 + 9 * 6 * 5
    assert graph.macs == 64 * 9 * (8 + 24 + 30) + 15
    assert graph.parameters == 72 + 4 + 216 + 6 + 270 + 5 + 15 + 3


def test_counts_by_hand_behind_strides_and_valid_padding():
    graph = trace(zoo.build("strides_and_dilations"))
    macs = {layer.name: layer.macs for layer in graph.layers}
    assert macs == {
        "a": 9 * 2 * 4 * 64,
        "valid": 6 * 4 * 5 * (6 * 7),
        "strided": 9 * 5 * 4 * (3 * 4),
        "dilated": 9 * 4 * 6 * (3 * 4),
        "classifier": 18,
    }


def test_dense_behind_flatten_is_the_convolution_it_computes():
    graph = trace(zoo.build("flatten_head"))
    hidden = graph.layer("hidden")
    assert (hidden.positions, hidden.inputs, hidden.outputs) == (4, 5, 7)
    assert (hidden.weights, hidden.macs, hidden.kernel_shape) == (140, 140, (20, 7))
    assert graph.channels["hidden"].positions == 4


def test_dense_on_maps_counts_every_pixel():
    assert trace(zoo.build("dense_on_maps")).layer("pointwise").macs == 6 * 5 * 64


def test_keep_first_false_frees_the_stem():
    graph = trace(zoo.build("chain"), keep_first=False)
    assert members(graph)["a"] == (("a",), ("b",))
    assert graph.layer("a").prunable
    assert not graph.layer("classifier").prunable


@pytest.mark.parametrize("keep, kept", [(["b"], {"b"}), (["b", "c"], {"b", "c"}), (["[bc]"], {"b", "c"})])
def test_keep_names_and_patterns(keep, kept):
    graph = trace(zoo.build("chain"), keep=keep)
    assert {layer.name for layer in graph.layers if not layer.prunable} == {"a", "classifier"} | kept
    assert {graph.layer(name).reason for name in kept} == {"it was named in keep"}
    assert not set(members(graph)) & kept


def test_keeping_one_layer_of_a_residual_keeps_its_whole_group():
    graph = trace(zoo.build("residual_twice"), keep=["a_2"])
    assert set(members(graph)) == {"a_1", "b_1"}
    assert reasons(graph)["stem"] == "a_2 was named in keep"


def test_stem_in_a_residual_keeps_the_group():
    inputs = keras.Input(zoo.INPUT_SHAPE)
    x = zoo.conv(inputs, 4, name="stem")
    x = _L.Add()([x, zoo.conv(x, 4, name="block")])
    graph = trace(keras.Model(inputs, _L.Dense(2, name="classifier")(_L.GlobalAveragePooling2D()(x))))
    assert not members(graph)
    assert reasons(graph)["stem"] == "stem is the first convolution"


def test_softmax_between_layers_keeps_its_channels():
    inputs = keras.Input(zoo.INPUT_SHAPE)
    x = _L.Softmax(name="attention")(zoo.conv(zoo.conv(inputs, 4, name="a"), 5, name="b"))
    x = zoo.conv(x, 4, name="c", activation="softmax")
    graph = trace(keras.Model(inputs, _L.Dense(2)(_L.GlobalAveragePooling2D()(x))))
    assert reasons(graph)["b"] == "the activation 'softmax' of attention mixes channels"
    assert reasons(graph)["c"] == "the activation 'softmax' of c mixes channels"


def test_model_output_keeps_its_channels():
    inputs = keras.Input(zoo.INPUT_SHAPE)
    x = zoo.conv(zoo.conv(inputs, 4, name="a"), 5, name="b")
    y = _L.Dense(2, name="head")(_L.GlobalAveragePooling2D()(x))
    graph = trace(keras.Model(inputs, [x, y]))
    assert reasons(graph)["b"] == "it is an output of the model"


def test_batch_norm_over_another_axis_keeps_what_it_reads():
    inputs = keras.Input(zoo.INPUT_SHAPE)
    x = _L.BatchNormalization(axis=1, name="rows")(zoo.conv(zoo.conv(inputs, 4, name="a"), 5, name="b"))
    graph = trace(keras.Model(inputs, _L.Dense(2)(_L.GlobalAveragePooling2D()(x))))
    assert reasons(graph)["b"] == "rows works on axis 1, but the channels lie on axis 3"


@pytest.mark.parametrize("layer", [_L.MaxPooling2D, _L.GlobalAveragePooling2D], ids=lambda c: c.__name__)
def test_layer_that_takes_another_axis_for_channels_keeps_what_it_reads(layer):
    inputs = keras.Input(zoo.INPUT_SHAPE)
    x = layer(data_format="channels_first", name="turned")(zoo.conv(zoo.conv(inputs, 4, name="a"), 8, name="b"))
    graph = trace(keras.Model(inputs, _L.Dense(2)(x)))
    assert reasons(graph)["b"] == "turned works on axis 1, but the channels lie on axis 3"


def test_add_that_broadcasts_one_channel_keeps_that_channel_only():
    inputs = keras.Input(zoo.INPUT_SHAPE)
    x = zoo.conv(zoo.conv(inputs, 4, name="a"), 5, name="b")
    y = _L.Add(name="sum")([x, zoo.conv(x, 1, name="one")])
    graph = trace(keras.Model(inputs, _L.Dense(2)(_L.GlobalAveragePooling2D()(y))))
    assert set(members(graph)) == {"b"}
    assert reasons(graph)["one"] == "sum broadcasts it over other channels"


def test_open_input_size_does_not_matter():
    inputs = keras.Input((None, None, 2))
    x = zoo.conv(zoo.conv(inputs, 4, name="a"), 5, name="b")
    graph = trace(keras.Model(inputs, _L.Dense(2, name="head")(_L.GlobalAveragePooling2D()(x))))
    assert set(members(graph)) == {"b"}
    assert graph.layer("b").pixels == 1


def test_shared_layer_read_before_it_is_listed_traces():
    inputs = keras.Input(zoo.INPUT_SHAPE)
    shared = _L.Conv2D(2, 3, padding="same", name="shared")
    x = shared(inputs)
    y = shared(zoo.conv(x, 2, name="between"))
    graph = trace(keras.Model(inputs, _L.Dense(2)(_L.GlobalAveragePooling2D()(y))))
    assert reasons(graph)["between"] == "it comes from the input"  # shared reads the input in its other call
    assert graph.layer("shared").pixels == 2 * 64


def test_graph_prints_groups_and_reasons():
    text = str(trace(zoo.build("residual_projection")))
    assert text.startswith("residual_projection: ")
    assert "group main_2: 6 channels of main_2, short -> classifier (may go)" in text
    assert "group stem: 4 channels of stem -> main_1, short (kept: stem is the first convolution)" in text
    assert "not pruned:\n  stem: stem is the first convolution. Use keep_first=False" in text


def test_tracing_leaves_the_model_unchanged():
    model = zoo.build("residual_identity")
    config, weights = model.to_json(), model.get_weights()
    trace(model)
    assert model.to_json() == config
    assert all(np.array_equal(a, b) for a, b in zip(weights, model.get_weights(), strict=True))
