"""Measures against sums taken by hand."""

import keras
import numpy as np
import pytest

import tf_structprune as sp
from tests import zoo
from tf_structprune.graph import named_layers, trace
from tf_structprune.masks import FEATURE_MAP, GRANULARITIES, INTRA_KERNEL, KERNEL, mask_space
from tf_structprune.measure import MEASURES, activation_sums, geometric_median, l1, l2, normalization_scale

X = zoo.batch(3)
LABELS = np.arange(3)


_L = keras.layers


def grouped(x):
    x = _L.Conv2D(12, 3, groups=2, padding="same", name="grouped")(zoo.conv(x, 8, name="before"))
    return zoo.conv(x, 5, name="after")


def depthwise(x):
    x = _L.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise")(zoo.conv(x, 6, name="before"))
    return zoo.conv(x, 5, name="after")


def separable(x):
    x = _L.SeparableConv2D(7, 3, depth_multiplier=2, name="separable")(zoo.conv(x, 6, name="before"))
    return zoo.conv(x, 5, name="after")


def transposed(x):
    x = _L.Conv2DTranspose(7, 3, strides=2, name="transposed")(zoo.conv(x, 6, name="before"))
    return zoo.conv(x, 5, name="after")


def shared(x):
    twice = _L.Conv2D(6, 3, padding="same", name="shared")
    return zoo.conv(twice(twice(zoo.conv(x, 6, name="before"))), 5, name="after")


def nested_twice(x):
    inputs = keras.Input((8, 8, 6), name="block_input")
    block = keras.Model(inputs, zoo.conv(zoo.conv(inputs, 7, name="one"), 6, name="two"), name="block")
    return zoo.conv(block(block(zoo.conv(x, 6, name="before"))), 5, name="after")


def channels_first(x):
    x = _L.Permute((3, 1, 2))(zoo.conv(x, 6, name="before"))
    x = _L.Conv2D(7, 3, data_format="channels_first", activation="relu", name="first")(x)
    return _L.Dense(5, name="after")(_L.Flatten(data_format="channels_first")(x))


def flattened(x):
    x = _L.MaxPooling2D(4)(zoo.conv(x, 6, name="before"))
    return _L.Dense(5, name="after")(_L.Flatten()(x))


NETS = {
    net.__name__: net
    for net in (grouped, depthwise, separable, transposed, shared, nested_twice, channels_first, flattened)
}
each_net = pytest.mark.parametrize("name", NETS)


def build(name):
    inputs = keras.Input(zoo.INPUT_SHAPE)
    x = NETS[name](zoo.conv(inputs, 4, name="stem"))
    x = x if len(x.shape) == 2 else _L.GlobalAveragePooling2D(name="pool")(x)
    return zoo.randomize(keras.Model(inputs, _L.Dense(3, name="classifier")(x)))


