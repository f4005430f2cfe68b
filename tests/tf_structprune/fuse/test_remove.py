"""Layers that go whole: what is left, what is told of the others."""

import keras
import numpy as np
import pytest

import tf_structprune as sp
from tests import zoo
from tests.tf_structprune.fuse.test_fuse import net
from tf_structprune.fuse import (
    Passed,
    as_functional,
    find_removable,
    find_sites,
    hollowed,
    shortcuts_of,
    without_passed,
)
from tf_structprune.graph import list_calls

_L = keras.layers


def bottleneck(x):
    """Blocks that may go, and sums that are none."""
    x = zoo.conv(x, 4, name="stem")
    y = zoo.conv(x, 8, 1, name="wide", activation="relu6")
    y = _L.BatchNormalization()(zoo.conv(y, 4, 1, name="narrow", activation=None))
    x = _L.Add(name="block")([y, x])
    y = zoo.conv(x, 4, name="strided", strides=2, activation=None)
    z = zoo.conv(_L.MaxPooling2D()(x), 4, name="other", activation=None)
    x = _L.ReLU()(_L.Add(name="two_branches")([y, z]))
    shared = _L.Conv2D(4, 3, padding="same", name="shared")
    x = _L.Add(name="of_shared")([x, shared(shared(x))])
    y = zoo.conv(x, 4, 2, name="watched")
    x = _L.Add(name="of_watched")([x, y])
    return zoo._head(_L.Concatenate()([x, y]))


def block_net():
    inputs = keras.Input(zoo.INPUT_SHAPE)
    return zoo.randomize(keras.Model(inputs, bottleneck(inputs), name="blocks"), 0)


def model_of(name):
    return net() if name == "deep" else block_net() if name == "blocks" else zoo.build(name)


NAMES = ["deep", "blocks", *(name for name in zoo.ZOO if find_removable(as_functional(zoo.build(name)))[0])]


def test_convolutions_and_blocks_are_found_and_the_others_told():
    units, skipped = find_removable(block_net())
    assert set(units) == {"block", "other"}
    assert units["block"].passing == {"block": 1}
    assert units["block"].gone >= {"block", "wide", "narrow"}
    assert set(skipped) == {"stem", "strided", "shared", "watched"}
    assert skipped["shared"] == "it is called more than once"


def test_block_of_dense_layers_may_go_too():
    inputs = keras.Input((6,))
    y = _L.Dense(6, name="b")(_L.Dense(9, activation="relu", name="a")(inputs))
    model = keras.Model(inputs, _L.Dense(2, name="classifier")(_L.Add(name="block")([inputs, y])))
    assert without_passed(hollowed(model, ["block"])).count_params() == 14


@pytest.mark.parametrize("name", ["deep", "blocks", *zoo.ZOO])
def test_every_convolution_may_go_or_is_told(name):
    model = model_of(name)
    units, skipped = find_removable(as_functional(model))
    may = frozenset().union(*(unit.gone for unit in units.values()))
    convolutions = {call.name for call in list_calls(model).calls if "Conv" in type(call.layer).__name__}
    assert convolutions == {name for name in convolutions if name in may or skipped.get(name)}


@pytest.mark.parametrize("name", NAMES)
def test_what_is_left_computes_what_the_hollow_model_does(name):
    model = model_of(name)
    for names in ([unit] for unit in find_removable(as_functional(model))[0]):
        hollow = hollowed(model, names)
        small = without_passed(hollow)
        assert zoo.largest_difference(hollow, small, zoo.batch()) < 1e-6
        assert not any(isinstance(layer, Passed) for layer in small.layers)
        assert small.count_params() < model.count_params()
        assert len(list_calls(hollow).calls) == len(list_calls(as_functional(model)).calls)


@pytest.mark.parametrize("name", NAMES)
def test_removed_convolution_is_a_shortcut_of_scale_zero(name):
    model = as_functional(model_of(name))
    for unit in set(find_removable(model)[0]) & set(find_sites(model)[0]):
        around = sp.residual_convolutions(model, around=[unit], carry=1.0)
        shortcuts_of(around)[unit].scale.assign(0.0)
        small = without_passed(hollowed(model, [unit]))
        assert zoo.largest_difference(around, small, zoo.batch()) < 1e-6


def test_removed_block_leaves_its_shortcut():
    model = block_net()
    small = without_passed(hollowed(model, ["block"]))
    norm = next(layer for layer in model.layers if isinstance(layer, _L.BatchNormalization))
    norm.gamma.assign(np.zeros(4))
    norm.beta.assign(np.zeros(4))
    assert zoo.largest_difference(model, small, zoo.batch()) < 1e-6
    assert {"wide", "narrow"}.isdisjoint(layer.name for layer in small.layers)


def test_layers_inside_a_block_that_goes_need_not_be_named():
    model = net()
    (block,) = (name for name, unit in find_removable(model)[0].items() if "inner" in unit.gone and name != "inner")
    both = hollowed(model, ["inner", block])
    assert zoo.largest_difference(both, hollowed(model, [block]), zoo.batch()) == 0


def test_relu_behind_a_relu_goes_too():
    inputs = keras.Input((8, 8, 4))
    x = _L.ReLU()(zoo.conv(inputs, 4, name="a", activation=None))
    x = _L.Conv2D(4, 3, padding="same", activation="relu", name="b")(x)
    x = _L.Conv2D(4, 3, padding="same", activation="relu", name="c")(_L.MaxPooling2D()(x))
    x = _L.Conv2D(4, 3, padding="same", activation="tanh", name="d")(x)
    model = keras.Model(inputs, _L.Flatten()(x))
    names = [type(layer).__name__ for layer in without_passed(hollowed(model, ["b", "c", "d"])).layers]
    assert names == ["InputLayer", "Conv2D", "ReLU", "MaxPooling2D", "Activation", "Flatten"]  # the tanh stays


def test_relu6_behind_a_relu_stays():
    inputs = keras.Input((8, 8, 4))
    x = _L.ReLU()(zoo.conv(inputs, 4, name="a", activation=None))
    x = _L.Conv2D(4, 3, padding="same", activation="relu6", name="b")(x)
    small = without_passed(hollowed(keras.Model(inputs, x), ["b"]))
    assert [layer.name for layer in small.layers][-1] == "b_activation"


def test_sequential_model_loses_layers_too():
    model = keras.Sequential([keras.Input((8, 8, 2)), _L.Conv2D(2, 3, padding="same", name="a"), _L.Flatten()])
    assert without_passed(hollowed(model, ["a"])).count_params() == 0


def test_hollow_model_is_saved(tmp_path):
    hollow = hollowed(block_net(), ["block"])
    hollow.save(tmp_path / "hollow.keras")
    again = keras.models.load_model(tmp_path / "hollow.keras")
    assert zoo.largest_difference(hollow, again, zoo.batch()) == 0


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        (["strided"], ValueError, "Layer 'strided' has no place in names: its stride is 2x2"),
        (["nothing"], ValueError, "Layer 'nothing' has no place in names: there is no convolution of that name"),
        ("block", TypeError, "names must be a list of names"),
    ],
)
def test_what_may_not_go_is_refused(names, error, message):
    with pytest.raises(error, match=message):
        hollowed(block_net(), names)
