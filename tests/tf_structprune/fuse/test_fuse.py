"""Shortcuts: what they compute, what is left of them, and what is refused."""

import keras
import numpy as np
import pytest

import tf_structprune as sp
from tests import zoo
from tf_structprune.fuse import Shortcut, find_sites, shortcuts_of
from tf_structprune.shrink import shrink

_L = keras.layers


def deep(x):
    """Every kind of place, and of reason for none."""
    x = zoo.conv(x, 4, name="first")
    x = zoo._norm_conv(x, 4, "normed")
    x = _L.BatchNormalization()(_L.BatchNormalization()(zoo.conv(x, 4, name="twice", activation=None)))
    x = zoo.conv(x, 4, (1, 3), name="wide", dilation_rate=2, use_bias=False)
    x = zoo.conv(x, 4, name="grouped", groups=2, activation="tanh")
    x = _L.DepthwiseConv2D(3, padding="same", activation="relu", name="depthwise")(x)
    x = zoo.conv(x, 4, 2, name="even")
    x = zoo.conv(x, 4, 1, name="point", activation=None, padding="valid")  # as Keras has it unless told otherwise
    short = zoo.conv(x, 4, name="strided", strides=2)
    y = zoo.conv(short, 4, name="inner", activation=None)
    return zoo._head(_L.ReLU()(_L.Add()([short, y])))


def net(builder=deep, seed=0):
    inputs = keras.Input(zoo.INPUT_SHAPE)
    return zoo.randomize(keras.Model(inputs, builder(inputs), name="deep"), seed)


def drawn(model, seed=0):
    """A copy with shortcuts of random numbers."""
    made, rng = sp.residual_convolutions(model), np.random.default_rng(seed)
    for shortcut in shortcuts_of(made).values():
        shortcut.carry.assign(rng.normal())
        shortcut.scale.assign(rng.normal())
    return made


def has_sites(name):
    return bool(find_sites(as_functional(zoo.build(name)))[0])


def as_functional(model):
    return keras.Model(model.inputs, model.outputs, name=model.name)


PLACES = ["normed", "twice", "wide", "grouped", "depthwise", "point", "inner"]
NAMES = [name for name in zoo.ZOO if has_sites(name)]


