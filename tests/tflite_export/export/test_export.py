import dataclasses
import hashlib
import json
import os
import re

import keras
import numpy as np
import pytest

import tf_structprune as sp
from tests.devices import Scripted
from tf_structprune.shrink import shrink
from tflite_export.bench import _vela, estimate_npu, vela_available
from tflite_export.export import ExportSettings, ExportSummary, _export, _summary, export, write_artifacts
from tflite_export.file import TFLiteFile, least_memory_order, memory_table, open_file
from tflite_export.quantize import convert
from tflite_export.runtime import arena_bytes, run_litert, tflm_available
from tflite_export.verify import VerificationError, _verify

FILES = {"model.keras", "model_float32.tflite", "model_int8.tflite", "summary.json", "micro"}
MICRO = {"model_data.cc", "model_data.h", "model_ops.h", "model_settings.h", "main.cc", "README.md"}


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(6, 3, padding="same", use_bias=False)(inputs)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.ReLU()(x)
    x = keras.layers.Add()([x, keras.layers.Conv2D(6, 3, padding="same", activation="relu")(x)])
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(4, activation="softmax", kernel_initializer="orthogonal")(x))


@pytest.fixture(scope="module")
def data():
    return np.random.default_rng(0).random((60, 8, 8, 1), np.float32) * 4


@pytest.fixture(scope="module")
def exported(model, data, tmp_path_factory):
    directory = tmp_path_factory.mktemp("export") / "out"
    return directory, export(model, directory, representative_data=data)


def visible(directory):
    return {name for name in os.listdir(directory) if not name.startswith(".")}


def test_export_writes_every_file(exported):
    directory, _ = exported
    assert visible(directory) == FILES
    assert visible(directory / "micro") == MICRO


def test_summary_file_is_the_summary(exported):
    directory, summary = exported
    text = (directory / "summary.json").read_text()
    assert json.loads(text) == summary.to_dict()
    assert ExportSummary.from_json(text) == summary
    assert summary.directory == str(directory)
    assert summary.representative_samples == 60


def test_summary_describes_the_files(exported):
    directory, summary = exported
    for figures in (summary.float32, summary.int8):
        content = (directory / figures.file).read_bytes()
        description = open_file(content).description
        assert figures.sha256 == hashlib.sha256(content).hexdigest()
        assert figures.size_bytes == len(content)
        assert (figures.macs, figures.parameters) == (description.macs, description.parameters)
        assert figures.operators == description.operator_counts
        assert figures.arena_bytes == (arena_bytes(content) if tflm_available() else None)
        assert figures.memory == memory_table(open_file(content), tflm_arena_bytes=figures.arena_bytes)


def test_versions_name_every_library(exported):
    versions = exported[1].versions
    libraries = {"tensorflow", "keras", "ai_edge_litert", "tflite_micro", "ethos_u_vela", "numpy"}
    assert set(versions) == {"python"} | libraries
    assert versions["keras"] == keras.__version__ and versions["numpy"] == np.__version__


def test_version_of_a_missing_library_is_none():
    assert _summary._version("no-such-package-of-ours") is None


def test_exported_files_compute_the_model(exported, model, data):
    directory, summary = exported
    expected = np.asarray(model(data))
    np.testing.assert_allclose(run_litert(directory / "model_float32.tflite", data), expected, atol=1e-5)
    agreement = np.mean(run_litert(directory / "model_int8.tflite", data).argmax(1) == expected.argmax(1))
    assert agreement == summary.verification.int8_top1
    reloaded = keras.models.load_model(directory / "model.keras")
    np.testing.assert_array_equal(np.asarray(reloaded(data)), expected)


def test_c_array_is_the_int8_file(exported):
    directory, _ = exported
    source = (directory / "micro" / "model_data.cc").read_text()
    content = bytes(int(literal, 16) for literal in re.findall(r"0x([0-9a-f]{2}),", source))
    assert content == (directory / "model_int8.tflite").read_bytes()
    resolver = (directory / "micro" / "model_ops.h").read_text()
    count = len(open_file(content).description.operator_names)
    assert f"MicroMutableOpResolver<{count}>" in resolver and resolver.count("resolver.Add") == count


