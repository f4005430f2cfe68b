import dataclasses
import shutil
import subprocess

import keras
import numpy as np
import pytest

from tests.tflite_export.bundle import tflm_stub
from tests.tflite_export.bundle.recorded import echoed
from tests.tflite_export.pack.files import drawn
from tflite_export.bundle import _self_test, micro_bundle, record
from tflite_export.file import open_file
from tflite_export.pack import pack
from tflite_export.quantize import convert
from tflite_export.runtime import quantize, run_litert

COMPILER = shutil.which("g++")
FLAGS = ("-std=c++17", "-Wall", "-Wextra", "-Wdouble-promotion", "-Werror", "-I.", "-DNET_SELF_TEST")
WHOLE = "self test, model data: PASS"
DAMAGED = [
    "self test, model data: FAIL, the bytes are not those of the exported file",
    "self test: FAIL, no sample was run",
]
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C++ compiler here")


OWN = """
#include <cstdint>
#include "net_data.h"
#include "net_ops.h"
#include "net_self_test.h"
alignas(16) std::uint8_t arena[5000];
int main() {
  net_ops_resolver resolver;
  tflite::MicroInterpreter interpreter(tflite::GetModel(net_data), resolver, arena, sizeof arena);
  return net_self_test(interpreter);
}
"""
"""Firmware that does no more than call the test."""


def build(folder, data, recorded, *options, main="main.cc"):
    """A program that was built with stand-ins whose outputs are their inputs."""
    files = micro_bundle(data, "net", arena_bytes=5000, recorded=recorded) | {"own.cc": OWN}
    tflm_stub.write_headers(folder, tflm_stub.methods_of(files["net_ops.h"]))
    for name, text in files.items():
        (folder / name).write_text(text)
    units = [main, "net_data.cc", "net_self_test.cc"]
    command = [COMPILER, *FLAGS, "-DSTUB_ECHO", *options, *units, "-o", "program"]
    subprocess.run(command, cwd=folder, check=True)
    return folder / "program"


def told_by(program):
    """The exit status of a program, and what it says of its test."""
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    return done.returncode, [line for line in done.stdout.splitlines() if line.startswith("self test")]


def run(folder, data, recorded, *options):
    """The same of a program of which all bytes are right, from the samples on."""
    code, lines = told_by(build(folder, data, recorded, *options))
    assert lines[:1] in ([WHOLE], [])
    return code, lines[1:]


@needs_compiler
def test_right_outputs_pass_and_one_wrong_byte_fails(tmp_path, bundle_files):
    recorded = echoed()
    told = [f"self test, sample {n} of 3, output: PASS, largest difference 0, allowed 0" for n in (1, 2, 3)]
    assert run(tmp_path, bundle_files["int8"], recorded) == (0, [*told, "self test: PASS"])
    recorded.outputs[0][1, 2] += 2
    told[1] = "self test, sample 2 of 3, output: FAIL, largest difference 2, allowed 0"
    assert run(tmp_path, bundle_files["int8"], recorded) == (1, [*told, "self test: FAIL, 1 of 3 samples"])
    code, lines = run(tmp_path, bundle_files["int8"], dataclasses.replace(recorded, tolerances=(2.0,)))
    assert (code, lines[-1]) == (0, "self test: PASS") and "sample 2 of 3, output: PASS, largest difference 2" in lines[
        1
    ]


@needs_compiler
@pytest.mark.parametrize("main, failed", [("main.cc", 1), ("own.cc", 3)], ids=["program", "own_firmware"])
def test_any_single_flipped_byte_of_the_model_fails(tmp_path, bundle_files, main, failed):
    data = bundle_files["int8"]
    program = build(tmp_path, data, echoed(), main=main)
    code, lines = told_by(program)
    assert (code, lines[0], lines[-1]) == (0, WHOLE, "self test: PASS")
    image = program.read_bytes()
    start = image.index(data)
    for place in (0, 4, len(data) - 1, *np.random.default_rng(7).integers(0, len(data), 20)):
        damaged = bytearray(image)
        damaged[start + place] ^= 0x80
        program.write_bytes(damaged)
        assert told_by(program) == (failed, DAMAGED)


@needs_compiler
def test_floats_may_be_off_by_what_is_allowed_and_no_number_fails(tmp_path, bundle_files):
    recorded = echoed("float32", tolerance=0.5)
    recorded.outputs[0][0, 0] += np.float32(0.25)
    code, lines = run(tmp_path, bundle_files["float32"], recorded)
    assert code == 0 and lines[0] == "self test, sample 1 of 3, output: PASS, largest difference 50, allowed 100"
    recorded.outputs[0][0, 0] += np.float32(0.5)
    code, lines = run(tmp_path, bundle_files["float32"], recorded)
    assert code == 1 and lines[0] == "self test, sample 1 of 3, output: FAIL, largest difference 150, allowed 100"
    assert lines[1].startswith("self test, sample 2 of 3, output: PASS")
    wanted = echoed("float32", tolerance=1e30)
    code, lines = run(tmp_path, bundle_files["float32"], wanted, "-DSTUB_NO_NUMBER")
    assert code == 1 and all("FAIL" in line for line in lines)


@needs_compiler
@pytest.mark.parametrize(
    "option, told",
    [
        ("-DSTUB_INVOKED=kTfLiteError", "self test, sample 1 of 3: FAIL, Invoke failed"),
        ("-DSTUB_ALLOCATED=kTfLiteError", None),
    ],
    ids=["invoke", "allocate"],
)
def test_what_does_not_run_fails(tmp_path, bundle_files, option, told):
    code, lines = run(tmp_path, bundle_files["int8"], echoed(), option)
    assert code == 1 and lines[:1] == ([] if told is None else [told])


