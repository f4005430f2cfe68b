"""Exports in fixed point: which files there are, what the summary says, and what the recipe beside them makes."""

import json
import os
import re

import keras
import numpy as np
import pytest

import tf_structprune as sp
from tests import zoo
from tf_structprune.layers import quantized_layers, signal_quantizers
from tflite_export.export import _integer_files, export
from tflite_export.export._integer_files import for_micro
from tflite_export.quantize import check_file, fixed_point_files, float_form
from tflite_export.runtime import arena_bytes, run_litert, run_tflm, tflm_available

X = zoo.batch(64)
RECIPE = sp.FixedPoint(4, 6, per_channel=True, layers={"classifier": sp.LayerBits(8, 8)})
FIXED = {"model.keras", "model_float32.tflite", "model_fixed.tflite", "model_recipe.json", "summary.json", "micro"}
ARGUMENTS = {"representative_data": X, "top1_agreement": 0.5, "npu": None}


@pytest.fixture(scope="module")
def model():
    return zoo.build("residual_projection")


@pytest.fixture(scope="module")
def trained():
    """A model that was trained in fixed point, on grids of its own."""
    keras.utils.set_random_seed(0)
    fixed = sp.to_fixed_point(zoo.build("chain"), sp.FixedPoint(6, 6))
    fixed.compile(keras.optimizers.SGD(0.05), "sparse_categorical_crossentropy", run_eagerly=True)
    callback = sp.FixedPointTraining(calibration_data=0.5 * X, signal_epoch=0)
    fixed.fit(X, np.arange(64) % 3, epochs=1, verbose=0, callbacks=[callback])
    return fixed


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    directory = tmp_path_factory.mktemp("export") / "out"
    return directory, export(model, directory, quantize=RECIPE, **ARGUMENTS)


def visible(directory):
    return {name for name in os.listdir(directory) if not name.startswith(".")}


def test_recipe_gives_both_integer_files(exported):
    directory, summary = exported
    assert visible(directory) == FIXED | {"model_fixed_int4.tflite"}
    assert (summary.int8.file, summary.int4.file) == ("model_fixed.tflite", "model_fixed_int4.tflite")
    assert summary.int4.size_bytes < summary.int8.size_bytes
    assert (summary.quantize, summary.representative_samples) == ("fixed", 64)


def test_long_words_have_no_packed_file(trained, tmp_path):
    summary = export(trained, tmp_path / "out", **ARGUMENTS, micro=False)
    assert visible(tmp_path / "out") == FIXED - {"micro"}
    assert summary.int4 is None and summary.int8.arena_bytes is None


def test_summary_has_the_agreement_of_each_integer_file(exported):
    directory, summary = exported
    assert list(summary.exact) == ["model_fixed.tflite", "model_fixed_int4.tflite"]
    for figures in summary.exact.values():
        assert (figures.samples, figures.values, figures.numpy_litert) == (64, 192, 0)
        wanted = (0, 0, 0, None) if tflm_available() else (None, None, None, "TFLite Micro did not run")
        assert (figures.numpy_tflm, figures.litert_tflm, figures.output_mismatches, figures.skipped) == wanted
    stored = json.loads((directory / "summary.json").read_text())
    assert stored == summary.to_dict()
    assert stored["quantize"] == "fixed" and stored["exact"]["model_fixed.tflite"]["numpy_litert"] == 0
    assert stored["int4"]["file"] == "model_fixed_int4.tflite"


def test_keras_model_is_the_one_in_fixed_point(exported):
    directory, _ = exported
    fixed = keras.models.load_model(directory / "model.keras")
    files = fixed_point_files(fixed)
    assert files.int8.data == (directory / "model_fixed.tflite").read_bytes()
    assert files.int4.data == (directory / "model_fixed_int4.tflite").read_bytes()


def test_float_file_is_that_of_the_float_model(exported, model):
    directory, _ = exported
    outputs = run_litert(directory / "model_float32.tflite", X)
    np.testing.assert_allclose(outputs, zoo.outputs_of(model, X)[0], atol=1e-5)


def test_recipe_names_every_layer_and_makes_the_same_words(exported, model, tmp_path):
    directory, _ = exported
    recipe = sp.FixedPoint.from_json((directory / "model_recipe.json").read_text())
    again = sp.to_fixed_point(model, recipe)
    sp.calibrate(again, X)
    assert set(recipe.layers) >= set(quantized_layers(again))
    assert recipe.layers["main_1"] == sp.LayerBits(4, 6) and recipe.layers["classifier"] == sp.LayerBits(8, 8)
    check_file((directory / "model_fixed.tflite").read_bytes(), again)
    second = export(model, tmp_path / "again", quantize=recipe, **ARGUMENTS, micro=False)
    assert second.int8.sha256 == exported[1].int8.sha256