def test_bundle_has_the_arena_of_the_int8_file(exported):
    directory, summary = exported
    settings = (directory / "micro" / "model_settings.h").read_text()
    found = re.search(r"kArenaMeasuredBytes = (\d+);", settings)
    assert (None if found is None else int(found.group(1))) == summary.int8.arena_bytes
    assert (found is None) == (not tflm_available())
    assert found is None or f"tflite-micro {summary.versions['tflite_micro']} reported" in settings


def test_arena_is_left_open_without_tflm(model, data, tmp_path, monkeypatch):
    monkeypatch.setattr(_summary, "tflm_available", lambda: False)
    monkeypatch.setattr(_verify, "tflm_available", lambda: False)
    summary = export(model, tmp_path / "out", representative_data=data, npu=None)
    assert summary.int8.arena_bytes is None and summary.int8.memory.tflm_arena_bytes is None
    assert visible(tmp_path / "out" / "micro") == MICRO
    settings = (tmp_path / "out" / "micro" / "model_settings.h").read_text()
    assert "NOT KNOWN" in settings and "kArenaMeasuredBytes" not in settings


def test_npu_is_estimated_for_the_int8_file_when_vela_is_there(exported):
    directory, summary = exported
    if vela_available():
        assert (summary.npu, summary.npu_reason) == (estimate_npu(directory / "model_int8.tflite"), None)
    else:
        assert summary.npu is None and "pip install 'tf-structprune[micro]'" in summary.npu_reason


def broken(*_, **__):
    raise RuntimeError("Vela broke")


NO_NPU = {
    "not asked": ({"npu": None}, "It was not asked for"),
    "no int8 file": ({"quantize": "none"}, "There is no int8 file"),
    "not installed": ({}, "Vela is not installed"),
    "failed": ({"npu": "ethos-u65-256"}, "Vela broke"),
}


@pytest.mark.parametrize("case", NO_NPU)
def test_export_without_an_estimate_says_why(model, data, tmp_path, monkeypatch, case):
    arguments, reason = NO_NPU[case]
    monkeypatch.setattr(_vela, "vela_available", lambda: case == "failed")
    monkeypatch.setattr(_vela, "_run_vela", broken)
    export(model, tmp_path / "out", representative_data=data, micro=False, **arguments)
    stored = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert stored["npu"] is None and reason in stored["npu_reason"]


def test_quantize_none_writes_the_float_file_alone(model, data, tmp_path):
    summary = export(model, tmp_path / "out", representative_data=data, quantize="none", name="net")
    assert visible(tmp_path / "out") == {"net.keras", "net_float32.tflite", "summary.json", "micro"}
    assert visible(tmp_path / "out" / "micro") == {name.replace("model_", "net_") for name in MICRO}
    assert (summary.int8, summary.representative_samples, summary.verification.int8_top1) == (None, 0, None)
    size = summary.float32.size_bytes
    assert f"net_data_size = {size};" in (tmp_path / "out" / "micro" / "net_data.h").read_text()


def test_operators_that_tflm_lacks_are_refused_only_where_it_is_required(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Activation(keras.ops.sign)])
    arguments = {"representative_data": np.eye(4), "quantize": "none"}
    for required in ("require", True):
        with pytest.raises(ValueError, match="TFLite Micro .*SIGN"):
            export(model, tmp_path / "out", **arguments, micro=required)
    assert os.listdir(tmp_path) == []
    for name, choice in {"auto": "auto", "none": "none", "false": False}.items():
        summary = export(model, tmp_path / name, **arguments, micro=choice)
        assert visible(tmp_path / name) == FILES - {"micro", "model_int8.tflite"}
        assert summary.float32.arena_bytes is None
        assert ("SIGN" in summary.micro_reason) == (choice == "auto")


