"""Maps that kernel masks kill are taken out, and their constants stay behind in their readers."""

import keras
import numpy as np
import pytest

from tests import zoo
from tf_structprune.graph import kernel_variable, kernel_view, named_layers, trace
from tf_structprune.layers import get_masks, random_masks, set_masks, wrap
from tf_structprune.masks import KERNEL, MaskSet
from tf_structprune.shrink import shrink

_L = keras.layers
TOLERANCE = 1e-5
SIZE = (8, 8, 2)


def network(reader, *, between=(), width=6, make=None):
    """stem -> maker -> further layers -> reader -> last -> classifier, all weights random."""
    inputs = keras.Input(SIZE)
    x = zoo.conv(inputs, 4, name="stem")
    x = (make or _L.Conv2D(width, 3, padding="same", name="maker"))(x)
    for layer in between:
        x = layer(x)
    x = reader(x)
    x = _L.Conv2D(4, 1, name="last")(x) if len(x.shape) == 4 else _L.Dense(4, name="last")(x)
    x = _L.GlobalAveragePooling2D()(x) if len(x.shape) == 4 else x
    return zoo.randomize(keras.Model(inputs, _L.Dense(3, name="classifier")(x)))


def with_dead(model, dead, layer="maker", side="outputs"):
    """The masked model in which no kernel reaches (or leaves) some maps of a layer."""
    masked = wrap(model)
    mask = np.array(get_masks(masked).kernel[layer])
    mask[(slice(None), dead) if side == "outputs" else (dead,)] = False
    set_masks(masked, MaskSet(kernel={layer: mask}))
    return masked


def check(masked):
    """The shrunk model, which gives the same outputs."""
    small = shrink(masked)
    assert zoo.largest_difference(masked, small.model, zoo.batch(shape=masked.input_shape[1:])) < TOLERANCE
    return small


def width(model, name="maker"):
    return model.get_layer(name).output.shape[-1]


FOLDED = {
    "valid convolution": {"reader": _L.Conv2D(5, 3, name="reader")},
    "1x1 convolution without bias": {"reader": _L.Conv2D(5, 1, use_bias=False, name="reader")},
    "strided valid convolution": {"reader": _L.Conv2D(5, 3, strides=2, activation="relu", name="reader")},
    "behind batch norm": {"reader": _L.Conv2D(5, 3, name="reader"), "between": [_L.BatchNormalization(), _L.ReLU()]},
    "behind pooling": {"reader": _L.Conv2D(5, 1, name="reader"), "between": [_L.MaxPooling2D(), _L.Activation("gelu")]},
    "dense behind flatten": {"reader": _L.Dense(5, name="reader"), "between": [_L.MaxPooling2D(4), _L.Flatten()]},
    "dense behind flattened border": {
        "reader": _L.Dense(5, name="reader"),
        "between": [_L.ZeroPadding2D(1), _L.AveragePooling2D(5), _L.Flatten()],
    },
    "dense on maps": {"reader": _L.Dense(5, use_bias=False, name="reader")},
    "behind a depthwise convolution": {
        "reader": _L.Conv2D(5, 1, name="reader"),
        "between": [_L.DepthwiseConv2D(3, name="depthwise"), _L.ReLU()],
    },
    "separable convolution": {"reader": _L.SeparableConv2D(5, 3, name="reader")},
    "transposed 1x1 convolution": {"reader": _L.Conv2DTranspose(5, 1, name="reader")},
}


def twice(x):
    return 2 * keras.ops.relu(x)


FOLDED["activation that no file could hold"] = {"reader": _L.Conv2D(5, 3, activation=lambda x: twice(x), name="reader")}


@pytest.mark.parametrize("parts", FOLDED.values(), ids=FOLDED)
def test_constants_move_into_the_bias(parts):
    masked = with_dead(network(**parts), [1, 4])
    small = check(masked)
    assert width(small.model) == 4
    assert sum(small.plan.dead.values()) == 2


def test_zero_maps_go_from_padded_readers_too():
    model = network(_L.Conv2D(5, 3, padding="same", name="reader"), between=[_L.ReLU()])
    kernel, bias = model.get_layer("maker").get_weights()
    bias[[1, 4]] = -0.5  # nothing is left behind the ReLU
    model.get_layer("maker").set_weights([kernel, bias])
    assert width(check(with_dead(model, [1, 4])).model) == 4


PADDED = {
    "same convolution": {"reader": _L.Conv2D(5, 3, padding="same", name="reader")},
    "behind zero padding": {"reader": _L.Conv2D(5, 3, name="reader"), "between": [_L.ZeroPadding2D(1)]},
    "padded separable convolution": {"reader": _L.SeparableConv2D(5, 3, padding="same", name="reader")},
    "transposed convolution": {"reader": _L.Conv2DTranspose(5, 3, name="reader")},
}


