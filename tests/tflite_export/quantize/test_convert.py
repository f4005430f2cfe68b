import gc
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from tflite_export.file import open_file
from tflite_export.quantize import _convert, call_model, convert, convert_both, float32_model
from tflite_export.runtime import dequantize, real_outputs, run_litert

SELDOM = pytest.mark.sweep
POLICIES = ["float32", "mixed_float16", *(pytest.param(name, marks=SELDOM) for name in ("mixed_bfloat16", "float16"))]


@pytest.mark.parametrize("policy", POLICIES)
def test_float_file_computes_the_float32_model(build, samples, policy):
    model = build(policy)
    data = convert(model)
    assert {tensor.dtype for tensor in open_file(data).description.tensors} <= {"float32", "int32"}
    expected = np.asarray(float32_model(model)(samples))
    np.testing.assert_allclose(run_litert(data, samples), expected, atol=1e-6)


@pytest.mark.parametrize("policy", POLICIES)
def test_int8_file_is_integer_throughout_and_close_to_keras(build, samples, policy):
    model = build(policy)
    data = convert(model, quantize="int8", representative_data=samples)
    description = open_file(data).description
    # Biases are int32; nothing is left in floating point, no QUANTIZE at the ends.
    assert {tensor.dtype for tensor in description.tensors} <= {"int8", "int32"}
    assert not {"QUANTIZE", "DEQUANTIZE"} & set(description.operator_names)
    assert (description.inputs[0].dtype, description.outputs[0].dtype) == ("int8", "int8")
    real = dequantize(run_litert(data, samples), description.outputs[0])
    np.testing.assert_allclose(real, np.asarray(float32_model(model)(samples)), atol=0.05)


@pytest.mark.parametrize("quantize", ["none", "int8"])
def test_batch_is_one_and_batch_norm_is_folded(build, samples, quantize):
    description = open_file(convert(build(), quantize=quantize, representative_data=samples)).description
    assert description.inputs[0].shape == (1, 8, 8, 2)
    assert description.operator_counts == {
        "ADD": 1,
        "CONV_2D": 2,
        "FULLY_CONNECTED": 1,
        "MAX_POOL_2D": 1,
        "RESHAPE": 1,
        "SOFTMAX": 1,
    }


@pytest.mark.parametrize("dtype", [np.float64, np.uint8])
def test_representative_data_are_cast(build, dtype):
    integers = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 2))
    expected = convert(build(), quantize="int8", representative_data=integers.astype(np.float32))
    assert convert(build(), quantize="int8", representative_data=integers.astype(dtype)) == expected


_CONVERT_AGAIN = """
import sys
import keras
import numpy as np
from tflite_export.quantize import convert
keras.layers.Conv2D(3, 3)  # moves Keras's counters of names
model = keras.models.load_model(sys.argv[1])
data = convert(model, quantize="int8", representative_data=np.load(sys.argv[2]))
open(sys.argv[3], "wb").write(data)
"""


