"""Flash and arena as the cost of an allocation: measured, estimated near, and told."""

from functools import partial
from pathlib import Path

import keras
import numpy as np
import pytest

import tf_structprune as sp
import tflite_export as te
from tf_structprune.masks import kept_space
from tflite_export.bench import file_costs
from tflite_export.compress._allocate import flash_bytes, packed_arena_bytes
from tflite_export.file import TFLiteFile, open_file
from tflite_export.quantize import convert
from tflite_export.runtime import arena_bytes

SAMPLES = np.random.default_rng(0).random((10, 16, 16, 3), np.float32)
MANY = np.random.default_rng(1).random((40, 16, 16, 3), np.float32), np.arange(40) % 4


def network():
    """A sum, a branch that waits for it, and a wide end."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="first")(inputs)
    kept = layers.Conv2D(16, 3, padding="same", activation="relu", name="short")(x)
    x = layers.Conv2D(24, 3, padding="same", activation="relu", name="inner")(kept)
    x = layers.Conv2D(16, 3, padding="same", name="back")(x)
    x = layers.ReLU()(layers.Add()([kept, x]))
    x = layers.Conv2D(40, 3, strides=2, activation="relu", name="end")(x)
    return keras.Model(inputs, layers.Dense(4)(layers.GlobalAveragePooling2D()(x)), name="net")


@pytest.fixture(scope="module")
def masked():
    return sp.wrap(network(), granularity="feature_map")


@pytest.fixture(scope="module")
def costs(masked):
    pytest.importorskip("tflite_micro")
    return file_costs(masked, representative_data=SAMPLES)


def file_of(allocation):
    """The file of any masks of an allocation."""
    other = sp.wrap(network(), granularity="feature_map")
    sp.set_masks(other, kept_space(sp.trace(other), allocation.kept).sample(np.random.default_rng(5)))
    return TFLiteFile(convert(te.shrink(other).model, quantize="int8", representative_data=SAMPLES))


def test_costs_are_those_of_the_file(masked, costs):
    whole = TFLiteFile(convert(network(), quantize="int8", representative_data=SAMPLES))
    assert costs["arena"]({}) == arena_bytes(whole)
    assert abs(costs["flash"]({}) - len(whole.data)) < 400  # names of layers
    assert costs["arena"].estimate.names == tuple(group.name for group in sp.trace(masked).prunable_groups)


def test_flash_is_what_a_file_takes_packed_and_the_estimate_starts_from_it(masked):
    packed = partial(flash_bytes, how="lut")
    costs = file_costs(masked, representative_data=SAMPLES, kinds=["flash"], size=packed)
    plain = file_costs(masked, representative_data=SAMPLES, kinds=["flash"])
    whole = TFLiteFile(convert(network(), quantize="int8", representative_data=SAMPLES))
    assert costs["flash"]({}) == pytest.approx(packed(whole), abs=400)
    assert plain["flash"]({}) == len(costs["flash"].files.whole.data)
    sizes = {group.name: group.size for group in sp.trace(masked).prunable_groups}
    estimate = costs["flash"].estimate(np.array(list(sizes.values())))
    assert float(estimate) == pytest.approx(costs["flash"]({}))
    half = {name: size // 2 for name, size in sizes.items()}
    assert costs["flash"](half) < costs["flash"]({})


def test_both_costs_look_at_one_file(masked):
    pytest.importorskip("tflite_micro")
    made = []

    def make(model):
        made.append(model)
        return TFLiteFile(convert(model, quantize="int8", representative_data=SAMPLES))

    costs = file_costs(masked, make=make)
    for kept in ({}, {"inner": 5}):
        for cost in costs.values():
            cost(kept)
    assert len(made) == 2


@pytest.mark.parametrize("kind, share", [("flash", 0.15), ("arena", 0.1)])
def test_estimate_is_near(masked, costs, kind, share):
    sizes = {group.name: group.size for group in sp.trace(masked).prunable_groups}
    rng = np.random.default_rng(3)
    for _ in range(4):
        kept = {name: int(rng.integers(size // 4, size + 1)) for name, size in sizes.items()}
        estimate = float(costs[kind].estimate(np.array(list(kept.values()))))
        assert estimate == pytest.approx(costs[kind](kept), rel=share)


@pytest.mark.parametrize("method", ["uniform", "least_squares"])
def test_allocation_meets_both_in_the_file_that_is_made(masked, costs, method):
    whole = {kind: cost({}) for kind, cost in costs.items()}
    budgets = [sp.Budget("flash", limit=0.7 * whole["flash"]), "arena=75%"]
    found = sp.allocate(masked, budgets, validation_data=MANY, cost=costs, method=method)
    flash, arena = found.spent
    assert flash.after <= 0.7 * whole["flash"] and arena.after <= 0.75 * whole["arena"]
    file = file_of(found)
    assert abs(len(file.data) - flash.after) < 400 and arena_bytes(file) == arena.after
    assert max(flash.after / (0.7 * flash.before), arena.after / (0.75 * arena.before)) > 0.9


def test_arena_out_of_reach_says_what_lies_there(masked, costs):
    message = r"At the peak of the arena lie [\d,]+ bytes of layers that stay whole and inputs.* Use at least [\d,]+ by"
    with pytest.raises(ValueError, match=message):
        sp.allocate(masked, "arena=1KiB", validation_data=MANY, cost=costs["arena"], method="uniform")


def test_peak_is_told_by_group(costs):
    narrow = {"inner": 1}
    assert costs["arena"].why({}) == (
        "At the peak of the arena lie 8,192 bytes of group 'short' and 6,144 bytes of group 'inner'."
    )
    assert costs["arena"].why(narrow) == "At the peak of the arena lie 12,288 bytes of group 'short'."


def test_unknown_kind_is_refused(masked):
    with pytest.raises(ValueError, match=r"Unknown kind\. Received: kinds='ram'\. Use some of: flash, arena"):
        file_costs(masked, kinds=("ram",))


def test_packed_files_count_with_their_decoder_and_their_arena():
    file = open_file(Path(__file__).parents[3] / "benchmarks/results/resnet8_half/model_int8.tflite")
    packed = te.pack(file, "own")
    assert flash_bytes(file, "none") == len(file.data)
    assert flash_bytes(file, "own") == len(packed.file.data) + packed.code.least_bytes < len(file.data)
    with pytest.raises(ValueError, match="makes none of its weights smaller"):
        te.pack(file, "bitmap")
    assert flash_bytes(file, "bitmap") == len(file.data)  # handed over as it is
    pytest.importorskip("tflite_micro")
    assert packed_arena_bytes(file, "none") == arena_bytes(file) < packed_arena_bytes(file, "own")
