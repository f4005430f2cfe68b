"""What an allocation counts is what the int8 file of the shrunk model has."""

import keras
import pytest

from tests import zoo
from tests.allocated import allocated, counts
from tf_structprune.shrink import shrink
from tflite_export.file import memory_table, open_file
from tflite_export.quantize import convert


@pytest.mark.parametrize("name", ["batch_norm_chain", "flatten_head"])
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