@pytest.mark.sweep
def test_same_model_and_data_give_the_same_bytes_in_another_process(build, samples, tmp_path):
    model = build()
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "samples.npy", samples)
    paths = [str(tmp_path / name) for name in ("model.keras", "samples.npy", "again.tflite")]
    environment = os.environ | {"PYTHONHASHSEED": "7", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-c", _CONVERT_AGAIN, *paths], env=environment, check=True)
    first = convert(model, quantize="int8", representative_data=samples)
    assert first == convert(model, quantize="int8", representative_data=samples)
    assert first == (tmp_path / "again.tflite").read_bytes()


BOTH = {
    "int8": {"quantize": "int8"},
    "int8, least error": {"quantize": "int8", "calibration": "mse"},
    "int16x8, least error": {"quantize": "int16x8", "calibration": "mse"},
    "dynamic": {"quantize": "dynamic"},
}


@pytest.mark.parametrize("how", BOTH.values(), ids=BOTH)
def test_both_files_are_those_that_are_made_one_by_one(build, samples, how, monkeypatch):
    model, how = build(), how | {"representative_data": samples}
    expected = convert(model), convert(model, **how)
    saved, save = [], _convert._save
    monkeypatch.setattr(_convert, "_save", lambda *given: saved.append(save(*given)))
    assert convert_both(model, **how) == expected
    assert len(saved) == 1


def test_both_files_are_refused_as_one_is(build):
    with pytest.raises(ValueError, match="quantize='int8' needs representative_data. Received: None"):
        convert_both(build(), quantize="int8")


@pytest.mark.parametrize("quantize", ["none", "int8"])
def test_convert_leaves_the_model_as_it_was(build, samples, quantize):
    model = build("mixed_float16")
    config, weights = model.get_config(), model.get_weights()
    convert(model, quantize=quantize, representative_data=samples)
    assert model.get_config() == config
    assert all(np.array_equal(new, old) for new, old in zip(model.get_weights(), weights, strict=True))


def test_convert_frees_its_graphs(build):
    def graphs():
        gc.collect()
        return sum(isinstance(item, tf.Graph) for item in gc.get_objects())

    model = build()
    convert(model)
    before = graphs()
    for _ in range(3):
        convert(model)
    assert graphs() <= before


def test_convert_writes_nothing_to_the_terminal(build, samples, capfd):
    model = build("mixed_float16")
    capfd.readouterr()
    convert(model, quantize="int8", representative_data=samples)
    assert capfd.readouterr() == ("", "")


def test_convert_gives_stderr_back_after_an_error(samples, capfd):
    model = keras.Sequential([keras.Input((8, 8, 2)), keras.layers.Lambda(tf.linalg.det, name="det")])
    with pytest.raises(ValueError):
        convert(model)
    os.write(2, b"still here")
    assert capfd.readouterr().err == "still here"


def test_operator_outside_the_builtins_is_named():
    model = keras.Sequential([keras.Input((3, 3)), keras.layers.Lambda(tf.linalg.inv)], name="inverse")
    message = r"Model 'inverse': TFLite's builtin operators cannot express it. Received: tf.MatrixInverse"
    with pytest.raises(ValueError, match=message):
        convert(model)


@pytest.mark.parametrize("quantize", ["none", "int8"])
def test_variables_and_layers_that_a_lambda_found_by_itself_are_converted(quantize):
    factors = tf.Variable(np.float32([2, -3]))
    dense = keras.layers.Dense(2)
    dense.build((None, 2))
    model = keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: dense(x * factors))], name="closure")
    x = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
    file = open_file(convert(model, quantize=quantize, representative_data=x))
    expected = np.asarray(model(x))
    (found,) = real_outputs(run_litert(file, x), file.description)
    np.testing.assert_allclose(found, expected, atol=(1e-6 if quantize == "none" else 0.05) * np.abs(expected).max())


class Applied:
    """A function that hides what it reads."""

    def __init__(self, function):
        self.function = function

    def get_config(self):
        return {}

    def __call__(self, x):
        return self.function(tf.cast(x, tf.int64))


def test_what_tensorflow_cannot_save_is_refused_in_one_line():
    words = tf.lookup.KeyValueTensorInitializer([0, 1], [5.0, 6.0], tf.int64, tf.float32)
    look_up = tf.lookup.StaticHashTable(words, 0.0).lookup
    model = keras.Sequential([keras.Input((2,)), keras.layers.Lambda(Applied(look_up))], name="m")
    with pytest.raises(ValueError, match=r"Model 'm': TensorFlow cannot save what it computes. Received: Tried to .*"):
        convert(model)


def test_another_backend_is_refused(build, monkeypatch):
    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    with pytest.raises(RuntimeError, match="Received: KERAS_BACKEND=jax. Save the model .*KERAS_BACKEND=tensorflow"):
        convert(build())


def test_calibration_by_error_errs_less_than_by_the_largest_value(build, samples):
    model, samples = build(), samples * np.linspace(0.05, 1, len(samples), dtype=np.float32).reshape(-1, 1, 1, 1) ** 4
    files = [
        open_file(convert(model, quantize="int8", representative_data=samples, calibration=each))
        for each in ("minmax", "mse")
    ]
    assert files[0].data == convert(model, quantize="int8", representative_data=samples)
    scores = [
        real_outputs(run_litert(each.scores, samples), each.scores.description)[0]
        for each in (open_file(convert(model)), *files)
    ]
    errors = [np.square(found - scores[0]).mean() for found in scores[1:]]
    assert errors[1] < errors[0]


def test_calibration_keeps_several_inputs_and_outputs_in_order():
    inputs = [keras.Input((4,), name=name) for name in ("wide", "small")]
    wide, small = (keras.layers.Dense(3, activation="relu")(each) for each in inputs)
    model = keras.Model(inputs, [keras.layers.Dense(2)(small), keras.layers.Dense(1)(wide)])
    x = [np.random.default_rng(0).normal(0, scale, (50, 4)).astype(np.float32) for scale in (5, 0.1)]
    file = open_file(convert(model, quantize="int8", representative_data=x, calibration="mse"))
    found = real_outputs(run_litert(file, x), file.description)
    for each, wanted in zip(found, model.predict(x, verbose=0), strict=True):
        np.testing.assert_allclose(each, wanted, atol=0.05 * np.abs(wanted).max())


