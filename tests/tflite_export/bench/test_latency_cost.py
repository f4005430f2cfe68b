"""Latency as the cost of an allocation."""

import keras
import numpy as np
import pytest

import tf_structprune as sp
from tflite_export.bench import _latency_cost, latency_cost
from tflite_export.runtime import describe


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
def test_fewer_channels_take_less_time(masked, quantize):
    before = sp.get_masks(masked)
    cost = latency_cost(masked, quantize=quantize, representative_data=SAMPLES, runs=60)
    assert 0 < cost({"wide": 8, "next": 8}) < cost(WHOLE)
    assert sp.get_masks(masked).equals(before)


@pytest.fixture
def timed(monkeypatch):
    """Replaces the clock: a file takes as many microseconds as it has MACs; gives the calls."""
    calls = []

    def latencies(models, *, threads, runs, warmup):
        calls.append((len(models), threads, runs))
        drift = 1 + len(calls)
        return np.array([[drift * describe(model).macs] * runs for model in models], float)

    monkeypatch.setattr(_latency_cost, "latencies_us", latencies)
    return calls


def test_machine_that_slows_down_makes_no_difference(masked, timed):
    graph = sp.trace(masked)
    cost = latency_cost(masked, threads=2, runs=7)
    macs = {"wide": 16 * 16 * 9 * (8 * 16 + 16 * 32), "whole": 16 * 16 * 9 * (8 * 64 + 64 * 32)}
    rest = graph.macs - macs["whole"]
    assert cost({"wide": 16, "next": 32}) == pytest.approx(2 * (rest + macs["wide"]))
    assert timed == [(1, 2, 7), (2, 2, 7)]


def test_counts_are_measured_once(masked, timed):
    cost = latency_cost(masked)
    assert cost({"wide": 16}) == cost({"next": 32, "wide": 16})
    assert cost(WHOLE) == cost({})
    assert len(timed) == 2


def test_allocation_meets_a_measured_budget(masked):
    cost = latency_cost(masked, runs=40)
    x, y = SAMPLES, np.arange(10) % 4
    found = sp.allocate(masked, sp.Budget("latency", 0.7), validation_data=(x, y), cost=cost, levels=2)
    assert found.cost_before == cost(WHOLE)
    assert found.cost_after == cost(found.kept) <= 0.7 * found.cost_before


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"runs": 0}, r"runs must be at least 1 and warmup at least 0\. Received: runs=0"),
        ({"quantize": "int8"}, r"quantize='int8' needs representative_data\. Received: None"),
        ({"quantize": "int4"}, r"quantize must be 'none' or 'int8'\. Received: quantize='int4'"),
        ({"threads": 0}, r"threads"),
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
def test_counts_that_no_group_can_keep_are_refused(masked, timed, kept, message):
    with pytest.raises(ValueError, match=message):
        latency_cost(masked)(kept)