def test_other_choices_for_micro_are_refused(model, data, tmp_path):
    with pytest.raises(ValueError, match="micro must be 'auto', 'require' or 'none'. Received: micro='never'"):
        export(model, tmp_path / "out", representative_data=data, micro="never")


def test_verify_data_take_the_place_of_representative_data(model, data, tmp_path):
    summary = export(model, tmp_path / "out", representative_data=data, verify_data=data[:7], quantize="none")
    assert summary.verification.samples == 7


def test_write_artifacts_writes_all_but_the_summary(exported, model, data, tmp_path):
    summary = write_artifacts(model, tmp_path, ExportSettings(), representative_data=data)
    assert visible(tmp_path) == FILES - {"summary.json"}
    assert dataclasses.replace(summary, directory=exported[1].directory) == exported[1]
    settings = ExportSettings(quantize="none", micro=False)
    write_artifacts(model, tmp_path, settings, representative_data=data)  # again, over its own files


def test_existing_directory_is_kept_unless_overwritten(model, data, tmp_path):
    out, files = tmp_path / "out", FILES - {"micro", "model_int8.tflite"}
    quick = {"representative_data": data, "quantize": "none", "micro": False}
    export(model, out, **quick, name="former")
    before = visible(out)
    with pytest.raises(FileExistsError, match="Output directory '.*out' exists"):
        export(model, out, **quick)
    assert visible(out) == before != files
    export(model, out, **quick, overwrite=True)
    assert visible(out) == files


@pytest.mark.parametrize("error", [VerificationError, KeyboardInterrupt])
def test_nothing_is_left_when_verification_stops(model, data, tmp_path, monkeypatch, error):
    def stop(*args, **kwargs):
        raise error("stop")

    monkeypatch.setattr(_export, "verify", stop)
    with pytest.raises(error, match="stop"):
        export(model, tmp_path / "new" / "out", representative_data=data, quantize="none")
    assert os.listdir(tmp_path) == []


def test_disagreement_is_an_error_that_leaves_nothing(model, data, tmp_path, monkeypatch):
    monkeypatch.setattr(_verify, "run_litert", lambda file, inputs, **_: np.zeros((len(inputs), 4), np.float32))
    with pytest.raises(VerificationError, match="Float file against Keras: relative error must be at most 0.0001"):
        export(model, tmp_path / "out", representative_data=data, quantize="none", micro=False)
    assert os.listdir(tmp_path) == []