def test_unknown_calibration_is_refused(build, samples):
    with pytest.raises(ValueError, match="calibration must be 'mse' or 'minmax'. Received: calibration='max'."):
        convert(build(), quantize="int8", representative_data=samples, calibration="max")


def test_unknown_format_is_refused(build):
    with pytest.raises(ValueError, match="quantize must be one of 'none', 'int8', .* Received: quantize='int4'"):
        convert(build(), quantize="int4")


def test_tokens_with_signals_of_16_bits_are_refused():
    words = keras.Sequential([keras.Input((5,), dtype="int32", name="words"), keras.layers.Embedding(9, 2)], name="m")
    with pytest.raises(ValueError, match="takes no integers .* Received: inputs .words. of model .m.\\. Use quantize"):
        convert(words, quantize="int16x8", representative_data=np.ones((4, 5), np.int32))


def test_int8_without_data_is_refused(build):
    with pytest.raises(ValueError, match="quantize='int8' needs representative_data. Received: None"):
        convert(build(), quantize="int8")


def samples_with(value):
    data = np.zeros((5, 8, 8, 2))
    data[3, 0, 0, 0] = value
    return data


BAD_DATA = {
    "one_sample_without_batch": (np.zeros((8, 8, 2)), ValueError, r"shape \(n, 8, 8, 2\).*Received: shape=\(8, 8, 2\)"),
    "channels": (np.zeros((4, 8, 8, 3)), ValueError, r"Received: shape=\(4, 8, 8, 3\)"),
    "empty": (np.zeros((0, 8, 8, 2)), ValueError, r"n >= 1.*Received: shape=\(0, 8, 8, 2\)"),
    "nan": (samples_with(np.nan), ValueError, "representative_data must be finite. Received: 1 NaN.*in sample 3"),
    "infinite": (samples_with(np.inf), ValueError, "must be finite. Received: 1 NaN or infinite"),
    "strings": (np.array(["a", "b"]), TypeError, "must be an array of numbers. Received: dtype=<U1"),
    "objects": (np.array([None, 1]), TypeError, "must be an array of numbers. Received: dtype=object"),
}


@pytest.mark.parametrize("name", BAD_DATA)
def test_bad_representative_data_are_refused(build, name):
    data, error, message = BAD_DATA[name]
    with pytest.raises(error, match=message):
        convert(build(), quantize="int8", representative_data=data)


class Subclassed(keras.Model):
    def call(self, inputs):
        return inputs


def many_ends(inputs, outputs):
    """Each input counts for another thing, each output too; the names are not in order, nor are all identifiers."""
    names = [f"{'zyxwvutsrqponm'[index]} end/{index}" for index in range(max(inputs, outputs))]
    ends = [keras.Input((index + 2,), name=names[index].replace("/", "_")) for index in range(inputs)]
    sums = [keras.ops.sum(end, axis=1, keepdims=True) * 3.0**index for index, end in enumerate(ends)]
    total = keras.layers.Add()(sums) if inputs > 1 else sums[0]
    results = [keras.layers.Rescaling(2.0**index, name=f"out_{names[index][0]}")(total) for index in range(outputs)]
    return keras.Model(ends, results, name="ends")


def test_inputs_may_be_called_as_words_of_python_are():
    ends = [keras.Input((2,), name=name) for name in ("class", "n_class", "None")]
    file = open_file(convert(keras.Model(ends, keras.layers.Add()(ends))))
    x = [np.full((1, 2), value, np.float32) for value in (1, 2, 4)]
    np.testing.assert_array_equal(run_litert(file, x), [[7, 7]])


@pytest.mark.parametrize("quantize", ["none", "int8"])
@pytest.mark.parametrize("inputs, outputs", [(2, 1), (1, 2), (12, 11)])
def test_inputs_and_outputs_stand_in_the_order_of_the_model(inputs, outputs, quantize):
    model = many_ends(inputs, outputs)
    rng = np.random.default_rng(0)
    x = [rng.uniform(-1, 1, (30, index + 2)).astype(np.float32) for index in range(inputs)]
    file = open_file(convert(model, quantize=quantize, representative_data=x))
    assert [tensor.shape for tensor in file.description.inputs] == [(1, index + 2) for index in range(inputs)]
    wanted = [np.asarray(each) for each in keras.tree.flatten(model.predict(x, verbose=0))]
    for found, each in zip(real_outputs(run_litert(file, x), file.description), wanted, strict=True):
        np.testing.assert_allclose(found, each, atol=(1e-5 if quantize == "none" else 0.05) * np.abs(each).max())