@pytest.mark.parametrize("name", ["same convolution", "behind zero padding", "transposed convolution"])
def test_one_map_stands_for_all_where_the_border_differs(name):
    small = check(with_dead(network(**PADDED[name]), [0, 2, 5]))
    assert width(small.model) == 4
    assert sum(small.plan.dead.values()) == 2


def test_maps_under_another_kernel_stay_where_the_border_differs():
    small = check(with_dead(network(**PADDED["padded separable convolution"]), [0, 2, 5]))
    assert width(small.model) == 6


@pytest.mark.parametrize(
    "reader", [_L.Conv2D(5, 3, padding="same", name="reader"), _L.Conv2D(5, 1, name="reader")], ids=["padded", "1x1"]
)
def test_unread_maps_go(reader):
    small = check(with_dead(network(reader), [0, 3], layer="reader", side="inputs"))
    assert width(small.model) == 4


def test_death_spreads_forward_and_backward():
    inputs = keras.Input(SIZE)
    x = zoo.conv(inputs, 4, name="stem")
    for name in ("first", "second", "third"):
        x = _L.ReLU()(_L.BatchNormalization()(_L.Conv2D(6, 1, name=name)(x)))
    x = _L.Conv2D(5, 1, name="reader")(x)
    model = zoo.randomize(keras.Model(inputs, _L.Dense(3, name="classifier")(_L.GlobalAveragePooling2D()(x))))
    masked = wrap(model)
    masks = {name: np.ones((6, 6), bool) for name in ("second", "third")}
    masks["first"] = np.ones((4, 6), bool)
    masks["first"][:, :2] = False  # constant
    masks["second"][2:, :2] = False  # reads constants only, so constant too
    masks["third"][:, 5] = False
    masks["third"][3, :] = False  # unread
    set_masks(masked, MaskSet(kernel=masks))
    small = check(masked)
    assert [width(small.model, name) for name in ("first", "second", "third")] == [4, 3, 5]


def test_residual_map_dies_only_with_all_its_producers():
    inputs = keras.Input(SIZE)
    x = zoo.conv(inputs, 4, name="stem")
    a, b = _L.Conv2D(6, 1, name="a")(x), _L.Conv2D(6, 1, name="b")(x)
    x = _L.Conv2D(5, 1, name="reader")(_L.Add()([a, b]))
    model = zoo.randomize(keras.Model(inputs, _L.Dense(3, name="classifier")(_L.GlobalAveragePooling2D()(x))))
    masked = wrap(model)
    mask_a, mask_b = np.ones((4, 6), bool), np.ones((4, 6), bool)
    mask_a[:, [0, 1, 2]] = False
    mask_b[:, [1, 2]] = False
    set_masks(masked, MaskSet(kernel={"a": mask_a, "b": mask_b}))
    small = check(masked)
    assert (width(small.model, "a"), width(small.model, "b")) == (4, 4)


def test_map_in_a_layer_normalization_stays():
    model = network(_L.Conv2D(5, 1, name="reader"), between=[_L.LayerNormalization(name="norm")])
    assert width(check(with_dead(model, [1, 4])).model) == 6
    assert width(check(with_dead(model, [1, 4], layer="reader", side="inputs")).model) == 6


@pytest.mark.parametrize("join", [_L.Multiply, _L.Add, _L.Maximum], ids=lambda layer: layer.__name__)
def test_constant_behind_a_gate_is_no_constant(join):
    inputs = keras.Input(SIZE)
    x = _L.Conv2D(6, 1, name="maker")(_L.Conv2D(4, 1, name="stem")(inputs))
    x = join()([x, _L.Conv2D(1, 1, activation="sigmoid", name="gate")(x)])
    x = _L.Conv2D(5, 1, name="reader")(x)
    model = zoo.randomize(keras.Model(inputs, _L.Dense(3, name="classifier")(_L.GlobalAveragePooling2D()(x))))
    assert width(check(with_dead(model, [0, 3])).model) == 6


def test_constant_that_hangs_on_the_open_size_stays():
    inputs = keras.Input((None, None, 2))
    x = _L.Conv2D(6, 1, name="maker")(_L.Conv2D(4, 1, name="stem")(inputs))
    x = _L.Conv2D(4, 3, padding="same", name="reader")(x)
    model = zoo.randomize(keras.Model(inputs, _L.Dense(3, name="classifier")(_L.GlobalAveragePooling2D()(x))))
    masked = with_dead(model, [0, 1])
    mask = np.ones((6, 4), bool)
    mask[2:, 0] = False  # reads constants only, and the border
    set_masks(masked, MaskSet(kernel={"reader": mask}))
    small = shrink(masked).model
    for size in (7, 33, 64):
        assert zoo.largest_difference(masked, small, zoo.batch(shape=(size, size, 2))) < TOLERANCE


def test_group_that_is_dead_as_a_whole_keeps_one_map():
    model = network(_L.Conv2D(5, 1, name="reader"))
    assert width(check(with_dead(model, list(range(6)))).model) == 1


