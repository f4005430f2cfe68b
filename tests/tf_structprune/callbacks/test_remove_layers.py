"""Layers taken off inside `fit`."""

import keras
import numpy as np
import pytest

import tf_structprune as sp
from tests import zoo
from tests.tf_structprune.callbacks.stops import Killed, Stop
from tf_structprune.allocation import OutOfReachError
from tf_structprune.fuse import shortcuts_of

_L = keras.layers
PLACES = ("a", "b", "c")


def deep(l1=1e-2):
    """Three convolutions with shortcuts, of scales 1, 0.01 and 0.5."""
    inputs = keras.Input((6, 6, 2))
    x = _L.Conv2D(4, 3, padding="same", activation="relu", name="stem")(inputs)
    for name in PLACES:
        x = _L.ReLU()(_L.BatchNormalization()(_L.Conv2D(4, 3, padding="same", use_bias=False, name=name)(x)))
    x = _L.Dense(3, activation="softmax", name="classifier")(_L.GlobalAveragePooling2D()(x))
    model = zoo.randomize(keras.Model(inputs, x, name="deep"), 0)
    model = sp.residual_convolutions(model, l1=l1, carry=1.0)
    for name, scale in zip(PLACES, (1.0, 0.01, 0.5), strict=True):
        shortcuts_of(model)[name].scale.assign(scale)
    model.compile(keras.optimizers.SGD(1e-2), "sparse_categorical_crossentropy", jit_compile=False)
    return model


def fit(model, *callbacks, epochs=3, initial_epoch=0):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(32, 6, 6, 2)).astype(np.float32), rng.integers(0, 3, 32)
    settings = {"epochs": epochs, "initial_epoch": initial_epoch, "shuffle": False, "verbose": 0}
    history = model.fit(x, y, batch_size=16, callbacks=list(callbacks), **settings)
    return history.history, x


def is_on(model):
    return {name for name, shortcut in shortcuts_of(model).items() if shortcut.is_on}


LEFT = [
    ({"below": 0.2}, {"a", "c"}),
    ({"below": 0.7}, {"a"}),
    ({"below": 0.0}, set(PLACES)),
    ({"budget": "macs=0.8"}, {"a", "c"}),
    ({"budget": "parameters=0.5"}, {"a"}),
    ({"budget": "macs=1.0"}, set(PLACES)),
]


@pytest.mark.parametrize(("settings", "left"), LEFT)
def test_weakest_layers_go_when_it_is_time(settings, left):
    model, callback = deep(), sp.RemoveLayers(epoch=1, **settings)
    history, x = fit(model, callback)
    gone = len(PLACES) - len(left)
    assert history["layers_removed"] == [0, gone, gone]
    assert is_on(model) == left
    assert set(callback.removed) == set(PLACES) - left
    plain = sp.fuse_shortcuts(model)
    assert zoo.largest_difference(model, plain, x) < 1e-5
    assert {layer.name for layer in plain.layers if isinstance(layer, _L.Conv2D)} == {"stem", *left}


def test_layer_that_is_off_learns_nothing_more():
    model = deep(l1=0.0)
    fit(model, sp.RemoveLayers(epoch=0, below=0.2), epochs=1)
    before = {name: model.get_layer(name).get_weights()[0] for name in PLACES}
    fit(model, sp.RemoveLayers(epoch=0, below=0.0), epochs=2)
    same = {name for name in PLACES if np.array_equal(before[name], model.get_layer(name).get_weights()[0])}
    assert same == {"b"}


def test_which_are_off_is_saved(tmp_path):
    model = deep()
    fit(model, sp.RemoveLayers(epoch=0, below=0.2), epochs=1)
    model.save(tmp_path / "m.keras")
    assert is_on(keras.models.load_model(tmp_path / "m.keras")) == {"a", "c"}


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_killed_run_ends_as_the_whole_one(tmp_path, epoch):
    def run(*others):
        model = deep()
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
        fit(model, sp.RemoveLayers(epoch=2, budget="macs=0.8"), backup, *others, epochs=4)
        return model

    whole = deep()
    fit(whole, sp.RemoveLayers(epoch=2, budget="macs=0.8"), epochs=4)
    with pytest.raises(Killed):
        run(Stop(epoch))
    again = run()
    assert is_on(again) == is_on(whole) == {"a", "c"}
    for one, other in zip(whole.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_fit_that_begins_behind_the_epoch_takes_them_off_at_once():
    model, callback = deep(), sp.RemoveLayers(epoch=1, below=0.2)
    history, _ = fit(model, callback, epochs=4, initial_epoch=2)
    assert history["layers_removed"] == [1, 1]
    assert is_on(model) == {"a", "c"}
    assert callback.removed == ("b",)


def test_training_that_ends_before_it_takes_them_off_and_says_so(caplog):
    model = deep()
    with caplog.at_level("WARNING"):
        fit(model, sp.RemoveLayers(epoch=5, below=0.2), epochs=1)
    assert is_on(model) == {"a", "c"}
    assert "Training ended before epoch 5: 1 layers were taken off only now" in caplog.text


REFUSED = {
    "neither": (lambda: sp.RemoveLayers(epoch=1), TypeError, "Layers go below a scale or to a budget"),
    "both": (lambda: sp.RemoveLayers(epoch=1, below=0.1, budget="macs=0.5"), TypeError, "Give one of them"),
    "epoch": (lambda: sp.RemoveLayers(epoch=-1, below=0.1), ValueError, "epoch must be at least 0. Received: epoch=-1"),
    "half": (
        lambda: sp.RemoveLayers(epoch=0.5, below=1),
        ValueError,
        "epoch must be a whole number. Received: epoch=0.5",
    ),
    "nan": (
        lambda: sp.RemoveLayers(epoch=1, below=np.nan),
        ValueError,
        "below must be at least 0. Received: below=nan",
    ),
    "measured": (
        lambda: sp.RemoveLayers(epoch=1, budget="latency=0.5"),
        ValueError,
        "A budget of layers in fit is counted. Received: kind='latency'",
    ),
    "out of reach": (
        lambda: fit(deep(), sp.RemoveLayers(epoch=1, budget="macs=0.01")),
        OutOfReachError,
        "Budget 'macs' is not met without all layers that may go. Received: 1 %, and .* without 3 layers",
    ),
    "plain": (
        lambda: fit(sp.fuse_shortcuts(deep()), sp.RemoveLayers(epoch=1, below=0.1)),
        ValueError,
        "Model 'deep' has no shortcuts. Received: a plain model",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_makes_no_sense_is_refused(case):
    call, error, message = REFUSED[case]
    with pytest.raises(error, match=message):
        call()
