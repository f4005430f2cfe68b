import math
import re
import shutil
import subprocess

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tflite_export.bundle import _model_settings, arena_margin_bytes, model_settings
from tflite_export.file import (
    ModelDescription,
    OperatorDescription,
    TensorDescription,
    activation_peak_bytes,
    open_file,
)
from tflite_export.runtime import quantize

C_TYPES = {"int8": "std::int8_t", "float32": "float"}
COMPILER = shutil.which("g++")


def constants(header):
    """The constants of a header by name, as text."""
    return dict(re.findall(r"^constexpr \S+ (k\w+)(?:\[\w+\])? = (.+);$", header, re.M))


def tensor(shape, dtype="int8", scales=(0.5,), zero_points=(3,)):
    return TensorDescription("t", shape, dtype, scales if dtype == "int8" else (), zero_points, False)


def model_of(first, last=None, operators=(), tensors=()):
    ends = (first, last or first)
    return ModelDescription(8, (*tensors, *ends), operators, (len(tensors),), (len(tensors) + 1,))


@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_settings_read_back_are_those_of_the_file(bundle_files, kind):
    description = open_file(bundle_files[kind]).description
    header = model_settings(description, "net", arena_bytes=5000)
    found = constants(header)
    for side, real in (("Input", description.inputs[0]), ("Output", description.outputs[0])):
        assert f"using {side}Type = {C_TYPES[real.dtype]};" in header
        assert int(found[f"k{side}Rank"]) == len(real.shape)
        assert tuple(map(int, found[f"k{side}Shape"].strip("{}").split(", "))) == real.shape
        assert int(found[f"k{side}Elements"]) == math.prod(real.shape)
        scale = np.float32(found[f"k{side}Scale"].removesuffix("f"))
        assert (scale, int(found[f"k{side}ZeroPoint"])) == ((real.scales or (1,))[0], (real.zero_points or (0,))[0])


@given(st.floats(width=32, min_value=0, exclude_min=True, allow_infinity=False))
@settings(deadline=None)
def test_every_scale_reads_back_exactly(scale):
    literal = constants(model_settings(model_of(tensor((1, 2), scales=(scale,))), "m", arena_bytes=1))["kInputScale"]
    assert re.fullmatch(r"\d+\.\d+e[+-]\d+f", literal)
    assert np.float32(literal[:-1]) == np.float32(scale)


def test_header_is_guarded_ascii_and_the_same_each_time(bundle_files):
    description = open_file(bundle_files["int8"]).description
    header = model_settings(description, "key_words", arena_bytes=5000, tflm_version="0.1")
    assert header == model_settings(description, "key_words", arena_bytes=5000, tflm_version="0.1")
    lines = header.splitlines()
    assert lines[1:3] == ["#ifndef KEY_WORDS_SETTINGS_H_", "#define KEY_WORDS_SETTINGS_H_"]
    assert lines[-1] == "#endif  // KEY_WORDS_SETTINGS_H_"
    assert "namespace key_words_settings {" in header
    assert header.isascii() and max(map(len, lines)) <= 120


_CONVERT = """
#include "m_settings.h"
#include <cstdio>
int main() {
  float value;
  while (std::scanf("%f", &value) == 1) std::printf("%d\\n", static_cast<int>(m_settings::ToInput(value)));
  for (int i = -128; i < 128; ++i) {
    std::printf("%.9g\\n", static_cast<double>(m_settings::FromOutput(static_cast<m_settings::OutputType>(i))));
  }
}
"""


@pytest.mark.parametrize("scale, zero_point", [(0.5, 3), (0.0123, -128), (1 / 3, 127)])
def test_conversions_are_those_of_the_runtime(tmp_path, scale, zero_point):
    scale = float(np.float32(scale))
    real = tensor((1, 4), scales=(scale,), zero_points=(zero_point,))
    (tmp_path / "m_settings.h").write_text(model_settings(model_of(real), "m", arena_bytes=1))
    (tmp_path / "main.cc").write_text(_CONVERT)
    # Without a compiler the text is the proof that is left.
    assert "std::round(real / kInputScale)" in (tmp_path / "m_settings.h").read_text()
    if COMPILER is None:
        return
    flags = ["-std=c++11", "-Wall", "-Wextra", "-Wdouble-promotion", "-Werror", "-pedantic"]
    subprocess.run([COMPILER, *flags, "main.cc", "-o", "program"], cwd=tmp_path, check=True)
    halves = (np.arange(-40, 40) / 2 * scale).astype(np.float32)
    values = np.concatenate([halves, np.float32([0, -0.0, 1e30, -1e30, 7.3]), np.linspace(-90, 90, 99, dtype="f4")])
    given_text = " ".join(f"{value:.9g}" for value in values)
    run = subprocess.run([tmp_path / "program"], input=given_text, capture_output=True, text=True, check=True)
    printed = run.stdout.split()
    np.testing.assert_array_equal(np.int64(printed[: len(values)]), quantize(values, real))
    expected = np.float32(scale) * (np.arange(-128, 128) - zero_point).astype(np.float32)
    np.testing.assert_array_equal(np.float32(printed[len(values) :]), expected)


