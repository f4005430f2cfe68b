"""Latency as the cost of an allocation."""

import keras
import numpy as np
import pytest

import tf_structprune as sp
from tests.devices import ByMacs
from tflite_export.bench import latency_cost
from tflite_export.devices import HOST


@pytest.fixture(scope="module")
def masked():
    keras.utils.set_random_seed(0)
    layers = keras.layers
    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="first")(inputs)
    x = layers.Conv2D(64, 3, padding="same", activation="relu", name="wide")(x)
    x = layers.Conv2D(32, 3, padding="same", activation="relu", name="next")(x)
    outputs = layers.Dense(4, name="classifier")(layers.GlobalAveragePooling2D()(x))
    return sp.wrap(keras.Model(inputs, outputs, name="net"), granularity="feature_map")


WHOLE = {"wide": 64, "next": 32}
SAMPLES = np.random.default_rng(0).random((10, 16, 16, 3), np.float32)


@pytest.mark.parametrize("quantize", ["none", "int8"])
def test_fewer_channels_cost_less_and_leave_the_model_as_it_was(masked, quantize):
    before = sp.get_masks(masked)
    cost = latency_cost(masked, device=ByMacs(), quantize=quantize, representative_data=SAMPLES)
    assert 0 < cost({"wide": 8, "next": 8}) < cost(WHOLE)
    assert sp.get_masks(masked).equals(before)


def test_device_that_slows_down_makes_no_difference(masked):
    graph, device = sp.trace(masked), ByMacs(drift=1.0)
    cost = latency_cost(masked, device=device, runs=7)
    macs = {"wide": 16 * 16 * 9 * (8 * 16 + 16 * 32), "whole": 16 * 16 * 9 * (8 * 64 + 64 * 32)}
    rest = graph.macs - macs["whole"]
    assert cost({"wide": 16, "next": 32}) == pytest.approx(rest + macs["wide"])
    assert device.calls == [(1, 7), (2, 7)]


def test_counts_are_measured_once(masked):
    device = ByMacs()
    cost = latency_cost(masked, device=device)
    assert cost({"wide": 16}) == cost({"next": 32, "wide": 16})
    assert cost(WHOLE) == cost({})
    assert len(device.calls) == 2


def test_allocation_meets_a_measured_budget(masked):
    cost = latency_cost(masked, device=ByMacs())
    x, y = SAMPLES, np.arange(10) % 4
    found = sp.allocate(masked, sp.Budget("latency", 0.7), validation_data=(x, y), cost=cost, levels=2)
    assert found.cost_before == cost(WHOLE)
    assert found.cost_after == cost(found.kept) <= 0.7 * found.cost_before


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"runs": 0}, r"runs must be at least 1\. Received: runs=0"),
        ({"quantize": "int8"}, r"quantize='int8' needs representative_data\. Received: None"),
        ({"quantize": "int4"}, r"quantize must be one of 'none', 'int8', .* Received: quantize='int4'"),
    ],
)
def test_wrong_settings_are_refused_at_once(masked, settings, message):
    with pytest.raises(ValueError, match=message):
        latency_cost(masked, **settings)


@pytest.mark.parametrize(
    "kept, message",
    [
        ({"wide": 0}, r"Group 'wide': cannot keep that many of its 64 units"),
        ({"other": 3}, r"no channel group of th"),
    ],
)
def test_counts_that_no_group_can_keep_are_refused(masked, kept, message):
    with pytest.raises(ValueError, match=message):
        latency_cost(masked, device=ByMacs())(kept)


def test_this_machine_is_timed_unless_told_otherwise(masked):
    assert latency_cost.__kwdefaults__["device"] is HOST
    assert latency_cost(masked, runs=1)(WHOLE) > 0