def test_micro_holds_the_file_with_less_flash_and_ram(exported):
    pytest.importorskip("tflite_micro")
    directory, summary = exported
    source = (directory / "micro" / "model_data.cc").read_text()
    content = bytes(int(literal, 16) for literal in re.findall(r"0x([0-9a-f]{2}),", source))
    taken = {}
    for name in ("model_fixed.tflite", "model_fixed_int4.tflite"):
        data = (directory / name).read_bytes()
        taken[data] = len(data) + arena_bytes(data)
    assert content == min(taken, key=taken.__getitem__)
    chosen = for_micro(summary.int8, summary.int4)
    settings = (directory / "micro" / "model_settings.h").read_text()
    assert f"kArenaMeasuredBytes = {chosen.arena_bytes};" in settings


class Figures:
    """A stand-in for a file's summary."""

    def __init__(self, size_bytes, arena):
        self.size_bytes = self.flash_bytes = size_bytes
        self.arena_bytes = arena


@pytest.mark.parametrize(
    "int8, int4, packed",
    [
        ((100, 50), (60, 80), True),  # 140 of 150
        ((100, 50), (60, 95), False),
        ((100, 50), (60, 90), True),  # as much: the smaller file
        ((100, None), (60, None), False),  # nothing known of the RAM
        ((100, 50), None, False),
    ],
)
def test_file_for_micro_is_chosen_by_flash_and_ram(int8, int4, packed):
    one, other = Figures(*int8), None if int4 is None else Figures(*int4)
    assert (for_micro(one, other) is other) == (packed and other is not None)


def test_trained_model_is_exported_on_its_own_grids(trained, tmp_path):
    summary = export(trained, tmp_path / "out", **ARGUMENTS, micro=False)
    assert summary.quantize == "fixed"
    data = (tmp_path / "out" / "model_fixed.tflite").read_bytes()
    check_file(data, trained)
    assert data == fixed_point_files(trained).int8.data
    loaded = keras.models.load_model(tmp_path / "out" / "model.keras")
    assert {name: layer.calibration().tolist() for name, layer in signal_quantizers(loaded).items()} == {
        name: layer.calibration().tolist() for name, layer in signal_quantizers(trained).items()
    }
    recipe = sp.FixedPoint.from_json((tmp_path / "out" / "model_recipe.json").read_text())
    assert recipe.layers["b"] == sp.LayerBits(6, 6)


def test_masked_fixed_point_model_is_shrunk_and_exported(tmp_path):
    fixed = sp.to_fixed_point(zoo.build("chain"), RECIPE)
    sp.calibrate(fixed, X)
    whole = fixed_point_files(fixed)
    masked = sp.wrap(fixed)
    sp.set_masks(masked, sp.random_masks(masked, {"feature_map": 0.4}))
    summary = export(masked, tmp_path / "out", **ARGUMENTS, micro=False)
    assert summary.quantize == "fixed" and summary.int8.size_bytes < len(whole.int8.data)
    assert summary.exact["model_fixed.tflite"].numpy_litert == 0


def test_quantize_none_of_a_fixed_point_model_writes_rounded_weights_in_float(trained, tmp_path):
    summary = export(trained, tmp_path / "out", quantize="none", **ARGUMENTS, micro=False)
    assert visible(tmp_path / "out") == {"model.keras", "model_float32.tflite", "summary.json"}
    assert (summary.quantize, summary.int8, summary.int4, summary.exact) == ("none", None, None, {})
    plain = keras.models.load_model(tmp_path / "out" / "model.keras")
    assert not quantized_layers(plain) and not signal_quantizers(plain)
    words = keras.ops.convert_to_numpy(quantized_layers(trained)["b"].effective_kernel())
    np.testing.assert_array_equal(plain.get_layer("b").get_weights()[0], words)


def test_micro_false_compares_without_tflm_and_writes_no_sources(model, tmp_path):
    summary = export(model, tmp_path / "out", quantize=RECIPE, **ARGUMENTS, micro=False)
    assert visible(tmp_path / "out") == (FIXED | {"model_fixed_int4.tflite"}) - {"micro"}
    assert summary.int8.arena_bytes is None and summary.int4.arena_bytes is None
    for figures in summary.exact.values():
        assert (figures.numpy_litert, figures.numpy_tflm) == (0, None)
        assert figures.skipped == "TFLite Micro did not run"


def test_int8_export_has_its_agreement_too(model, tmp_path):
    summary = export(model, tmp_path / "out", **ARGUMENTS, micro=False)
    assert (summary.quantize, summary.int4) == ("int8", None)
    assert list(summary.exact) == ["model_int8.tflite"]
    assert summary.exact["model_int8.tflite"].numpy_litert == 0