def test_sites_are_the_convolutions_that_keep_the_shape():
    sites, skipped = find_sites(net())
    assert list(sites) == PLACES
    assert skipped == {
        "first": "it has another number of channels out than in",
        "even": "its kernel of 2x2 has no middle",
        "strided": "its stride is 2x2",
    }
    assert [len(sites[name].norms) for name in PLACES] == [1, 2, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("name", ["deep", *NAMES])
def test_without_carry_nothing_changes_and_every_convolution_is_told(name):
    model = net() if name == "deep" else zoo.build(name)
    made = sp.residual_convolutions(model)
    assert zoo.largest_difference(model, made, zoo.batch()) < 1e-6
    sites, skipped = find_sites(as_functional(model) if isinstance(model, keras.Sequential) else model)
    assert set(shortcuts_of(made)) == set(sites)
    convolutions = [layer.name for layer in model.layers if "Conv" in type(layer).__name__]
    assert set(convolutions) <= set(sites) | set(skipped)


@pytest.mark.parametrize("name", ["deep", *NAMES])
def test_fused_model_computes_the_same_without_shortcuts(name):
    made = drawn(net() if name == "deep" else zoo.build(name))
    plain = sp.fuse_shortcuts(made)
    assert zoo.largest_difference(made, plain, zoo.batch()) < 1e-5
    assert not shortcuts_of(plain)
    for path in shortcuts_of(made):
        assert not any(path in layer.name and "shortcut" in layer.name for layer in plain.layers)


@pytest.mark.parametrize("name", ["deep", *NAMES])
def test_removed_layer_leaves_what_a_scale_of_zero_computes(name):
    made = drawn(net() if name == "deep" else zoo.build(name))
    for path, shortcut in shortcuts_of(made).items():
        scale = shortcut.numbers()[1]
        thin = sp.fuse_shortcuts(made, remove=[path])
        shortcut.scale.assign(0.0)
        assert zoo.largest_difference(made, thin, zoo.batch()) < 1e-5
        shortcut.scale.assign(scale)
        assert path not in [layer.name for layer in thin.layers]


def test_carry_of_one_leaves_no_layer_at_all():
    made = sp.residual_convolutions(net(), carry=1.0)
    thin = sp.fuse_shortcuts(made, remove=PLACES)
    kinds = [type(layer).__name__ for layer in thin.layers]
    assert "Rescaling" not in kinds and "BatchNormalization" not in kinds
    assert {layer.name for layer in thin.layers if "Conv" in type(layer).__name__} == {"first", "even", "strided"}
    assert sp.trace(thin).macs < 0.6 * sp.trace(net()).macs


def test_shortcuts_are_saved_and_traced(tmp_path):
    made = drawn(net())
    made.save(tmp_path / "made.keras")
    again = keras.models.load_model(tmp_path / "made.keras")
    assert zoo.largest_difference(made, again, zoo.batch()) == 0
    groups = {frozenset(group.producers) for group in sp.trace(made, keep_first=False).prunable_groups}
    assert any({"normed", "twice"} <= group for group in groups)  # a sum ties what it adds
    masked = sp.wrap(made, granularity="feature_map", keep_first=False)
    sp.set_masks(masked, sp.random_masks(masked, {"feature_map": 0.4}))
    small = shrink(masked).model
    assert zoo.largest_difference(masked, small, zoo.batch()) < 1e-5
    assert zoo.largest_difference(small, sp.fuse_shortcuts(small), zoo.batch()) < 1e-5


def test_scale_is_pressed_towards_zero(tmp_path):
    x, y = zoo.lit_rows(48)
    ends = {}
    for l1 in (0.0, 0.5):
        made = sp.residual_convolutions(net(), l1=l1, carry=1.0)
        made.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy", jit_compile=False)
        made.fit(x, y, epochs=6, batch_size=8, verbose=0, shuffle=False)
        ends[l1] = sum(abs(shortcut.numbers()[1]) for shortcut in shortcuts_of(made).values())
    assert ends[0.5] < 0.7 * ends[0.0]


def test_sequential_model_becomes_functional():
    layers = [zoo._L.Conv2D(2, 3, padding="same", name="only"), _L.Flatten(), _L.Dense(3)]
    model = keras.Sequential([keras.Input(zoo.INPUT_SHAPE), *layers], name="row")
    model.compile("adam", "mse")
    made = sp.residual_convolutions(model)
    assert made.compiled and list(shortcuts_of(made)) == ["only"]
    assert zoo.largest_difference(model, made, zoo.batch()) < 1e-6


def test_nested_models_have_shortcuts_too():
    inner_input = keras.Input((8, 8, 4))
    inner = keras.Model(inner_input, zoo._norm_conv(inner_input, 4, "deep_inside"), name="block")
    made = drawn(net(lambda x: zoo._head(inner(zoo.conv(x, 4, name="a")))))
    assert list(shortcuts_of(made)) == ["block/deep_inside"]
    assert zoo.largest_difference(made, sp.fuse_shortcuts(made), zoo.batch()) < 1e-5
    row = keras.Sequential([keras.Input((8, 8, 4)), _L.Conv2D(4, 3, padding="same", name="hidden")], name="row")
    model = net(lambda x: zoo._head(row(zoo.conv(x, 4, name="a"))))
    assert find_sites(model)[1]["row/hidden"] == "it lies in a Sequential model inside another"


REFUSED = {
    "no model": (TypeError, lambda: sp.residual_convolutions(3), "model must be a keras.Model. Received: int"),
    "no place": (
        ValueError,
        lambda: sp.residual_convolutions(zoo.build("two_outputs")),
        "gets no shortcut around a convolution. Received: ",
    ),
    "twice": (ValueError, lambda: sp.residual_convolutions(drawn(net())), "Model 'deep' has shortcuts already"),
    "strided": (ValueError, lambda: sp.residual_convolutions(net(), around=["strided"]), "around: its stride is 2x2"),
    "unknown": (
        ValueError,
        lambda: sp.residual_convolutions(net(), around=["x"]),
        "there is no convolution of that n",
    ),
    "a name": (TypeError, lambda: sp.residual_convolutions(net(), around="inner"), r"Use e\.g\. \['inner'\]"),
    "negative": (ValueError, lambda: sp.residual_convolutions(net(), l1=-1), "l1 must be 0 or more. Received: l1=-1"),
    "carry": (
        ValueError,
        lambda: sp.residual_convolutions(net(), carry=float("nan")),
        "carry must be a number. Received: carry=nan",
    ),
    "none": (
        ValueError,
        lambda: sp.residual_convolutions(net(), around=[]),
        r"gets no shortcut.*Received: around=\[\]",
    ),
    "plain": (ValueError, lambda: sp.fuse_shortcuts(net()), "has no shortcuts. Received: a plain model"),
    "remove": (
        ValueError,
        lambda: sp.fuse_shortcuts(drawn(net()), remove=["first"]),
        r"no place in remove.*Use of: normed, tw",
    ),
}


def test_shortcut_whose_convolution_is_gone_is_refused():
    model = net(lambda x: zoo._head(Shortcut(around="away")([x, zoo.conv(x, 2, name="here")])))
    with pytest.raises(ValueError, match="Layer 'away' is no convolution any more that a shortcut may lead around"):
        sp.fuse_shortcuts(model)


@pytest.mark.parametrize("case", REFUSED)
def test_what_makes_no_sense_is_refused(case):
    kind, make, message = REFUSED[case]
    with pytest.raises(kind, match=message):
        make()


def test_shortcut_keeps_its_settings():
    layer = Shortcut(around="a", l1=0.1, carry=0.5)
    again = Shortcut.from_config(layer.get_config())
    assert (again.around, again.l1, again.first_carry) == ("a", 0.1, 0.5)