def kernels_of(layer, positions):
    """|weight| by (position, row, output) and the input map that each (row, output) reads, class by class."""
    kernel = np.abs(layer.get_weights()[0].astype(np.float64))
    if isinstance(layer, _L.DepthwiseConv2D):
        *sizes, channels, multiplier = kernel.shape
        source = np.repeat(np.arange(channels), multiplier)[None]
        return kernel.reshape(np.prod(sizes), 1, channels * multiplier), source
    if isinstance(layer, _L.SeparableConv2D):
        kernel = np.abs(layer.get_weights()[1].astype(np.float64))
    if isinstance(layer, _L.Conv2DTranspose):
        kernel = kernel.swapaxes(-1, -2)
    *_, rows, outputs = kernel.shape
    rows //= positions
    groups = getattr(layer, "groups", 1)
    source = [[o // (outputs // groups) * rows + row for o in range(outputs)] for row in range(rows)]
    return kernel.reshape(-1, rows, outputs), np.array(source)


def kernel_of(model, name):
    return np.abs(model.get_layer(name).get_weights()[0].astype(np.float64))


def maps_read_by(model, name):
    probe = keras.Model(model.input, model.get_layer(name).input)
    return zoo.outputs_of(probe, X)[0].astype(np.float64)


@pytest.mark.parametrize("name", zoo.ZOO)
def test_l1_has_the_shapes_that_spaces_rank(name):
    model = zoo.build(name)
    graph = trace(model)
    for kind in GRANULARITIES:
        space = mask_space(graph, kind, 0.1)
        masks = space.top(l1(model, graph, kind, X))
        assert sp.sparsity_of(graph, masks) >= 0.1


def test_l1_by_hand_for_a_chain():
    model = zoo.build("chain")
    graph, kernel = trace(model), kernel_of(model, "b")
    assert np.allclose(l1(model, graph, FEATURE_MAP, X)["b"], kernel.sum(axis=(0, 1, 2)))
    assert np.allclose(l1(model, graph, KERNEL, X)["b"], kernel.sum(axis=(0, 1)))
    patterns = l1(model, graph, INTRA_KERNEL, X)["b"]
    assert patterns.shape == (9, 4)
    assert np.isclose(patterns[5, 2], kernel[1, 2, 2, :].sum())


def test_l1_sums_over_the_producers_of_a_group():
    model = zoo.build("residual_projection")
    sums = l1(model, trace(model), FEATURE_MAP, X)["main_2"]
    expected = kernel_of(model, "main_2").sum(axis=(0, 1, 2)) + kernel_of(model, "short").sum(axis=(0, 1, 2))
    assert np.allclose(sums, expected)


def test_l1_behind_flatten_goes_by_map():
    model = zoo.build("flatten_head")
    graph, kernel = trace(model), kernel_of(model, "hidden")  # (4 positions * 5 maps, 7)
    assert np.allclose(l1(model, graph, KERNEL, X)["hidden"][2, 3], sum(kernel[p * 5 + 2, 3] for p in range(4)))
    assert np.allclose(l1(model, graph, INTRA_KERNEL, X)["hidden"][1, 2], kernel[1 * 5 + 2].sum())


@each_net
def test_l1_equals_brute_force(name):
    model = build(name)
    graph, layers = trace(model), named_layers(model)
    maps, kernels, patterns = (l1(model, graph, kind, X) for kind in (FEATURE_MAP, KERNEL, INTRA_KERNEL))
    total = np.zeros(graph.unit_count)
    for layer in graph.layers:
        channels = graph.channels[layer.name]
        values, source = kernels_of(layers[layer.name], channels.positions)
        by_input = np.zeros((len(values), len(channels.inputs)))
        for (position, row, output), value in np.ndenumerate(values):
            total[channels.outputs[output]] += value
            by_input[position, source[row, output]] += value
        assert np.allclose(kernels[layer.name], values.sum(axis=0))
        assert np.allclose(patterns[layer.name], by_input)
    assert maps.keys() == {group.name for group in graph.prunable_groups}
    for group in graph.prunable_groups:
        assert np.allclose(maps[group.name], total[group.units])


def test_activation_sums_by_hand():
    model = zoo.build("batch_norm_chain")
    sums = activation_sums(model, trace(model), FEATURE_MAP, X)
    assert sums["b"].shape == (3, 6)
    assert np.allclose(sums["b"], np.abs(maps_read_by(model, "c")).sum(axis=(1, 2)), rtol=1e-5)
    assert np.allclose(sums["c"], np.abs(maps_read_by(model, "classifier")), rtol=1e-5)


def test_activation_sums_add_over_the_readers_of_a_group():
    model = zoo.build("residual_identity")
    sums = activation_sums(model, trace(model), FEATURE_MAP, X)["wide"]
    expected = np.abs(maps_read_by(model, "main_1")).sum(axis=(1, 2)) + np.abs(maps_read_by(model, "classifier"))
    assert np.allclose(sums, expected, rtol=1e-5)


def test_activation_sums_behind_flatten_go_by_map():
    model = zoo.build("flatten_head")
    sums = activation_sums(model, trace(model), FEATURE_MAP, X)["b"]
    assert np.allclose(sums, np.abs(maps_read_by(model, "hidden")).reshape(3, 4, 5).sum(axis=1), rtol=1e-5)


def read(model, name):
    """|values| that a layer of a flat model reads, and the layer's input maps last."""
    layer = model.get_layer(name)
    tensors = [node.input_tensors[0] for node in layer._inbound_nodes]
    values = [np.abs(zoo.outputs_of(keras.Model(model.inputs[0], t), X)[0].astype(np.float64)) for t in tensors]
    return [np.moveaxis(v, 1, -1) if getattr(layer, "data_format", "") == "channels_first" else v for v in values]


def maps_of(values, maps=None):
    """Sums over all pixels by map, features of one map `maps` apart."""
    return values.reshape(len(values), -1, maps or values.shape[-1]).sum(axis=1)


@pytest.mark.parametrize("name", [name for name in NETS if name not in ("nested_twice", "channels_first")])
def test_activation_sums_equal_brute_force(name):
    model = build(name)
    graph = trace(model)
    expected = np.zeros((len(X), graph.unit_count))
    for layer in graph.layers:
        inputs = graph.channels[layer.name].inputs
        for values in read(model, layer.name):
            repeat = 2 if isinstance(model.get_layer(layer.name), _L.SeparableConv2D) else 1
            sums = np.repeat(maps_of(values, len(inputs) // repeat), repeat, axis=1)  # what its pointwise part reads
            for channel, unit in enumerate(inputs):
                expected[:, unit] += sums[:, channel]
    found = activation_sums(model, graph, FEATURE_MAP, X)
    assert found.keys() == {group.name for group in graph.prunable_groups}
    for group in graph.prunable_groups:
        assert found[group.name].shape == (len(X), group.size)
        assert np.allclose(found[group.name], expected[:, group.units], rtol=1e-5)


def test_activation_sums_of_a_unit_of_several_channels_add_them():
    model = build("grouped")
    graph = trace(model)
    reads = maps_of(read(model, "grouped")[0]).reshape(3, 2, 4)
    makes = maps_of(read(model, "after")[0]).reshape(3, 2, 6)
    found = activation_sums(model, graph, FEATURE_MAP, X)["before"]
    assert np.allclose(found, reads.sum(axis=2) + makes.sum(axis=2), rtol=1e-5)


def test_activation_sums_of_channels_first_go_along_their_axis():
    model = build("channels_first")
    found = activation_sums(model, trace(model), FEATURE_MAP, X)
    before = maps_of(read(model, "first")[0])  # (images, rows, columns, maps)
    behind = np.abs(zoo.outputs_of(keras.Model(model.inputs[0], model.get_layer("first").output), X)[0])
    assert np.allclose(found["before"], before, rtol=1e-5)
    assert np.allclose(found["first"], behind.sum(axis=(2, 3)), rtol=1e-5)


def test_activation_sums_inside_a_nested_model_add_over_its_calls():
    model = build("nested_twice")
    block = model.get_layer("block")
    found = activation_sums(model, trace(model), FEATURE_MAP, X)
    first = zoo.outputs_of(keras.Model(model.inputs[0], model.get_layer("before").output), X)[0]
    second, inner = zoo.outputs_of(keras.Model(block.inputs[0], [block.output, block.get_layer("one").output]), first)
    third, again = zoo.outputs_of(keras.Model(block.inputs[0], [block.output, block.get_layer("one").output]), second)
    assert np.allclose(found["block/one"], maps_of(np.abs(inner)) + maps_of(np.abs(again)), rtol=1e-5)
    both = maps_of(np.abs(first)) + maps_of(np.abs(second)) + maps_of(np.abs(third))  # read by one, one and after
    assert np.allclose(found["before"], both, rtol=1e-5)


def test_activation_sums_go_by_batches(monkeypatch):
    model = build("shared")
    graph = trace(model)
    whole = activation_sums(model, graph, FEATURE_MAP, X)
    monkeypatch.setattr("tf_structprune.measure._activations._BATCH", 2)
    parts = activation_sums(model, graph, FEATURE_MAP, X)
    assert all(np.allclose(whole[name], parts[name], rtol=1e-5) for name in whole)


@each_net
def test_l1_does_not_count_masked_weights(name):
    masked = sp.wrap(build(name))
    graph = trace(masked)
    masks = {group.name: np.arange(group.size) % 2 == 0 for group in graph.prunable_groups}
    sp.set_masks(masked, sp.MaskSet(feature_map=masks), graph=graph)
    found = l1(masked, graph, FEATURE_MAP, X)
    assert all(np.array_equal(found[name] > 0, mask) for name, mask in masks.items())


@pytest.mark.parametrize("measure", MEASURES)
def test_measures_see_through_wrappers(measure):
    model = zoo.build("residual_twice")
    masked = sp.wrap(model)
    plain = MEASURES[measure](model, trace(model), FEATURE_MAP, X, LABELS)
    wrapped = MEASURES[measure](masked, trace(masked), FEATURE_MAP, X, LABELS)
    assert plain.keys() == wrapped.keys()
    assert all(np.allclose(plain[name], wrapped[name], rtol=1e-5) for name in plain)


def test_activation_sums_see_the_masks():
    masked = sp.wrap(zoo.build("leaky"))
    before = activation_sums(masked, trace(masked), FEATURE_MAP, X)["c"]
    sp.set_masks(masked, sp.random_masks(masked, {"kernel": 0.5}))
    assert not np.allclose(before, activation_sums(masked, trace(masked), FEATURE_MAP, X)["c"])


def test_activation_sums_without_a_free_group_are_empty():
    model = zoo.build("chain")
    assert activation_sums(model, trace(model, keep=["b", "c"]), FEATURE_MAP, X) == {}


@pytest.mark.parametrize("granularity", [KERNEL, INTRA_KERNEL])
def test_activation_sums_refuse_other_granularities(granularity):
    model = zoo.build("chain")
    with pytest.raises(
        ValueError, match=rf"feature maps only\. Received: granularity='{granularity}'\. Use the measur"
    ):
        activation_sums(model, trace(model), granularity, X)


def test_activation_sums_refuse_no_samples():
    model = zoo.build("chain")
    with pytest.raises(ValueError, match=r"need samples\. Received: 0 images\. Give validation data"):
        activation_sums(model, trace(model), FEATURE_MAP, X[:0])


@pytest.mark.parametrize(
    "given", [lambda x: x, lambda x: [x], lambda x: {"image": x}], ids=["array", "list", "by name"]
)
def test_activation_sums_of_samples_as_the_model_takes_them(given):
    inputs = keras.Input((8, 8, 3), name="image")
    x = zoo.conv(zoo.conv(inputs, 4, name="one"), 5, name="two")
    model = keras.Model({"image": inputs}, zoo.conv(x, 3, name="three"))
    x = np.random.default_rng(0).normal(size=(300, 8, 8, 3)).astype("float32")  # more than one batch
    sums = activation_sums(model, trace(model), FEATURE_MAP, given(x))
    parts = [activation_sums(model, trace(model), FEATURE_MAP, given(part)) for part in (x[:256], x[256:])]
    np.testing.assert_array_equal(sums["two"], np.concatenate([part["two"] for part in parts]))
    assert sums["two"].shape == (300, 5)


def test_l2_is_l1_of_the_squares():
    model = zoo.build("residual_projection")
    squared = zoo.build("residual_projection")
    for layer in squared.layers:
        layer.set_weights([weight**2 for weight in layer.get_weights()])
    for granularity in GRANULARITIES:
        one = l2(model, trace(model), granularity, X)
        other = l1(squared, trace(squared), granularity, X)
        for name in other:
            np.testing.assert_allclose(one[name], other[name], rtol=1e-5)


def test_map_that_repeats_another_is_nearest_to_the_median():
    model = zoo.build("chain")
    kernel, bias = model.get_layer("b").get_weights()
    kernel[..., 2] = kernel.mean(axis=-1)
    model.get_layer("b").set_weights([kernel, bias])
    found = geometric_median(model, trace(model), FEATURE_MAP, X)["b"]
    flat = kernel.reshape(-1, kernel.shape[-1]).T.astype(float)
    by_hand = [sum(np.linalg.norm(one - other) for other in flat) for one in flat]
    np.testing.assert_allclose(found, by_hand, rtol=1e-5)
    assert found.argmin() == 2


def test_scale_of_the_normalization_is_summed_over_the_producers():
    model = zoo.build("batch_norm_chain")
    graph = trace(model)
    found = normalization_scale(model, graph, FEATURE_MAP, X)
    norms = [layer for layer in model.layers if isinstance(layer, _L.BatchNormalization)]
    told = [np.abs(np.array(norm.gamma)) for norm in norms]
    assert found
    for values in found.values():
        assert any(values.shape == scale.shape and np.allclose(values, scale) for scale in told)


def test_scale_is_refused_where_there_is_none():
    model = zoo.build("chain")
    with pytest.raises(ValueError, match="has no batch normalization with a scale right behind a layer"):
        normalization_scale(model, trace(model), FEATURE_MAP, X)


@pytest.mark.parametrize("measure", [geometric_median, normalization_scale])
def test_measures_of_maps_refuse_other_granularities(measure):
    model = zoo.build("batch_norm_chain")
    with pytest.raises(ValueError, match=f"'{measure.__name__}' ranks feature maps only. Received: granularity='ker"):
        measure(model, trace(model), KERNEL, X)


@pytest.mark.parametrize("granularity", [KERNEL, INTRA_KERNEL])
def test_price_of_a_weight_is_what_the_others_cannot_make_up_for(granularity):
    """Of a map that repeats another one every weight is free."""
    model, x = zoo.build("chain"), zoo.batch(60)
    graph, axis = trace(model), 1 if granularity == KERNEL else 0
    before = MEASURES["least_squares"](model, graph, granularity, x)["c"]
    kernel, bias = model.get_layer("b").get_weights()
    kernel[..., 1], bias[1] = kernel[..., 0], bias[0]
    model.get_layer("b").set_weights([kernel, bias])
    after = MEASURES["least_squares"](model, graph, granularity, x)["c"]
    layer = graph.layer("c")
    assert after.shape == ((layer.inputs, layer.outputs) if granularity == KERNEL else (layer.positions, layer.inputs))
    assert after.sum(axis=axis)[0] < 0.1 * before.sum(axis=axis)[0]