def test_existing_directory_is_refused_unless_overwritten(trained, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="Output directory '.*out' exists"):
        export(trained, tmp_path / "out", **ARGUMENTS, micro=False)
    assert visible(tmp_path / "out") == {"mine.txt"}
    export(trained, tmp_path / "new", **ARGUMENTS, micro=False)
    export(trained, tmp_path / "new", quantize="none", **ARGUMENTS, micro=False, overwrite=True)
    assert "model_recipe.json" not in visible(tmp_path / "new")


def uncalibrated():
    """A model whose grids nobody has set."""
    return sp.to_fixed_point(zoo.build("chain"))


BAD = {
    "recipe beside a fixed-point model": (
        uncalibrated,
        {"quantize": sp.FixedPoint()},
        "Model 'chain' is in fixed point already, with grids of its own. Received: a recipe beside it",
    ),
    "not calibrated": (uncalibrated, {}, "Layer '.*' is not calibrated. Received: step=0"),
    "partly in float": (
        lambda: zoo.build("chain"),
        {"quantize": sp.FixedPoint(layers={"b": sp.LayerBits(None, 8)})},
        "Layer 'b' has weights in float",
    ),
    "no fixed-point form": (
        lambda: zoo.build("leaky"),
        {"quantize": sp.FixedPoint()},
        "has no fixed-point form.*or export with quantize='int8'",
    ),
    "unknown format": (
        lambda: zoo.build("chain"),
        {"quantize": "fixed"},
        "quantize must be 'none', 'int8', .* or a FixedPoint. Received: quantize='fixed'",
    ),
    "exception for no layer": (
        lambda: zoo.build("chain"),
        {"quantize": sp.FixedPoint(layers={"z": sp.LayerBits(4, 4)})},
        "no layer with weights or a signal has that name. Received: layer='z'",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_exported_is_refused_and_leaves_nothing(case, tmp_path):
    make, arguments, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        export(make(), tmp_path / "out", **ARGUMENTS, **arguments, micro=False)
    assert os.listdir(tmp_path) == []


@pytest.fixture(scope="module")
def wide():
    inputs = keras.Input(zoo.INPUT_SHAPE)
    x = zoo.conv(zoo.conv(inputs, 16, name="a"), 32, name="b")
    return zoo.randomize(keras.Model(inputs, zoo._head(x)))


@pytest.mark.parametrize("per_channel", [False, True], ids=["a step a layer", "a step a channel"])
def test_words_of_3_bits_have_a_file_with_tables_that_tflm_computes_alike(wide, tmp_path, per_channel):
    recipe = sp.FixedPoint(3, 8, per_channel=per_channel)
    summary = export(wide, tmp_path / "out", quantize=recipe, **ARGUMENTS | {"top1_agreement": 0})
    if not tflm_available():
        assert summary.lut is None and "TFLite Micro" in summary.lut_reason
        return
    assert summary.lut_reason is None and summary.lut.size_bytes < summary.int4.size_bytes < summary.int8.size_bytes
    assert summary.lut.operators["TFLM_DECODE"] >= 2
    few = zoo.batch(100, seed=9)
    assert np.array_equal(
        run_tflm(tmp_path / "out" / summary.lut.file, few), run_tflm(tmp_path / "out" / summary.int8.file, few)
    )
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["lut"]["file"] == "model_fixed_lut.tflite"


@pytest.mark.every(2)
@pytest.mark.parametrize(
    "recipe, micro, reason",
    [
        (sp.FixedPoint(4, 8), True, "No weights have 3 bits or fewer"),
        (sp.FixedPoint(3, 8), False, "TFLite Micro, which alone runs it, did not run"),
    ],
    ids=["4 bits", "without TFLM"],
)
def test_why_there_is_no_file_with_tables(wide, tmp_path, recipe, micro, reason):
    summary = export(wide, tmp_path / "out", quantize=recipe, **ARGUMENTS | {"top1_agreement": 0}, micro=micro)
    assert summary.lut is None and reason in summary.lut_reason
    assert "model_fixed_lut.tflite" not in visible(tmp_path / "out")


def test_file_with_tables_that_computes_something_else_is_not_written(wide, tmp_path, monkeypatch):
    outputs = iter(range(2))
    monkeypatch.setattr(_integer_files, "tflm_available", lambda: True)
    monkeypatch.setattr(_integer_files, "run_tflm", lambda *_, **__: np.array([next(outputs)]))
    fixed = sp.to_fixed_point(wide, sp.FixedPoint(3, 8))
    sp.calibrate(fixed, X)
    files = _integer_files.write_fixed(tmp_path / "model_fixed", fixed, float_form(fixed), X, micro=True)
    assert files.lut is None and "TFLite Micro gave 1 other integers" in files.lut_reason
    assert not (tmp_path / "model_fixed_lut.tflite").exists()
