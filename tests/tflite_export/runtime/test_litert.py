import keras
import numpy as np
import pytest

from tflite_export.file import open_file
from tflite_export.quantize import convert
from tflite_export.runtime import dequantize, quantize, run_litert


@pytest.mark.parametrize("kernels", ["xnnpack", "reference"])
@pytest.mark.parametrize("threads", [1, 2])
def test_run_litert_computes_the_keras_model(cnn, float_file, samples, kernels, threads):
    outputs = run_litert(float_file, samples, kernels=kernels, threads=threads)
    np.testing.assert_allclose(outputs, np.asarray(cnn(samples)), atol=1e-6)


@pytest.mark.parametrize("kernels", ["xnnpack", "reference"])
def test_run_litert_gives_raw_integers(cnn, int8_file, samples, kernels):
    outputs = run_litert(int8_file, samples, kernels=kernels)
    assert outputs.dtype == np.int8
    real = dequantize(outputs, open_file(int8_file).description.outputs[0])
    np.testing.assert_allclose(real, np.asarray(cnn(samples)), atol=0.05)


def test_run_litert_quantizes_inputs(int8_file, samples):
    integers = quantize(samples, open_file(int8_file).description.inputs[0])
    np.testing.assert_array_equal(run_litert(int8_file, samples), run_litert(int8_file, integers))


def test_run_litert_runs_each_sample_alone(int8_file, samples):
    alone = [run_litert(int8_file, sample[None])[0] for sample in samples[:3]]
    np.testing.assert_array_equal(run_litert(int8_file, samples)[:3], alone)


def test_unknown_kernels_are_refused(float_file):
    with pytest.raises(ValueError, match=r"kernels must be one of \['reference', 'xnnpack'\]. Received: kernels='gpu'"):
        run_litert(float_file, [], kernels="gpu")


def test_zero_threads_are_refused(float_file):
    with pytest.raises(ValueError, match="threads must be at least 1. Received: threads=0"):
        run_litert(float_file, [], threads=0)


def test_signal_that_is_always_zero_is_named_with_what_helps():
    inputs = keras.Input((4, 4, 2))
    x = keras.layers.Conv2D(3, 1, activation="relu", bias_initializer=keras.initializers.Constant(-99), name="dead")(
        inputs
    )
    model = keras.Model(inputs, keras.layers.Conv2D(2, 1, name="behind")(x))
    samples = np.random.default_rng(0).normal(size=(8, 4, 4, 2)).astype("float32")
    data = convert(model, representative_data=samples, quantize="int8")
    with pytest.raises(ValueError, match=r"The signal '.*dead.*' is zero for all representative samples.*FixedPoint"):
        run_litert(data, samples)
