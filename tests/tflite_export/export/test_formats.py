"""Other number formats than int8, and what integer files take and give."""

import sys

import keras
import numpy as np
import pytest

import tf_structprune as sp
from tests import tasks, zoo
from tests.tflite_export.compress import tiny
from tflite_export.compress import compress, file_score
from tflite_export.export import ExportSettings, ExportSummary, export
from tflite_export.export._source import keras_model_of
from tflite_export.file import open_file
from tflite_export.runtime import dequantize, quantize, run_litert, run_tflm
from tflite_export.verify import VerificationError

_L = keras.layers


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 1))
    x = _L.Conv2D(12, 3, padding="same", activation="relu")(inputs)
    x = _L.Conv2D(16, 3, activation="relu")(x)  # weights enough for the converter to make them int8
    x = _L.Dense(12, activation="relu")(_L.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, _L.Dense(4, activation="softmax", kernel_initializer="orthogonal")(x))


@pytest.fixture(scope="module")
def data():
    return np.random.default_rng(0).random((60, 8, 8, 1), np.float32) * 4


def ends(path):
    description = open_file(path).description
    return [tensor.dtype for tensor in (*description.inputs, *description.outputs)]


def weight_types(path):
    description = open_file(path).description
    return {description.tensors[index].dtype for index in description.weights}


@pytest.mark.parametrize("quantize, weights", [("float16", "float16"), ("dynamic", "int8")])
def test_files_of_smaller_weights_take_and_give_floats(model, data, tmp_path, quantize, weights):
    summary = export(model, tmp_path / "out", representative_data=data, quantize=quantize)
    path = tmp_path / "out" / f"model_{quantize}.tflite"
    assert ends(path) == ["float32", "float32"] and weights in weight_types(path)
    assert (summary.int8, summary.quantize, summary.reduced.file) == (None, quantize, path.name)
    assert (summary.reduced.macs, summary.reduced.parameters) == (summary.float32.macs, summary.float32.parameters)
    assert summary.reduced.memory.weights_bytes < summary.float32.memory.weights_bytes
    assert summary.verification.int8_top1 > 0.9 and summary.verification.xnnpack_steps is None
    assert path.name in str(summary) and "Second file: the same decision on" in str(summary)
    assert (tmp_path / "out" / "micro").is_dir() and summary.float32.arena_bytes  # of the float file
    assert ExportSummary.from_json((tmp_path / "out" / "summary.json").read_text()) == summary
    near = np.abs(run_litert(path, data) - model.predict(data, verbose=0)).max()
    assert near < (1e-3 if quantize == "float16" else 0.05)


@pytest.mark.parametrize("io", ["int8", pytest.param("float32", marks=pytest.mark.sweep)])
def test_signals_of_16_bits_are_nearer_than_those_of_8(model, data, tmp_path, io):
    summary = export(model, tmp_path / "out", representative_data=data, quantize="int16x8", io=io)
    path = tmp_path / "out" / "model_int16x8.tflite"
    own = {"int8": "int16"}.get(io, io)
    assert ends(path) == [own, own] and weight_types(path) == {"int8"}
    byte = export(model, tmp_path / "byte", representative_data=data)
    assert summary.int8.file == path.name and summary.int8.arena_bytes
    assert summary.verification.int8_error < byte.verification.int8_error / 2
    assert summary.verification.tflm_steps_bound == 16
    (agreement,) = summary.exact.values()
    assert "int16 signals" in agreement.skipped


@pytest.mark.every(2)
@pytest.mark.parametrize(
    "io, recipe",
    [
        ("uint8", None),
        pytest.param("float32", None, marks=pytest.mark.sweep),
        pytest.param("uint8", sp.FixedPoint(8, 8), marks=pytest.mark.sweep),
        ("float32", sp.FixedPoint(8, 8)),
    ],
    ids=["int8-uint8", "int8-float32", "fixed-uint8", "fixed-float32"],
)
def test_files_of_other_ends_give_the_same_numbers(model, data, tmp_path, io, recipe):
    given = {} if recipe is None else {"quantize": recipe}
    summary = export(model, tmp_path / "out", representative_data=data, io=io, names=True, **given)
    own = export(model, tmp_path / "own", representative_data=data, names=True, **given)
    path, own_path = tmp_path / "out" / summary.int8.file, tmp_path / "own" / own.int8.file
    assert ends(path) == [io, io] and summary.io == io
    for kernels in ("xnnpack", "reference"):
        found, wanted = (
            dequantize(run_litert(each, data, kernels=kernels), open_file(each).description.outputs[0])
            for each in (path, own_path)
        )
        np.testing.assert_array_equal(found, wanted)
    names = [[tensor.name for tensor in open_file(each).description.inputs] for each in (path, own_path)]
    assert names[0] == names[1] and all(names[0])
    settings = (tmp_path / "out" / "micro" / "model_settings.h").read_text()
    assert {"uint8": "std::uint8_t", "float32": "float"}[io] in settings
    assert summary.exact.keys() and summary.verification.tflm_steps == own.verification.tflm_steps


