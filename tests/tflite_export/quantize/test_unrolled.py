"""Recurrent layers are exported step by step, with the same weights."""

import keras
import numpy as np
import pytest

from tflite_export.file import TFLiteFile
from tflite_export.quantize import convert
from tflite_export.quantize._unrolled import unrolled
from tflite_export.runtime import dequantize, run_litert

_L = keras.layers
X = np.random.default_rng(0).normal(size=(24, 6, 4)).astype(np.float32)
CELLS = {
    "lstm": lambda: _L.LSTM(5),
    "gru": lambda: _L.GRU(5, return_sequences=True),
    "simple": lambda: _L.SimpleRNN(5, go_backwards=True),
    "both ways": lambda: _L.Bidirectional(_L.LSTM(3)),
    "two ways": lambda: _L.Bidirectional(_L.GRU(3), merge_mode="sum", backward_layer=_L.GRU(3, go_backwards=True)),
}


def build(cell):
    keras.utils.set_random_seed(0)
    layers = [
        keras.Input((6, 4)),
        _L.Conv1D(5, 3, padding="same", activation="relu"),
        cell(),
        _L.Flatten(),
        _L.Dense(3),
    ]
    return keras.Sequential(layers)


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_steps_compute_the_same(cell):
    model = build(cell)
    flat = unrolled(model)
    np.testing.assert_allclose(flat.predict(X, verbose=0), model.predict(X, verbose=0), atol=1e-5)
    assert flat is not model and unrolled(flat) is flat


@pytest.mark.every(2)
@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_files_have_no_recurrent_operator_and_agree(cell):
    model = build(cell)
    wanted = model.predict(X, verbose=0)
    floats, integers = (TFLiteFile(convert(model, quantize=kind, representative_data=X)) for kind in ("none", "int8"))
    for file in (floats, integers):
        assert not {"WHILE", "UNIDIRECTIONAL_SEQUENCE_LSTM"} & set(file.description.operator_counts)
    np.testing.assert_allclose(run_litert(floats, X), wanted, atol=1e-4)
    found = dequantize(run_litert(integers, X), integers.description.outputs[0])
    assert np.abs(found - wanted).max() < 0.1 * np.ptp(wanted)


def test_model_without_recurrence_is_left_as_it_is():
    model = keras.Sequential([keras.Input((4,)), _L.Dense(3)])
    assert unrolled(model) is model
