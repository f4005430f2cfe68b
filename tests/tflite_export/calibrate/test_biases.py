"""Corrected biases bring the mean of every channel back to what it is in floats."""

import keras
import numpy as np
import pytest

from tf_structprune.task import Samples
from tflite_export.calibrate import calibrate
from tflite_export.calibrate._biases import can_correct, correct_biases
from tflite_export.calibrate._signals import twins
from tflite_export.calibrate._weighted import weighted
from tflite_export.file import TFLiteFile, giving
from tflite_export.quantize import convert
from tflite_export.runtime import dequantize, run_litert

_L = keras.layers
LAYERS = {
    "conv": lambda: _L.Conv2D(6, 3, padding="same"),
    "strided": lambda: _L.Conv2D(6, 3, strides=2, activation="relu"),
    "dilated": lambda: _L.Conv2D(6, 3, dilation_rate=2),
    "grouped": lambda: _L.Conv2D(6, 3, groups=2),
    "depthwise": lambda: _L.DepthwiseConv2D(3, depth_multiplier=2, padding="same"),
    "transposed": lambda: _L.Conv2DTranspose(6, 3, strides=2, padding="same", activation="relu"),
    "dense": lambda: _L.Dense(6),
}


def files_of(layer):
    """Both files of a network with that layer, whose weights all round up by a little less than half of a step."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((8, 8, 4)), _L.ReLU(), layer, _L.Dense(3)])
    for each in model.layers[1:]:
        kernel, *bias = each.get_weights()
        steps = np.random.default_rng(1).integers(-100, 100, kernel.shape) + 0.55
        steps.reshape(-1)[: 40 * kernel.shape[-1]][:: max(kernel.shape[-1], 1)] = 127
        each.set_weights([steps * 0.01, *(one + 0.3 for one in bias)])
    x = np.abs(np.random.default_rng(2).normal(size=(32, 8, 8, 4))).astype(np.float32)
    int8 = TFLiteFile(convert(model, quantize="int8", representative_data=x))
    return int8, TFLiteFile(convert(model)), Samples((x,))


def channel_means(file, index, samples):
    found = run_litert(giving(file, [index]), samples)
    real = dequantize(found, file.description.tensors[index])
    return real.reshape(-1, real.shape[-1]).mean(axis=0)


@pytest.mark.parametrize("name", LAYERS)
def test_means_of_channels_come_back(name):
    int8, in_float, samples = files_of(LAYERS[name]())
    known = twins(int8.description, in_float.description)
    corrected = correct_biases(int8, in_float, samples, known)
    for each in weighted(int8.description):
        wanted = channel_means(in_float, known[each.made], samples)
        before = np.abs(channel_means(int8, each.made, samples) - wanted).max()
        after = np.abs(channel_means(corrected, each.made, samples) - wanted).max()
        step = int8.description.tensors[each.made].scales[0]
        assert after < max(before / 3, step / 8)


def test_a_bias_that_two_layers_share_becomes_two():
    keras.utils.set_random_seed(0)
    shared = _L.Conv2D(4, 3, padding="same")
    inputs = keras.Input((8, 8, 4))
    model = keras.Model(inputs, _L.Dense(3)(shared(_L.ReLU()(shared(inputs)))))
    shared.set_weights([shared.get_weights()[0], np.full(4, 0.1)])
    x = np.random.default_rng(2).normal(size=(32, 8, 8, 4)).astype(np.float32)
    int8, in_float = TFLiteFile(convert(model, quantize="int8", representative_data=x)), TFLiteFile(convert(model))
    known = twins(int8.description, in_float.description)
    corrected = correct_biases(int8, in_float, Samples((x,)), known)
    biases = [each.bias for each in weighted(corrected.description)]
    assert len(set(biases)) == 3
    assert not np.array_equal(corrected.constants[biases[0]], corrected.constants[biases[1]])


def test_a_channel_without_weights_keeps_its_bias():
    keras.utils.set_random_seed(0)
    conv = _L.Conv2D(3, 3, padding="same", activation="relu")
    model = keras.Sequential([keras.Input((8, 8, 4)), _L.Conv2D(4, 1, activation="relu"), conv, _L.Dense(2)])
    kernel, _ = conv.get_weights()
    kernel[..., 1] = 0
    conv.set_weights([kernel, np.array([0.1, 0.7, -0.2])])
    x = np.random.default_rng(2).laplace(size=(32, 8, 8, 4)).astype(np.float32)
    int8, in_float = TFLiteFile(convert(model, quantize="int8", representative_data=x)), TFLiteFile(convert(model))
    found = calibrate(int8, in_float, Samples((x,))).file
    (layer,) = [each for each in weighted(found.description) if found.description.tensors[each.weights].shape[0] == 3]
    assert channel_means(found, layer.made, Samples((x,)))[1] == pytest.approx(0.7, abs=0.02)


def test_files_that_are_not_one_sample_after_the_other_are_left():
    inputs = keras.Input((4, 3))
    rows = _L.Lambda(lambda x: keras.ops.reshape(x, (4, 3)), output_shape=(3,))(inputs)
    model = keras.Model(inputs, _L.Dense(2)(rows))
    assert not can_correct(TFLiteFile(convert(model)))
