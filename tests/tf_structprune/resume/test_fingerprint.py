"""Fingerprints tell runs apart, and are the same in every process."""

import keras
import numpy as np
import pytest

import tf_structprune as sp
from tests import zoo
from tf_structprune.resume import differences, digest, identity, wiring


class Cubic:
    """A schedule as tfmot has them: an object with a configuration."""

    def __init__(self, power):
        self.power = power

    def get_config(self):
        return {"power": self.power}


def some_score(y_true, y_pred):
    return 0.0


SETTINGS = {
    "none": None,
    "number": 0.5,
    "text": "mcr",
    "search": sp.search.BestOfN(3),
    "other search": sp.search.BestOfN(4),
    "random": sp.search.RandomMask(),
    "schedule": sp.schedule.Gradual(3),
    "function": some_score,
    "object": Cubic(3),
    "other object": Cubic(2),
    "metric": keras.metrics.SparseTopKCategoricalAccuracy(2, name="m"),
    "other metric": keras.metrics.SparseTopKCategoricalAccuracy(3, name="m"),
    "several": (0.5, {"kernel": 0.25}),
    "budget": sp.Budget("macs", 0.5),
    "array": np.arange(3),
}


def test_identities_of_different_settings_differ():
    assert len({identity(setting) for setting in SETTINGS.values()}) == len(SETTINGS)


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_identity_has_no_address(setting):
    assert " at 0x" not in identity(setting)


def test_equal_settings_have_one_identity():
    assert identity(Cubic(3)) == identity(Cubic(3))
    assert identity(sp.search.BestOfN(3)) == identity(sp.search.BestOfN(3))


def test_digest_tells_values_shapes_and_types_apart():
    a = np.arange(6, dtype=np.int32)
    parts = [a, a.reshape(2, 3), a.astype(np.int64), a + 1, [a, a], {"x": a, "y": a + 1}, np.float32(a)]
    assert len({digest(part) for part in parts}) == len(parts)
    assert digest(a[::2]) == digest(np.ascontiguousarray(a[::2]))


def test_wiring_ignores_weights_unless_given():
    first, again, other = zoo.build("chain"), zoo.build("chain"), zoo.build("residual_twice")
    before = wiring(first)
    first.set_weights([weight + 1 for weight in first.get_weights()])
    assert wiring(first) == before == wiring(again) != wiring(other)
    assert wiring(first, first.get_weights()) != wiring(again, again.get_weights())


def test_wiring_counts_names_where_asked():
    first, again = zoo.build("chain"), zoo.build("chain")  # Keras names the nameless layers of the second anew
    assert wiring(first, names=True) != wiring(again, names=True)
    assert wiring(first, names=True) == wiring(first, names=True)


@pytest.mark.parametrize("change", [{"size": 5}, {"activation": "tanh"}, {"filters": 4}], ids=str)
def test_wiring_tells_settings_of_layers_apart(change):
    def build(filters=6, size=3, activation="relu"):
        inputs = keras.Input(zoo.INPUT_SHAPE)
        return keras.Model(inputs, zoo.conv(inputs, filters, size, activation=activation))

    assert wiring(build()) == wiring(build()) != wiring(build(**change))


def test_wiring_tells_connections_apart():
    def build(swapped):
        inputs = keras.Input(zoo.INPUT_SHAPE)
        a, b = zoo.conv(inputs, 4), zoo.conv(inputs, 4, 5)
        return keras.Model(inputs, keras.layers.Subtract()([b, a] if swapped else [a, b]))

    assert wiring(build(False)) == wiring(build(False)) != wiring(build(True))


@pytest.mark.parametrize("found", [None, [], {}, "x"])
def test_differences_bear_anything(found):
    assert differences(found, {"a": 1, "b": 2}) == ["a", "b"]