BAD = {
    "no_model": ({"model": "model.keras"}, TypeError, "model must be a keras.Model or what shrink made"),
    "name": ({"name": "my model"}, ValueError, r"name must be a C\+\+ identifier.*Received: name='my model'"),
    "quantize": (
        {"quantize": "int4"},
        ValueError,
        "quantize must be 'none', 'int8', .* or a FixedPoint. Received: quantize='int4'",
    ),
    "shape": ({"representative_data": np.zeros((3, 8, 8))}, ValueError, "representative_data must have shape"),
    "calibration": ({"calibration": "max"}, ValueError, "calibration must be 'mse' or 'minmax'. Received: .*'max'"),
    "nan": ({"verify_data": np.full((3, 8, 8, 1), np.nan)}, ValueError, "verify_data must be finite"),
    "npu": ({"npu": "ethos-u99"}, ValueError, "Unknown NPU. Received: npu='ethos-u99'. Use one of: ethos-u55-32"),
    "option": ({"quantise": "int8"}, TypeError, "Unknown option of an export. Received: quantise. Use quantize.$"),
    "option unlike any": ({"zzz": 1}, TypeError, "Received: zzz. Use quantize or calibration or name or .* or npu.$"),
    "settings beside options": (
        {"settings": ExportSettings(), "micro": False},
        TypeError,
        r"Options come in settings or by name. Received: settings beside micro. Use dataclasses.replace\(settings, ",
    ),
    "bundle": (
        {"bundle": ("esp-idf", "mbed")},
        ValueError,
        "bundle names ecosystems in a tuple, each once. Received: ",
    ),
    "bundle as text": (
        {"bundle": "esp-idf"},
        ValueError,
        "in a tuple, each once. Received: 'esp-idf'. Use some of: ",
    ),
    "bundle of no files": (
        {"bundle": ("zephyr",), "micro": "none"},
        ValueError,
        r"Projects are for microcontrollers. Received: bundle=\('zephyr',\) with micro='none'. Use micro='auto'",
    ),
    "bound": ({"top1_agreement": 90}, ValueError, r"top1_agreement must be in \[0, 1\]. Received: top1_agreement=90"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_are_refused_and_leave_nothing(model, data, tmp_path, case):
    change, error, message = BAD[case]
    arguments = {"model": model, "representative_data": data} | change
    with pytest.raises(error, match=message):
        export(directory=tmp_path / "out", **arguments)
    assert os.listdir(tmp_path) == []


def test_export_shrinks_a_masked_model(model, data, tmp_path):
    masked = sp.wrap(model, granularity="feature_map", keep_first=False)
    sp.set_masks(masked, sp.random_masks(masked, {"feature_map": 0.4}))
    small = shrink(masked)
    direct = export(masked, tmp_path / "masked", representative_data=data, micro=False)
    shrunk = export(small, tmp_path / "shrunk", representative_data=data, micro=False)
    assert direct.int8.sha256 == shrunk.int8.sha256
    assert direct.int8.parameters < model.count_params()


@pytest.fixture(scope="module")
def with_columns(model):
    """The model with one column left of every kernel of its second convolution."""
    masked = sp.wrap(model)
    name = sp.trace(masked).layers[1].name
    sp.set_masks(masked, sp.MaskSet(intra_kernel={name: np.array([[3, 1]] * 6, np.int32)}))
    return masked


def test_masked_out_work_is_left_out_of_the_files(with_columns, data, tmp_path):
    small = shrink(with_columns)
    zeros = export(small, tmp_path / "zeros", representative_data=data, lower="none")
    lowered = export(small, tmp_path / "lowered", representative_data=data, target="micro")
    assert zeros.lowered == ()
    assert [line.partition(":")[0] for line in lowered.lowered] == ["float32", "int8"]
    assert all("shift, 33% of the work" in line for line in lowered.lowered)
    for before, after in ((zeros.float32, lowered.float32), (zeros.int8, lowered.int8)):
        assert after.macs == before.macs - 2 * 64 * 3 * 6 * 6
        assert after.parameters < before.parameters
        assert after.arena_bytes <= before.arena_bytes
    for name in ("zeros", "lowered"):  # the Keras model is the one that was given
        reloaded = keras.models.load_model(tmp_path / name / "model.keras")
        np.testing.assert_array_equal(np.asarray(reloaded(data[:4])), np.asarray(small.model(data[:4])))


@pytest.mark.parametrize("times, form", [([(2, 1), (2, 1)], "shift"), ([(1, 2)], "dense")], ids=["gains", "does not"])
def test_device_decides_what_is_lowered(tmp_path, times, form):
    layers = [keras.layers.Conv2D(64, 3, padding="same"), keras.layers.Conv2D(8, 3, padding="same", name="columns")]
    model = keras.Sequential([keras.Input((8, 8, 1)), *layers, keras.layers.Flatten(), keras.layers.Dense(4)])
    masked = sp.wrap(model)
    sp.set_masks(masked, sp.MaskSet(intra_kernel={"columns": np.array([[3, 1]] * 64, np.int32)}))
    device = Scripted(*times, *times)  # the float file, then the int8 file
    x = np.random.default_rng(0).random((50, 8, 8, 1), np.float32)
    options = {"representative_data": x, "top1_agreement": 0.0, "micro": False, "npu": None, "device": device}
    summary = export(masked, tmp_path / "out", **options)
    assert not device.answers
    assert [line.split(",")[0] for line in summary.lowered] == [
        f"{kind}: columns: {form}" for kind in ("float32", "int8")
    ]


def test_report_has_multiplications_of_kernel_pruned_layers_only(exported, model, data, tmp_path):
    directory, whole = exported
    assert whole.multiplications == ()
    assert json.loads((directory / "summary.json").read_text())["multiplications"] is None
    masked = sp.wrap(model)
    name = sp.trace(masked).layers[1].name
    sp.set_masks(masked, sp.MaskSet(kernel={name: ~np.eye(6, dtype=bool)}))
    summary = export(masked, tmp_path / "out", representative_data=data, micro=False, quantize="none", lower="none")
    (row,) = summary.multiplications
    assert (row.name, row.kept_kernels, row.direct, row.im2col) == (name, 30, 30 * 9 * 64, 36 * 9 * 64)
    text = (tmp_path / "out" / "summary.json").read_text()
    section = json.loads(text)["multiplications"]
    assert ExportSummary.from_json(text) == summary
    assert section["layers"] == [dataclasses.asdict(row)] and row.cheapest == "direct"
    assert "not a measurement" in section["note"]


def test_model_whose_wiring_is_refused_is_exported_without_multiplications(data, tmp_path):
    shared = keras.layers.Conv2D(2, 3, kernel_initializer="zeros")  # part of two models
    inputs, outer = keras.Input((8, 8, 1)), keras.Input((8, 8, 1))
    x = keras.layers.Add()([keras.Model(inputs, shared(inputs))(outer), shared(outer)])
    model = keras.Model(outer, keras.layers.Dense(4)(keras.layers.Flatten()(x)))
    summary = export(model, tmp_path / "out", representative_data=data, micro=False, quantize="none", lower="none")
    assert summary.multiplications == () and summary.to_dict()["multiplications"] is None


@pytest.mark.parametrize(
    "arguments, message",
    [({"lower": "yes"}, "lower must be 'auto' or 'none'"), ({"target": "phone"}, "Unknown target")],
)
def test_wrong_lowering_is_refused(model, data, tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        export(model, tmp_path / "out", representative_data=data, **arguments)
    assert not (tmp_path / "out").exists()


def test_calibration_is_by_error_unless_the_converter_s_is_asked_for(model, data, tmp_path):
    few_bright = data * np.linspace(0.05, 1, len(data), dtype=np.float32).reshape(-1, 1, 1, 1) ** 4
    for name, asked in (("by_error", {}), ("plain", {"calibration": "minmax"})):
        export(model, tmp_path / name, representative_data=few_bright, micro="none", **asked)
    converted = TFLiteFile(convert(model, quantize="int8", representative_data=few_bright))
    exported = [open_file(tmp_path / name / "model_int8.tflite") for name in ("plain", "by_error")]
    files = [converted.edited(least_memory_order), *exported]
    grids = [[(each.scales, each.zero_points) for each in file.description.tensors] for file in files]
    assert grids[0] == grids[1] != grids[2]


def test_settings_are_what_the_same_options_are():
    options = {"quantize": sp.FixedPoint(4, 6), "name": "net", "micro": False, "npu": None, "device": Scripted()}
    assert ExportSettings.of(options) == ExportSettings(**options)
    assert ExportSettings.of({}) == ExportSettings()


def test_export_takes_settings_as_a_value(model, data, tmp_path):
    settings = ExportSettings(quantize="none", name="net", micro=False)
    summary = export(model, tmp_path / "out", representative_data=data[:8], settings=settings)
    assert (summary.quantize, summary.float32.file, summary.float32.arena_bytes) == ("none", "net_float32.tflite", None)


def test_summary_prints_as_a_table(exported):
    out, summary = exported
    first, head, *files, last = str(summary).splitlines()
    assert first == f"Written to {out}"
    assert head.split() == ["file", "bytes", "parameters", "MACs", "TFLM", "arena", "(bytes)"]
    assert [line.split()[:2] for line in files] == [
        [file.file, f"{file.size_bytes:,}"] for file in (summary.float32, summary.int8)
    ]
    assert f"the same decision on {100 * summary.verification.int8_top1:.1f} %." in last