def test_limits_hold_for_dead_maps_too():
    masked = wrap(network(_L.Conv2D(5, 1, name="reader"), width=8), round_to=4)
    mask = np.ones((4, 8), bool)
    mask[:, :5] = False
    set_masks(masked, MaskSet(kernel={"maker": mask}))
    assert width(check(masked).model) == 4


def dead_maps(model):
    """Maps by group that no kernel reaches or leaves, counted in the weights of a plain model."""
    graph, layers = trace(model, keep_first=False), named_layers(model)
    reached = np.zeros(graph.unit_count, bool)
    left = np.zeros(graph.unit_count, bool)
    for layer in graph.layers:
        channels = graph.channels[layer.name]
        kernel = keras.ops.convert_to_numpy(kernel_variable(layers[layer.name]))
        alive = kernel_view(layers[layer.name], channels.positions).view(kernel, np).any(axis=0)
        reached[channels.outputs[alive.any(axis=0)]] = True
        left[channels.inputs[layer.input_of_kernel[alive]]] = True
    return {g.name: int((~(reached & left))[g.units].sum()) for g in graph.prunable_groups}


@pytest.mark.every(2)
@pytest.mark.parametrize("seed", range(4))
def test_without_padding_no_dead_map_is_left_unless_its_group_is_dead(seed):
    rng = np.random.default_rng(seed)
    inputs = keras.Input(SIZE)
    x = zoo.conv(inputs, 4, name="stem")
    for index in range(4):
        x = _L.BatchNormalization()(_L.Conv2D(int(rng.integers(4, 9)), int(rng.integers(1, 3)), name=f"c{index}")(x))
        x = _L.Activation(rng.choice(["relu", "tanh", "gelu"]))(x)
    model = keras.Model(inputs, _L.Dense(3, name="classifier")(_L.GlobalAveragePooling2D()(x)))
    masked = wrap(zoo.randomize(model, seed))
    set_masks(masked, random_masks(masked, {KERNEL: 0.75}, seed=seed))
    small = check(masked)
    sizes = {group.name: group.size for group in trace(small.model).prunable_groups}
    assert {name for name, count in dead_maps(small.model).items() if count and sizes.get(name, 1) > 1} == set()


def _any_networks():
    """Every network with four masks; in the gate with one, of which half are dense and half sparse."""
    for at, name in enumerate(zoo.ZOO):
        for seed in range(4):
            yield pytest.param(name, seed, marks=() if seed == at % 2 else pytest.mark.sweep)


@pytest.mark.every(2)
@pytest.mark.parametrize("name, seed", _any_networks())
def test_any_network_gives_the_same_outputs(name, seed):
    masked = wrap(zoo.build(name), keep_first=False)
    set_masks(masked, random_masks(masked, {KERNEL: 0.8 if seed % 2 else 0.5}, seed=seed))
    check(masked)


def test_masks_left_over_are_those_of_the_small_model():
    model = network(_L.Conv2D(5, 3, padding="same", name="reader"))
    masked = with_dead(model, [0, 2, 5])
    small = shrink(masked)
    again = wrap(small.model)
    set_masks(again, small.masks)
    assert zoo.largest_difference(small.model, again, zoo.batch(shape=SIZE)) < TOLERANCE


@pytest.mark.every(3)
@pytest.mark.parametrize("polarity", ["keep_on_grid", "prune_on_grid"])
@pytest.mark.parametrize("patterned", [False, True], ids=["kernels", "kernels and patterns"])
@pytest.mark.parametrize("seed", range(2))
def test_masks_left_over_after_a_merge_keep_what_any_merged_map_gave(seed, patterned, polarity):
    rng = np.random.default_rng(seed)
    masked = wrap(network(_L.Conv2D(5, 3, padding="same", name="reader")), polarity=polarity)
    dead, partial = np.ones((4, 6), bool), rng.random((6, 5)) < 0.6
    dead[:, [0, 2, 5]] = False
    partial[np.arange(6), rng.integers(5, size=6)] = True  # all are read
    patterns = {"reader": np.column_stack([rng.integers(2, 4, 6), rng.integers(0, 2, 6)]).astype(np.int32)}
    set_masks(masked, MaskSet(kernel={"maker": dead, "reader": partial}, intra_kernel=patterns if patterned else {}))
    small = check(masked)
    assert sum(small.plan.dead.values()) == 2
    assert not small.masks.kernel["reader"].all()
    again = wrap(small.model, polarity=polarity)
    set_masks(again, small.masks)
    assert zoo.largest_difference(small.model, again, zoo.batch(shape=SIZE)) < TOLERANCE


def test_models_without_kernel_masks_lose_nothing_more():
    masked = wrap(network(_L.Conv2D(5, 1, name="reader")), granularity="feature_map")
    assert shrink(masked).plan.dead == {}