def test_program_of_firmware_without_the_test_needs_no_more_files(bundle_files):
    files = micro_bundle(bundle_files["int8"], "net", arena_bytes=5000, tflm_version="1", recorded=echoed())
    without = micro_bundle(bundle_files["int8"], "net", arena_bytes=5000, tflm_version="1")
    assert set(files) - set(without) == {"net_self_test.cc", "net_self_test.h"}
    whole = "#ifdef NET_SELF_TEST\n  if (!net_data_is_whole()) return 1;\n#endif\n"
    guarded = '\n#ifdef NET_SELF_TEST\n#include "net_self_test.h"\n#endif\n'
    call = "#ifdef NET_SELF_TEST\n  if (net_self_test(interpreter) != 0) return 1;\n#endif\n"
    assert files["main.cc"].index(whole) < files["main.cc"].index("tflite::GetModel")
    assert files["main.cc"].replace(guarded, "").replace(call, "").replace(whole, "") == without["main.cc"]
    assert "NET_SELF_TEST" not in "".join(without.values()) and "-DNET_SELF_TEST" in files["README.md"]
    assert max(len(line) for text in files.values() for line in text.splitlines()) <= 120


def samples(count):
    return np.random.default_rng(5).uniform(-1, 1, (count, 6, 6, 2)).astype(np.float32)


def test_what_is_recorded_is_what_the_file_takes_and_gives(bundle_files):
    file, given = open_file(bundle_files["int8"]), samples(2)
    found = record(file, given)
    np.testing.assert_array_equal(found.inputs[0], quantize(given, file.description.inputs[0]))
    np.testing.assert_array_equal(found.outputs[0], run_litert(file, given, kernels="reference"))
    assert found.inputs[0].dtype == found.outputs[0].dtype == np.int8
    assert found.tolerances == (0.0,)
    assert found.size_bytes == 2 * (72 + 4)


@pytest.fixture(scope="module")
def sure():
    """A classifier whose softmax gives 0 and 1, but for inputs near 0; and such a file for each kind of numbers."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3, use_bias=False), keras.layers.Softmax()])
    model.layers[0].set_weights([20 * np.eye(3)])
    data = np.random.default_rng(2).uniform(-1, 1, (50, 3)).astype(np.float32)
    return {"float32": convert(model), "int8": convert(model, quantize="int8", representative_data=data)}


@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_samples_are_recorded_whose_outputs_are_not_saturated(sure, kind):
    given = np.eye(3, dtype=np.float32)[np.arange(40) % 3] * np.linspace(0.8, 1, 40, dtype=np.float32)[:, None]
    places = [7, 8, 30]
    given[places] *= 0.1
    file = open_file(sure[kind])
    found = record(file, given)
    np.testing.assert_array_equal(found.outputs[0], run_litert(file, given[places], kernels="reference"))


def test_recorded_samples_differ_and_are_as_many_as_do(sure, bundle_files):
    given = samples(2)
    found = record(open_file(bundle_files["int8"]), np.concatenate([given[[0]], given[[0]], given, given]))
    assert found.samples == 2
    np.testing.assert_array_equal(found.outputs[0], record(open_file(bundle_files["int8"]), given).outputs[0])
    many = np.zeros((3000, 3), np.float32)
    many[-1] = 1
    assert record(open_file(sure["int8"]), many).samples == 2


def test_every_output_counts_by_its_own_range_and_the_first_of_equal_samples_are_taken():
    wide, narrow = np.array([[0], [1000], [0], [1000], [0]]), np.array([[0, 2], [0, 2], [1, 1], [0, 1], [2, 0]])
    assert _self_test._telling([wide, narrow]).tolist() == [0, 2, 3]
    assert _self_test._telling([wide, np.zeros((5, 2))]).tolist() == [0, 1, 2]


def test_floats_are_allowed_a_share_of_the_largest(bundle_files):
    found = record(open_file(bundle_files["float32"]), samples(3))
    assert found.tolerances == (pytest.approx(1e-4 * np.abs(found.outputs[0]).max()),)


def test_packed_weights_are_recorded_as_they_decode():
    file = open_file(drawn("pruned"))
    given = np.random.default_rng(5).uniform(-1, 1, (4, *file.description.inputs[0].shape[1:]))
    plain, packed = record(file, given), record(pack(file, "own").file, given)
    for one, other in zip((*plain.inputs, *plain.outputs), (*packed.inputs, *packed.outputs), strict=True):
        np.testing.assert_array_equal(one, other)


def test_integers_are_allowed_what_tflite_micro_differs_by_here(monkeypatch, bundle_files):
    monkeypatch.setattr(_self_test, "tflm_available", lambda: True)
    monkeypatch.setattr(_self_test, "run_tflm", lambda file, given: run_litert(file, given, kernels="reference") ^ 1)
    found = record(open_file(bundle_files["int8"]), samples(1))
    assert found.tolerances == (1.0,)
    header = micro_bundle(bundle_files["int8"], "net", arena_bytes=1, recorded=found)["net_self_test.h"]
    assert "// by 1, as TFLite Micro was on the host that wrote this.\n" in header
    assert (
        "differ\n// by nothing.\n"
        in micro_bundle(bundle_files["int8"], "net", arena_bytes=1, recorded=echoed())["net_self_test.h"]
    )