BAD_INPUTS = {
    "one array": (lambda x: x[0], "does not fit the inputs. Model 'ends' has 2 inputs: .* Received: 1 ar"),
    "other names": (lambda x: {"a": x[0], "b": x[1]}, "'ends' has other inputs. Received: a, b. Use z end_0, y end_1"),
    "other order": (lambda x: x[::-1], r"for input 'z end_0' must have shape \(n, 2\) .*Received: shape=\(30, 3\)"),
    "other lengths": (lambda x: [x[0], x[1][:9]], r"as many for each input. Received: .* \(30, 2\), \(9, 3\)"),
}


@pytest.mark.parametrize("change, message", BAD_INPUTS.values(), ids=BAD_INPUTS)
def test_data_for_other_inputs_are_refused(change, message):
    x = [np.ones((30, index + 2), np.float32) for index in range(2)]
    with pytest.raises(ValueError, match=message):
        convert(many_ends(2, 1), quantize="int8", representative_data=change(x))


BAD_MODELS = {
    "no_model": (lambda: "model.keras", TypeError, "model must be a keras.Model. Received: str"),
    "not_built": (lambda: keras.Sequential([keras.layers.Dense(2)]), ValueError, "not built or is subclassed"),
    "subclassed": (lambda: Subclassed(name="own"), ValueError, "Model 'own': its input shape is not known"),
    "open_axes": (
        lambda: keras.Sequential([keras.Input((None, None, 3)), keras.layers.ReLU()]),
        ValueError,
        r"every axis of input but the batch must be fixed. Received: shape=\(None, None, 3\)",
    ),
    "input_of_another_type": (
        lambda: keras.Sequential([keras.Input((4,), dtype="bool"), keras.layers.Embedding(2, 3)]),
        ValueError,
        "input must be of a floating type, uint8, int8, int32. Received: dtype=bool",
    ),
}


@pytest.mark.parametrize("name", BAD_MODELS)
def test_unsupported_models_are_refused(name):
    make, error, message = BAD_MODELS[name]
    with pytest.raises(error, match=message):
        convert(make())


def test_input_in_a_list_is_converted_without_a_warning(build, samples):
    inner = build()
    inputs = keras.Input((8, 8, 2))
    model = keras.Model([inputs], [inner(inputs)])  # as models from old .h5 files
    expected = np.asarray(inner(samples))
    np.testing.assert_allclose(run_litert(convert(model), samples), expected, atol=1e-6)
    np.testing.assert_allclose(np.asarray(call_model(model, [samples])[0]), expected, atol=1e-6)


PIXELS, TOKENS = np.random.default_rng(0).integers(0, 256, (20, 6, 6, 2)), np.arange(80).reshape(20, 4)
INTEGERS = {
    "pixels": (
        "uint8",
        PIXELS,
        lambda: [keras.layers.Rescaling(1 / 255), keras.layers.Conv2D(3, 3, activation="relu"), keras.layers.Flatten()],
    ),
    "tokens": (
        "int32",
        TOKENS,
        lambda: [keras.layers.Embedding(80, 6), keras.layers.Conv1D(4, 3), keras.layers.GlobalMaxPooling1D()],
    ),
}


@pytest.mark.parametrize("dtype, x, layers", INTEGERS.values(), ids=INTEGERS)
@pytest.mark.parametrize("quantize", ["none", "int8"])
def test_integers_are_taken_as_they_are(dtype, x, layers, quantize):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input(x.shape[1:], dtype=dtype), *layers(), keras.layers.Dense(3)])
    file = open_file(convert(model, quantize=quantize, representative_data=x))
    assert (file.description.inputs[0].dtype, file.description.inputs[0].scales) == (dtype, ())
    found = dequantize(run_litert(file, x), file.description.outputs[0])
    wanted = model.predict(x, verbose=0)
    assert np.abs(found - wanted).max() < (1e-4 if quantize == "none" else 0.05) * np.ptp(wanted)


@pytest.mark.parametrize(
    "x", [TOKENS + 0.5, TOKENS.astype(float) * np.nan, TOKENS + 2.0**40], ids=["half", "nan", "large"]
)
def test_other_numbers_for_an_input_of_integers_are_refused(x):
    model = keras.Sequential([keras.Input((4,), dtype="int32"), keras.layers.Embedding(80, 6), keras.layers.Flatten()])
    with pytest.raises(ValueError, match="representative_data must be whole numbers of int32, as the model's input"):
        convert(model, quantize="int8", representative_data=x)


def test_pair_of_samples_and_targets_is_told_from_two_samples(build, samples):
    model = build()
    alone = convert(model, quantize="int8", representative_data=samples[:2])
    assert convert(model, quantize="int8", representative_data=tuple(samples[:2])) == alone
    assert convert(model, quantize="int8", representative_data=(samples[:2], np.zeros(2))) == alone
