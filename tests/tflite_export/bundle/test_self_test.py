import dataclasses
import shutil
import subprocess

import numpy as np
import pytest

from tests.tflite_export.bundle import tflm_stub
from tests.tflite_export.bundle.recorded import echoed
from tests.tflite_export.pack.files import drawn
from tflite_export.bundle import _self_test, micro_bundle, record
from tflite_export.file import open_file
from tflite_export.pack import pack
from tflite_export.runtime import quantize, run_litert

COMPILER = shutil.which("g++")
FLAGS = ("-std=c++17", "-Wall", "-Wextra", "-Wdouble-promotion", "-Werror", "-I.", "-DNET_SELF_TEST")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C++ compiler here")


def run(folder, data, recorded, *options):
    """What a program prints that was built with stand-ins whose outputs are their inputs, and its exit status."""
    files = micro_bundle(data, "net", arena_bytes=5000, recorded=recorded)
    tflm_stub.write_headers(folder, tflm_stub.methods_of(files["net_ops.h"]))
    for name, text in files.items():
        (folder / name).write_text(text)
    units = ["main.cc", "net_data.cc", "net_self_test.cc"]
    command = [COMPILER, *FLAGS, "-DSTUB_ECHO", *options, *units, "-o", "program"]
    subprocess.run(command, cwd=folder, check=True)
    done = subprocess.run([folder / "program"], capture_output=True, text=True, check=False)
    return done.returncode, [line for line in done.stdout.splitlines() if line.startswith("self test")]


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
    guarded = '\n#ifdef NET_SELF_TEST\n#include "net_self_test.h"\n#endif\n'
    call = "#ifdef NET_SELF_TEST\n  if (net_self_test(interpreter) != 0) return 1;\n#endif\n"
    assert files["main.cc"].replace(guarded, "").replace(call, "") == without["main.cc"]
    assert "NET_SELF_TEST" not in "".join(without.values()) and "-DNET_SELF_TEST" in files["README.md"]
    assert max(len(line) for text in files.values() for line in text.splitlines()) <= 120


def samples(count):
    return np.random.default_rng(5).uniform(-1, 1, (count, 6, 6, 2)).astype(np.float32)


@pytest.mark.parametrize("count, places", [(2, [0, 1]), (9, [0, 4, 8])])
def test_the_first_the_last_and_the_one_between_are_recorded(bundle_files, count, places):
    file, given = open_file(bundle_files["int8"]), samples(count)
    found = record(file, given)
    assert found.samples == len(places)
    np.testing.assert_array_equal(found.inputs[0], quantize(given[places], file.description.inputs[0]))
    np.testing.assert_array_equal(found.outputs[0], run_litert(file, given[places], kernels="reference"))
    assert found.inputs[0].dtype == found.outputs[0].dtype == np.int8
    assert found.tolerances == (0.0,)
    assert found.size_bytes == len(places) * (72 + 4)


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
