"""A real file, operator by operator: its costs sum to the file's, and its layers are found by their weights."""

import dataclasses

import keras
import numpy as np
import pytest

from tflite_export.file import TFLiteFile, activation_peak_bytes
from tflite_export.quantize import convert
from tflite_export.report import profile_of

_L = keras.layers


@pytest.fixture(scope="module")
def model():
    """Two layers of one shape beside each other, whose places in the file tell nothing."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 4))
    left = _L.Conv2D(4, 3, padding="same", activation="relu", name="left")(inputs)
    right = _L.Conv2D(4, 3, padding="same", activation="relu", name="right")(inputs)
    x = _L.DepthwiseConv2D(3, name="each")(_L.Add()([left, right]))
    return keras.Model(inputs, _L.Dense(3, name="classes")(_L.Flatten()(x)))


@pytest.fixture(scope="module")
def file(model):
    x = np.random.default_rng(0).normal(size=(20, 8, 8, 4)).astype(np.float32)
    return TFLiteFile(convert(model, quantize="int8", representative_data=x))


def rows(model):
    """The kernels, a row for each output, as Keras holds them."""
    found = {}
    for layer in model.layers:
        if layer.weights and layer.name != "each":
            kernel = np.asarray(layer.kernel)
            found[layer.name] = np.moveaxis(kernel, -1, 0).reshape(kernel.shape[-1], -1)
    each = np.asarray(model.get_layer("each").kernel)
    return found | {"each": each.reshape(9, 4).T}


def test_layers_are_found_by_their_weights(model, file):
    found = {operator.layer: operator for operator in profile_of(file, "file", rows(model)).operators}
    assert {"left", "right", "each", "classes"} <= set(found)
    swapped = rows(model) | {"left": rows(model)["right"], "right": rows(model)["left"]}
    other = {operator.layer: operator for operator in profile_of(file, "file", swapped).operators}
    assert found["left"] == dataclasses.replace(other["right"], layer="left")


def test_other_weights_are_no_layer(model, file):
    rng = np.random.default_rng(1)
    other = {name: rng.normal(size=kernel.shape) for name, kernel in rows(model).items() if name != "each"}
    assert {operator.layer for operator in profile_of(file, "file", other).operators} == {""}


def test_costs_sum_to_those_of_the_file(file):
    profile = profile_of(file, "file")
    description = file.description
    assert sum(operator.macs for operator in profile.operators) == description.macs
    assert profile.operators[profile.peak].live_bytes == activation_peak_bytes(description)
    parsed = file.parsed
    read = {index for operator in description.operators for index in operator.inputs if index >= 0}
    buffers = {parsed.subgraphs[0].tensors[index].buffer for index in read}
    stored = (parsed.buffers[buffer].data for buffer in buffers)
    assert sum(operator.weight_bytes for operator in profile.operators) == sum(len(d) for d in stored if d is not None)


def test_zeros_are_counted():
    model = keras.Sequential([keras.Input((4,)), _L.Dense(8, name="dense")])
    model.get_layer("dense").kernel.assign(np.eye(4, 8))
    (operator,) = profile_of(TFLiteFile(convert(model, quantize="none")), "file").operators
    assert operator.zeros == 1 - 4 / 32


def test_times_are_taken_where_each_operator_has_one(file):
    count = len(file.description.operators)
    assert {operator.time_us for operator in profile_of(file, "file", None, [2.0] * count).operators} == {2.0}
    assert {operator.time_us for operator in profile_of(file, "file", None, [2.0]).operators} == {None}
