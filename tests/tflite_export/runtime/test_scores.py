import keras
import numpy as np
import pytest

from tflite_export.quantize import convert
from tflite_export.runtime import dequantize, describe, run_litert, without_softmax


def softmax(scores):
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def test_softmax_of_the_scores_is_the_output(float_file, samples):
    scores = run_litert(without_softmax(float_file), samples)
    np.testing.assert_allclose(softmax(scores), run_litert(float_file, samples), atol=1e-6)


def test_scores_of_an_int8_model_are_its_integers_before_the_softmax(int8_file, samples):
    shorter = without_softmax(int8_file)
    assert describe(shorter).operators == describe(int8_file).operators[:-1]
    scores = dequantize(run_litert(shorter, samples), describe(shorter).outputs[0])
    output = dequantize(run_litert(int8_file, samples), describe(int8_file).outputs[0])
    np.testing.assert_allclose(softmax(scores), output, atol=1 / 256)


@pytest.mark.parametrize("layers", [[keras.layers.Dense(3)], [keras.layers.Softmax()]], ids=["dense", "softmax_alone"])
def test_other_models_are_left_as_they_are(layers):
    data = convert(keras.Sequential([keras.Input((4,)), *layers]))
    assert without_softmax(data) == data
