import dataclasses
import json

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from tflite_export.file import MEMORY_NOTE, memory_table, open_file
from tflite_export.quantize import convert


@pytest.fixture(scope="module")
def files():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            keras.layers.Conv2D(6, 3, activation="relu"),
            keras.layers.DepthwiseConv2D(3),
            keras.layers.Flatten(),
            keras.layers.Dense(5, activation="softmax"),
        ]
    )
    rng = np.random.default_rng(2)  # no two tensors alike: the converter would store them once
    model.set_weights([rng.normal(size=weight.shape) for weight in model.get_weights()])
    data = np.random.default_rng(0).random((20, 8, 8, 2), np.float32)
    return {"float32": convert(model), "int8": convert(model, quantize="int8", representative_data=data)}


@pytest.mark.parametrize("kind, weight, bias", [("float32", 4, 4), ("int8", 1, 4)])
def test_flash_adds_up_to_the_file_and_counts_the_parameters(files, kind, weight, bias):
    table = memory_table(open_file(files[kind]), tflm_arena_bytes=None)
    flash = (table.weights_bytes, table.biases_bytes, table.other_bytes, table.overhead_bytes)
    assert sum(flash) == len(files[kind])
    assert table.weights_bytes == weight * (9 * 2 * 6 + 9 * 6 + 96 * 5)
    assert table.biases_bytes == bias * (6 + 6 + 5)
    assert 0 < table.other_bytes <= 16  # the shape of the flatten
    assert table.constants_by_operator == {
        "CONV_2D": weight * 9 * 2 * 6 + bias * 6,
        "DEPTHWISE_CONV_2D": weight * 9 * 6 + bias * 6,
        "FULLY_CONNECTED": weight * 96 * 5 + bias * 5,
        "RESHAPE": table.other_bytes,
    }


@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_parts_of_the_overhead_are_parts(files, kind):
    table = memory_table(open_file(files[kind]), tflm_arena_bytes=None)
    parts = (table.names_bytes, table.metadata_bytes, table.quantization_bytes)
    assert sum(parts) < table.overhead_bytes
    assert table.names_bytes > 0 and table.metadata_bytes > 0
    per_channel = 6 + 6 + 5  # scales and zero points of the weights, and again of the biases
    per_tensor = sum(len(tensor.scales) == 1 for tensor in open_file(files[kind]).description.tensors)
    assert table.quantization_bytes == (0 if kind == "float32" else 12 * (2 * per_channel + per_tensor))


def test_names_are_what_a_file_without_names_saves(files):
    parsed = schema.ModelT.InitFromPackedBuf(files["int8"])
    for tensor in parsed.subgraphs[0].tensors:
        tensor.name = b""
    stripped = bytes(flatbuffer_utils.convert_object_to_bytearray(parsed))
    packed = bytes(flatbuffer_utils.convert_object_to_bytearray(schema.ModelT.InitFromPackedBuf(files["int8"])))
    before, after = (memory_table(open_file(data), tflm_arena_bytes=None) for data in (packed, stripped))
    assert after.weights_bytes == before.weights_bytes and after.constants_by_operator == before.constants_by_operator
    saved = before.names_bytes - after.names_bytes
    # Strings are padded to a multiple of four bytes, and an empty one leaves its length field and NUL.
    assert abs((len(packed) - len(stripped)) - saved) <= 12 * len(parsed.subgraphs[0].tensors)


def test_shared_weights_are_stored_and_counted_once():
    shared = keras.layers.Dense(4, name="shared")
    inputs = keras.Input((4,))
    model = keras.Model(inputs, shared(keras.layers.ReLU()(shared(inputs))))
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(size=weight.shape) for weight in model.get_weights()])
    table = memory_table(open_file(convert(model)), tflm_arena_bytes=None)
    assert (table.weights_bytes, table.biases_bytes) == (64, 16)
    assert table.constants_by_operator == {"FULLY_CONNECTED": 80}


@pytest.mark.parametrize("arena", [None, 12_345])
def test_ram_is_what_was_given_and_computed(files, arena, tmp_path):
    (tmp_path / "model.tflite").write_bytes(files["int8"])
    table = memory_table(open_file(tmp_path / "model.tflite"), tflm_arena_bytes=arena)
    assert table.tflm_arena_bytes == arena
    assert table.activation_peak_bytes == 8 * 8 * 2 + 6 * 6 * 6
    assert json.loads(json.dumps(dataclasses.asdict(table))) == dataclasses.asdict(table)
    assert "measured on this host" in MEMORY_NOTE and "computed" in MEMORY_NOTE
