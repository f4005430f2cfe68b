import keras
import numpy as np
import pytest

from tflite_export.file import open_file
from tflite_export.quantize import convert
from tflite_export.runtime import dequantize, run_litert


def softmax(scores):
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def test_softmax_of_the_scores_is_the_output(float_file, samples):
    scores = run_litert(open_file(float_file).scores, samples)
    np.testing.assert_allclose(softmax(scores), run_litert(float_file, samples), atol=1e-6)


def test_scores_of_an_int8_model_are_its_integers_before_the_softmax(int8_file, samples):
    shorter = open_file(int8_file).scores
    assert shorter.description.operators == open_file(int8_file).description.operators[:-1]
    scores = dequantize(run_litert(shorter, samples), shorter.description.outputs[0])
    output = dequantize(run_litert(int8_file, samples), open_file(int8_file).description.outputs[0])
    np.testing.assert_allclose(softmax(scores), output, atol=1 / 256)


def test_each_of_several_outputs_ends_before_its_softmax_unless_it_is_read_on():
    inputs = keras.Input((4,))
    kinds = keras.layers.Dense(3, activation="softmax", name="kinds")(inputs)
    sure = keras.layers.Dense(2, activation="sigmoid", name="sure")(inputs)
    again = keras.layers.Dense(2, name="again")(sure)
    file = open_file(convert(keras.Model(inputs, [again, kinds, sure])))
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    whole, scores = run_litert(file, x), run_litert(file.scores, x)
    np.testing.assert_allclose(scores[0], whole[0], atol=1e-6)
    np.testing.assert_allclose(softmax(scores[1]), whole[1], atol=1e-6)
    np.testing.assert_allclose(scores[2], whole[2], atol=1e-6)  # it is read, so it stays


@pytest.mark.parametrize("layers", [[keras.layers.Dense(3)], [keras.layers.Softmax()]], ids=["dense", "softmax_alone"])
def test_other_models_are_left_as_they_are(layers):
    data = convert(keras.Sequential([keras.Input((4,)), *layers]))
    file = open_file(data)
    assert file.scores is file
