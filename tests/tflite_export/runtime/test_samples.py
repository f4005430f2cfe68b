import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from hypothesis import given
from hypothesis import strategies as st

from tflite_export.file import TensorDescription, open_file
from tflite_export.runtime import dequantize, model_inputs, quantize


def tensor(scale=0.5, zero_point=0, dtype="int8"):
    return TensorDescription("t", (1, 3), dtype, (scale,), (zero_point,), False)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [(0.5, 1), (-0.5, -1), (1.5, 2), (-1.5, -2), (2.5, 3), (0.49, 0), (1e9, 127), (-1e9, -128)],
)
def test_quantize_rounds_half_away_and_saturates(steps, expected):
    assert quantize([steps * 0.5], tensor()) == [expected]


@given(
    st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=20),
    st.sampled_from([2.0**-7, 0.0039, 0.1, 3.0]),
    st.integers(-128, 127),
)
def test_quantize_is_within_half_a_step_or_saturated(values, scale, zero_point):
    description = tensor(scale, zero_point)
    real = np.array(values, np.float32)
    low, high = dequantize(np.array([-128, 127], np.int8), description)
    error = np.abs(dequantize(quantize(real, description), description) - np.clip(real, low, high))
    assert (error <= scale * 0.501).all()


@given(st.integers(-128, 127), st.sampled_from([2.0**-7, 0.0039, 0.1]), st.integers(-128, 127))
def test_quantize_inverts_dequantize(value, scale, zero_point):
    integer = np.array([value], np.int8)
    description = tensor(scale, zero_point)
    np.testing.assert_array_equal(quantize(dequantize(integer, description), description), integer)


def test_quantize_equals_the_quantize_operator():
    rng = np.random.default_rng(0)
    calibration = rng.uniform(-3, 2, (50, 1, 64)).astype(np.float32)
    function = tf.function(lambda x: tf.abs(x) + x, input_signature=[tf.TensorSpec((1, 64), tf.float32)])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], tf.Module())
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([sample] for sample in calibration)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    data = converter.convert()
    description = open_file(data).description
    first = description.operators[0]
    assert first.name == "QUANTIZE"
    interpreter = Interpreter(
        model_content=data,
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    for sample in rng.uniform(-4, 3, (50, 1, 64)).astype(np.float32):
        interpreter.set_tensor(first.inputs[0], sample)
        interpreter.invoke()
        expected = interpreter.get_tensor(first.outputs[0])
        np.testing.assert_array_equal(quantize(sample, description.tensors[first.outputs[0]]), expected)


def test_dequantize_passes_floats_through():
    floats = np.array([1.5, -2.0], np.float32)
    np.testing.assert_array_equal(dequantize(floats, TensorDescription("f", (2,), "float32", (), (), False)), floats)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_quantize_refuses_what_is_not_finite(bad):
    with pytest.raises(ValueError, match=r"Tensor 't': values to quantize must be finite. Received: 1 NaN"):
        quantize([0.0, bad], tensor())


def test_quantize_refuses_per_channel_tensors():
    channels = TensorDescription("w", (2, 3), "int8", (0.1, 0.2), (0, 0), True)
    with pytest.raises(ValueError, match=r"Tensor 'w': must have one scale. Received: 2 scales"):
        quantize([0.0], channels)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float64, np.float16])
def test_model_inputs_take_any_number_type(int8_file, float_file, dtype):
    values = np.ones((3, 8, 8, 2), dtype)
    assert model_inputs(values, open_file(float_file).description).arrays[0].dtype == np.float32
    int8 = open_file(int8_file).description
    np.testing.assert_array_equal(model_inputs(values, int8).arrays[0], quantize(values, int8.inputs[0]))


def test_model_inputs_keep_integers_of_the_model(int8_file):
    values = np.full((2, 8, 8, 2), -7, np.int8)
    np.testing.assert_array_equal(model_inputs(values, open_file(int8_file).description).arrays[0], values)


@pytest.mark.parametrize("shape", [(8, 8, 2), (2, 8, 8, 1), (0, 8, 8, 2), (2, 128)], ids=str)
def test_model_inputs_refuse_another_shape(float_file, shape):
    with pytest.raises(ValueError, match=r"samples must have shape \(n, 8, 8, 2\) with n >= 1. Received: shape="):
        model_inputs(np.zeros(shape), open_file(float_file).description)


@pytest.mark.parametrize(
    ("function", "shapes", "message"),
    [
        (lambda a, b: a + b, [(1, 4), (1, 4)], r"The model has 2 inputs. Received: 1 arrays"),
        (lambda a: a + 1.0, [(2, 4)], r"batch size must be 1. Received: shape=\(2, 4\)"),
    ],
    ids=["two_inputs", "batch_of_two"],
)
def test_model_inputs_refuse_other_signatures(raw_file, function, shapes, message):
    with pytest.raises(ValueError, match=message):
        model_inputs(np.zeros((1, 4)), open_file(raw_file(function, *shapes)).description)
