"""An export packs on demand: verified in TFLite Micro, told with the code of the decoder, beside the unpacked file."""

import dataclasses
import os
import re

import keras
import numpy as np
import pytest

from tests import zoo
from tflite_export.export import ExportSettings, ExportSummary, _integer_files, export
from tflite_export.export._integer_files import for_micro
from tflite_export.file import TFLiteFile, slim
from tflite_export.micro import OPERATOR, sources
from tflite_export.pack import CODE_SIZES, CodeSize, decoded
from tflite_export.quantize import convert
from tflite_export.runtime import run_tflm, tflm_available

X = zoo.batch(40)
ARGUMENTS = {"representative_data": X, "lower": "none", "npu": None, "top1_agreement": 0}
needs_tflm = pytest.mark.skipif(not tflm_available(), reason="needs tflite-micro")


def written(folder, model):
    """The integer files of a model, before any is packed."""
    file = TFLiteFile(convert(model, quantize="int8", representative_data=X))
    return _integer_files.write_plain(folder / "model_int8", file)


@pytest.fixture(scope="module")
def sparse():
    """A network most of whose weights are zero."""
    inputs = keras.Input(zoo.INPUT_SHAPE)
    model = zoo.randomize(keras.Model(inputs, zoo._head(zoo.conv(zoo.conv(inputs, 20), 30))))
    rng = np.random.default_rng(0)
    model.set_weights([w * (rng.random(w.shape) < 0.15) if w.ndim > 1 else w for w in model.get_weights()])
    return model


@pytest.fixture(scope="module")
def exported(sparse, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "out"
    return folder, export(sparse, folder, pack="huffman", io="float32", **ARGUMENTS)


@needs_tflm
def test_file_that_is_packed_by_name_is_the_one_of_the_bundle(exported):
    folder, summary = exported
    content = (folder / "model_int8_packed.tflite").read_bytes()
    assert summary.packed.file == "model_int8_packed.tflite" and summary.packed.size_bytes == len(content)
    assert summary.packed.size_bytes < summary.int8.size_bytes and summary.packed.code == CODE_SIZES["TFLM_DECODE"]
    assert summary.int8.code is None and summary.packed.parameters == summary.int8.parameters
    assert summary.packed.memory.decoded_bytes > 0 == summary.int8.memory.decoded_bytes
    array = (folder / "micro" / "model_data.cc").read_text()
    assert bytes(int(byte, 16) for byte in re.findall(r"0x([0-9a-f]{2}),", array)) == content
    assert "resolver.AddDecode()" in (folder / "micro" / "model_ops.h").read_text()
    assert np.array_equal(run_tflm(folder / "model_int8_packed.tflite", X), run_tflm(folder / "model_int8.tflite", X))
    unpacked = TFLiteFile((folder / "model_int8.tflite").read_bytes())
    assert decoded(content).data == unpacked.edited(slim).data


@needs_tflm
def test_summary_tells_file_and_code(exported):
    folder, summary = exported
    assert ExportSummary.from_json((folder / "summary.json").read_text()) == summary
    for figure in (summary.packed.size_bytes, 8_500, 20_700):
        assert f"{figure:,}" in summary.packing and summary.packing in str(summary)
    assert "model_int8_packed.tflite" in str(summary)


@needs_tflm
def test_file_for_our_own_operator_is_written_with_its_sources_and_held_to_a_stand_in(sparse, tmp_path):
    summary = export(sparse, tmp_path / "out", pack="own", bundle=("esp-idf", "arduino"), **ARGUMENTS)
    packed, whole = (tmp_path / "out" / f"model_int8{ending}.tflite" for ending in ("_packed", ""))
    assert summary.packed.code == CODE_SIZES[OPERATOR] and summary.packed.flash_bytes < summary.int8.size_bytes
    assert summary.packed.operators[OPERATOR] == 2 and summary.packed.arena_bytes >= summary.int8.arena_bytes
    assert decoded(packed).data == TFLiteFile(whole.read_bytes()).edited(slim).data
    micro = tmp_path / "out" / "micro"
    assert sources(operator=True).keys() | {"model_self_test.cc", "esp-idf", "arduino"} < set(os.listdir(micro))
    assert sources(operator=True).keys() < set(os.listdir(micro / "esp-idf/components/model_tflm"))
    (note,) = summary.bundle_notes
    assert note.startswith("arduino: Arduino_TensorFlowLite 2.4.0-ALPHA of 2023 has no TFSP_DECODE, so")
    assert note in str(summary) and note in (micro / "arduino/README.md").read_text()
    assert ExportSummary.from_json((tmp_path / "out" / "summary.json").read_text()) == summary
    header = (tmp_path / "out" / "micro" / "model_ops.h").read_text()
    assert f'resolver.AddCustom("{OPERATOR}", tf_structprune::RegisterDecode())' in header
    stand_in = np.array(run_tflm(_integer_files.stand_in(TFLiteFile(packed.read_bytes())), X))
    assert np.array_equal(stand_in, run_tflm(whole, X))


def test_auto_stays_with_the_int8_file_where_the_decoder_takes_more_than_it_saves(tmp_path):
    summary = export(zoo.build("chain"), tmp_path / "out", pack="auto", **ARGUMENTS)
    assert summary.packed is None and "It stays unpacked." in summary.packing
    assert "model_int8_packed.tflite" not in os.listdir(tmp_path / "out")


@needs_tflm
def test_bundle_counts_the_code(exported):
    _, summary = exported
    cheap = dataclasses.replace(summary.packed, code=CodeSize(0, 0), arena_bytes=summary.int8.arena_bytes)
    dear = dataclasses.replace(cheap, code=CodeSize(summary.int8.size_bytes, 10**6))
    assert for_micro(summary.int8, cheap) == cheap
    assert for_micro(summary.int8, dear) == summary.int8


@pytest.mark.parametrize(
    "available, reason",
    [
        (False, "TFLite Micro, which alone runs it, did not run"),
        (True, "TFLite Micro gave 40 other integers than for the int8 file, on 40 samples"),
    ],
)
def test_file_that_was_not_verified_is_not_written(tmp_path, monkeypatch, sparse, available, reason):
    outputs = iter(range(2))
    monkeypatch.setattr(_integer_files, "tflm_available", lambda: available)
    monkeypatch.setattr(_integer_files, "run_tflm", lambda *_, **__: np.full(40, next(outputs)))
    files = written(tmp_path, sparse)
    files = files.with_packed("huffman", X, micro=True, names=False)
    assert files.packed is None and reason in files.packing
    assert os.listdir(tmp_path) == ["model_int8.tflite"]


def test_coder_that_cannot_is_told(tmp_path):
    small = zoo.build("chain")
    files = written(tmp_path, small)
    assert "'lut' makes none of its weights smaller" in files.with_packed("lut", X, micro=True, names=False).packing


@pytest.mark.parametrize(
    "options, message",
    [
        ({"pack": "zip"}, r"pack must be 'auto', 'huffman', 'bitmap', 'lut', 'own'\. Received: pack='zip'"),
        (
            {"pack": "auto", "quantize": "none"},
            "an integer file.* Received: pack='auto' with quantize='none'",
        ),
        ({"pack": "lut", "quantize": "float16"}, "those of an integer file"),
        ({"pack": "huffman", "micro": "none"}, "TFLite Micro alone runs it"),
        ({"pack": "huffman", "micro": False}, "Use quantize='int8', micro='auto'"),
    ],
)
def test_what_cannot_be_packed_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ExportSettings(**options)