def test_ends_that_tflite_micro_makes_other_numbers_of_are_refused(model, data, tmp_path, monkeypatch):
    def other(file, inputs, **_):
        outputs = run_tflm(file, inputs, real=True)
        return outputs + np.ones_like(outputs) if open_file(file).description.inputs[0].dtype == "uint8" else outputs

    monkeypatch.setattr(sys.modules["tflite_export.export._integer_files"], "run_tflm", other)
    with pytest.raises(VerificationError, match="int8.tflite gives other numbers in TFLite Micro .* uint8 in"):
        export(model, tmp_path / "out", representative_data=data, io="uint8")
    assert not (tmp_path / "out").exists()


def test_every_end_of_several_is_converted_and_tokens_stay(tmp_path):
    kind = tasks.KINDS["dictionaries"]
    summary = export(
        tasks.trained("dictionaries"), tmp_path / "out", representative_data=kind.data(60, 5)[0], io="uint8"
    )
    assert ends(tmp_path / "out" / summary.int8.file) == ["uint8"] * 4
    tokens = tasks.KINDS["tokens"].data(60, 5)[0]
    summary = export(tasks.trained("tokens"), tmp_path / "tokens", representative_data=tokens, io="uint8", micro="none")
    assert ends(tmp_path / "tokens" / summary.int8.file) == ["int32", "uint8"]


def test_bytes_of_images_are_real_numbers_where_a_file_is_scored(model, data, tmp_path):
    """A file that takes bytes has a scale of its own for them."""
    images = np.round(data * 60).astype(np.uint8)
    inputs = keras.Input((8, 8, 1))
    scaled = keras.Model(inputs, model(_L.Rescaling(1 / 60)(inputs)))
    labels = scaled.predict(images, verbose=0).argmax(axis=1)
    half = images // 2  # whose range makes another scale
    summary = export(scaled, tmp_path / "out", representative_data=half, io="uint8", top1_agreement=0)
    path = tmp_path / "out" / summary.int8.file
    tensor = open_file(path).description.inputs[0]
    assert tensor.scales[0] != 1
    np.testing.assert_array_equal(run_litert(path, half, real=True), run_litert(path, quantize(half, tensor)))
    assert file_score(path, half, labels) == file_score(path, half.astype(np.float32), labels)


@pytest.mark.sweep
def test_compress_hands_over_what_was_asked_for(tmp_path):
    compress(
        tiny.trained(), tiny.data(), tmp_path / "out", sparsity=0.3, candidates=1, epochs=1, tolerance=1.0, io="float32"
    )
    for folder in ("out", "out/baseline"):
        assert ends(tmp_path / folder / "model_int8.tflite") == ["float32", "float32"]


def test_other_formats_and_ends_are_refused(model, data, tmp_path):
    with pytest.raises(
        ValueError, match=r"quantize must be 'none', 'int8', 'int16x8', 'dynamic', 'float16' or a Fixed"
    ):
        ExportSettings(quantize="int4")
    with pytest.raises(ValueError, match=r"io must be 'int8', 'uint8', 'float32'\. Received: io='int32'"):
        ExportSettings(io="int32")
    with pytest.raises(ValueError, match=r"Only signals of 8 bits go in and out as bytes\. .* Use io='float32'"):
        export(model, tmp_path / "out", representative_data=data, quantize="int16x8", io="uint8")
    assert tiny.entries(tmp_path) == []


def test_a_model_that_shares_values_is_exported_as_the_plain_one():
    shared = sp.share(zoo.build("chain"), 3)
    plain = keras_model_of(shared)
    assert type(plain.layers[1]) is keras.layers.Conv2D
    assert zoo.largest_difference(shared, plain, zoo.batch()) == 0