def test_arena_is_what_was_measured_plus_a_margin(bundle_files):
    header = model_settings(open_file(bundle_files["int8"]).description, "net", arena_bytes=5000, tflm_version="0.dev7")
    found = constants(header)
    margin = int(found["kArenaMarginBytes"])
    assert int(found["kArenaMeasuredBytes"]) == 5000
    assert margin == arena_margin_bytes(open_file(bundle_files["int8"]).description, 5000)
    assert "kArenaBytes = kArenaMeasuredBytes + kArenaMarginBytes;" in header
    assert "kArenaBytes = NET_ARENA_BYTES;" in header
    assert "tflite-micro 0.dev7 reported" in header and "64-bit" in header and "AllocateTensors() fails" in header


def operator(name, *shapes, dtype="int8"):
    """A model of one operator: its inputs and its output."""
    tensors = tuple(tensor(shape, dtype) for shape in shapes)
    last = len(tensors) - 1
    return model_of(tensors[0], tensors[-1], (OperatorDescription(name, tuple(range(last)), (last,), 0),), tensors)


# What CMSIS-NN asks for on top of the reference kernels, counted by hand.
SCRATCH = {
    "conv": (operator("CONV_2D", (1, 8, 8, 3), (5, 3, 3, 3), (1, 8, 8, 5)), 4 * 32),
    "conv_float": (operator("CONV_2D", (1, 8, 8, 3), (5, 3, 3, 3), (1, 8, 8, 5), dtype="float32"), 0),
    "depthwise": (operator("DEPTHWISE_CONV_2D", (1, 8, 8, 8), (1, 3, 3, 8), (1, 8, 8, 8)), 4 * 124 * 9),
    "depthwise_wide": (operator("DEPTHWISE_CONV_2D", (1, 4, 4, 512), (1, 3, 3, 512), (1, 4, 4, 512)), 2 * 9 * 512),
    "depthwise_one_map": (operator("DEPTHWISE_CONV_2D", (1, 8, 8, 1), (1, 3, 3, 999), (1, 8, 8, 999)), 64 + 9 * 999),
    "dense": (operator("FULLY_CONNECTED", (1, 64), (10, 64), (1, 10)), 40),
    "pool": (operator("AVERAGE_POOL_2D", (1, 8, 8, 6), (1, 4, 4, 6)), 24),
    "other": (operator("SOFTMAX", (1, 10), (1, 10)), 0),
}


@pytest.mark.parametrize("case", SCRATCH)
@pytest.mark.parametrize("measured", [1, 1000, 1024, 55_984])
def test_margin_covers_a_tenth_and_the_scratch_of_cmsis_nn(case, measured):
    description, scratch = SCRATCH[case]
    margin = arena_margin_bytes(description, measured)
    assert (measured + margin) % 1024 == 0
    assert 0 <= margin - scratch - measured // 10 < 1024


def test_margin_takes_the_largest_scratch_and_all_sums():
    shapes = ((1, 8, 8, 3), (5, 3, 3, 3), (1, 8, 8, 5), (900, 320), (1, 900), (700, 900), (1, 700))
    operators = (
        OperatorDescription("CONV_2D", (0, 1), (2,), 0),
        OperatorDescription("FULLY_CONNECTED", (2, 3), (4,), 0),
        OperatorDescription("FULLY_CONNECTED", (4, 5), (6,), 0),
    )
    tensors = tuple(map(tensor, shapes))
    margin = arena_margin_bytes(model_of(tensors[0], tensors[-1], operators, tensors), 1024 * 20)
    assert 0 <= margin - 2048 - 4 * 32 - 4 * 1600 < 1024


def test_unknown_arena_is_said_to_be_unknown(bundle_files):
    description = open_file(bundle_files["int8"]).description
    header = model_settings(description, "net", arena_bytes=None)
    assert "kArenaMeasuredBytes" not in header and "NOT KNOWN" in header
    assert "#ifdef NET_ARENA_BYTES\nconstexpr std::size_t kArenaBytes = NET_ARENA_BYTES;\n#else\n" in header
    assert "constexpr std::size_t kArenaBytes = 0;" in header
    assert f"The signals alone need {activation_peak_bytes(description)} bytes" in header


BAD = {
    "type": (
        model_of(tensor((1, 2), "int64")),
        r"Input 't': must be one of float32, int8, .*Received: int64, 0 scales",
    ),
    "scales": (
        model_of(tensor((1, 2)), tensor((1, 2), scales=(1.0, 2.0))),
        r"Output 't': must be one of .*Received: int8, 2 scales. Convert with",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cpp_has_no_type_for_is_refused(case):
    description, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        model_settings(description, "net", arena_bytes=1)


def test_name_that_is_no_identifier_is_refused():
    with pytest.raises(ValueError, match=r"name must be a C\+\+ identifier.*Received: name='my-net'"):
        model_settings(model_of(tensor((1, 2))), "my-net", arena_bytes=1)


def test_scalar_has_a_shape_that_cpp_can_store():
    header = model_settings(model_of(tensor((1, 2)), tensor(())), "m", arena_bytes=1)
    assert constants(header)["kOutputShape"] == "{1}" and constants(header)["kOutputElements"] == "1"


def test_types_are_those_that_the_table_names():
    assert set(C_TYPES.items()) <= set(_model_settings._C_TYPES.items())
