"""C programs of the tests: compiled once with sanitizers, and given many cases at a time."""

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from tflite_export.micro import sources

GCC, GXX = shutil.which("gcc"), shutil.which("g++")
WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Werror", "-Wconversion", "-Wsign-conversion", "-Wshadow")
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-O1")
OK, DAMAGED, ARGUMENT = 0, 1, 2

needs_gcc = pytest.mark.skipif(GCC is None, reason="no C compiler here")


def compiled(folder, name, *texts, compiler=GCC, options=()):
    """A program of the C sources and more files, in a folder."""
    for file, text in sources(operator=True).items():
        (folder / file).write_text(text)
    units = ["sham.c"]
    for path in texts:
        (folder / path.name).write_text(path.read_text())
        units.append(path.name)
    command = [compiler, "-std=c99", *WARNINGS, *options, *units, "-o", name]
    built = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert (built.returncode, built.stderr) == (0, "")
    return folder / name


@pytest.fixture(scope="session")
def driver(tmp_path_factory):
    """`driver(cases)` gives the status of each case and what it answered; sanitizers end it with an error."""
    program = compiled(
        tmp_path_factory.mktemp("driver"), "driver", Path(__file__).with_name("driver.c"), options=SANITIZERS
    )

    def run(cases):
        done = subprocess.run(
            [program], input=b"".join(case for case, _ in cases), capture_output=True, timeout=600, check=False
        )
        assert (done.returncode, done.stderr.decode(errors="replace")) == (0, "")
        answers, at = [], 0
        for _, size in cases:
            status, at = done.stdout[at], at + 1
            told = done.stdout[at : at + size] if status == OK else b""
            at += len(told)
            answers.append((status, told))
        assert at == len(done.stdout)
        return answers

    return run


def block(data):
    """Bytes behind their number."""
    return struct.pack("<I", len(data)) + bytes(data)


def intact_case(data):
    """Asks whether bytes are whole."""
    return b"i" + block(data), 0


def weights_case(kind, data, table, count, piece):
    """Asks for the weights of the coded form ("c") or of a matrix ("m"), so many at a time."""
    return kind.encode() + block(data) + block(table) + struct.pack("<II", count, piece), count


def layer_case(kind, data, table, layer):
    """Asks for the outputs of a layer from the coded form ("d") or from a matrix ("s")."""
    blocks = (data, table, layer.x.tobytes(), layer.bias_bytes, layer.multipliers.tobytes(), layer.shifts.tobytes())
    pixels, inputs = layer.x.shape
    numbers = (inputs, layer.outputs, pixels, *layer.offsets, *layer.limits, layer.sums)
    return kind.encode() + b"".join(map(block, blocks)) + struct.pack("<IIIiiiiI", *numbers), pixels * layer.outputs
