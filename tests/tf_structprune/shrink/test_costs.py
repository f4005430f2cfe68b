"""What an allocation counts is what the shrunk model, and its int8 file, have."""

import keras
import numpy as np
import pytest

import tf_structprune as sp
from tests import zoo
from tests.junctions import JUNCTIONS
from tf_structprune.allocation import Budget, Choices, CountedCost
from tf_structprune.graph import trace, weight_shapes
from tf_structprune.masks import kept_space
from tf_structprune.shrink import shrink
from tflite_export.file import memory_table, open_file
from tflite_export.quantize import convert

MODELS = {name: lambda name=name: zoo.build(name) for name in zoo.ZOO} | JUNCTIONS


def counts(masked, graph, kept):
    weights = weight_shapes(masked, graph)
    return {
        kind: int(CountedCost.of(Budget(kind, 1), graph, weights)(kept)) for kind in ("macs", "parameters", "bytes")
    }


def allocated(model, seed):
    """A masked model with random numbers of units in each group, its graph and these numbers."""
    masked = sp.wrap(model, granularity="feature_map")
    graph, rng = trace(masked), np.random.default_rng(seed)
    choices = Choices.of(graph)
    steps = rng.integers(0, choices.most + 1)
    sp.set_masks(masked, kept_space(graph, choices.by_name(steps)).sample(rng), graph=graph)
    return masked, graph, choices.kept(steps)


@pytest.mark.parametrize("name", MODELS)
def test_counts_are_those_of_the_shrunk_model(name):
    model = MODELS[name]()
    graph = trace(model)
    if not graph.prunable_groups:
        assert int(CountedCost.of(Budget("parameters", 1), graph, weight_shapes(model, graph))(np.zeros(0, int))) == (
            model.count_params()
        )
        return
    masked, graph, kept = allocated(model, seed=len(name))
    small = shrink(masked).model
    predicted = counts(masked, graph, kept)
    assert predicted["macs"] == trace(small).macs
    assert predicted["parameters"] == small.count_params()
    whole = np.array([group.size for group in graph.prunable_groups])
    assert counts(masked, graph, whole)["macs"] == trace(model).macs
    assert counts(masked, graph, whole)["parameters"] == model.count_params()


@pytest.mark.parametrize("name", ["chain", "batch_norm_chain", "flatten_head", "residual_twice"])
def test_bytes_are_those_of_the_weights_and_biases_in_the_int8_file(name):
    masked, graph, kept = allocated(zoo.build(name), seed=3)
    file = convert(shrink(masked).model, quantize="int8", representative_data=zoo.batch(20))
    table = memory_table(open_file(file), tflm_arena_bytes=None)
    assert counts(masked, graph, kept)["bytes"] == table.weights_bytes + table.biases_bytes


def test_separable_and_depthwise_parts_have_biases_of_their_own_in_a_file():
    inputs = keras.Input((8, 8, 2))
    x = keras.layers.Conv2D(5, 3, name="first")(inputs)
    x = keras.layers.DepthwiseConv2D(3, activation="relu")(x)
    x = keras.layers.SeparableConv2D(6, 3, activation="relu", name="separable")(x)
    outputs = keras.layers.Dense(3, name="classifier")(keras.layers.GlobalAveragePooling2D()(x))
    masked, graph, kept = allocated(zoo.randomize(keras.Model(inputs, outputs)), seed=1)
    file = convert(shrink(masked).model, quantize="int8", representative_data=zoo.batch(20))
    table = memory_table(open_file(file), tflm_arena_bytes=None)
    assert counts(masked, graph, kept)["bytes"] == table.weights_bytes + table.biases_bytes
