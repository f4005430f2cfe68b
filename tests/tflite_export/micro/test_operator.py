"""The operator TFSP_DECODE: compiled against declarations of our own, and run by the interpreter of the wheel."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.tflite_export.micro.c_programs import GXX, WARNINGS
from tests.tflite_export.micro.layers import changed
from tflite_export.child import environment
from tflite_export.file import TFLiteFile, open_file
from tflite_export.micro import CODE_BYTES, OPERATOR, sources
from tflite_export.pack import decoded, pack
from tflite_export.quantize import convert

HERE = Path(__file__).parent
ARM = "arm-none-eabi-"
_L = keras.layers

pytestmark = pytest.mark.skipif(GXX is None, reason="no C++ compiler here")


def written(folder, *more):
    """The sources in a folder, and files of the tests beside them."""
    for name, text in sources(operator=True).items():
        (folder / name).write_text(text)
    for name in more:
        shutil.copy(HERE / name, folder)
    return folder


def built(command, folder):
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("options", [("-std=c++11",), ("-std=c++17", "-fno-rtti", "-fno-exceptions", "-O2")], ids=str)
def test_it_compiles_without_a_warning(tmp_path, options):
    written(tmp_path)
    command = [GXX, *options, *WARNINGS, f"-I{HERE / 'tflm'}", "-c", "tf_structprune_decode.cc"]
    built(command, tmp_path)
    assert (tmp_path / "tf_structprune_decode.o").is_file()


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """The operator as a shared library."""
    folder = written(tmp_path_factory.mktemp("library"), "registerer.cc")
    built(["gcc", "-std=c99", "-O2", "-fPIC", "-c", "sham.c"], folder)
    units = ["registerer.cc", "tf_structprune_decode.cc", "sham.o"]
    built([GXX, "-std=c++17", "-O2", "-fPIC", "-shared", f"-I{HERE / 'tflm'}", *units, "-o", "operator.so"], folder)
    return folder / "operator.so"


@pytest.fixture(scope="module")
def network():
    """An int8 file with convolutions, depthwise too, and a dense layer; half of the weights are zero."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3))
    x = _L.Conv2D(16, 3, padding="same", activation="relu")(inputs)
    x = _L.Conv2D(16, 1)(_L.DepthwiseConv2D(3, activation="relu")(x))
    x = _L.Dense(10)(_L.Flatten()(_L.Add()([x, _L.Conv2D(16, 3, padding="same")(x)])))
    model = keras.Model(inputs, x)
    for layer in model.layers:
        layer.set_weights([np.where(np.abs(w) < np.median(np.abs(w)), 0, w) for w in layer.get_weights()])
    samples = np.random.default_rng(0).uniform(-1, 1, (40, 8, 8, 3)).astype(np.float32)
    return open_file(convert(model, quantize="int8", representative_data=samples))


def run(library, folder, models, samples):
    """Outputs of each model by name, and why others have none."""
    pytest.importorskip("tflite_micro")
    for name, file in models.items():
        (folder / f"{name}.tflite").write_bytes(file.data)
    np.save(folder / "inputs.npy", samples)
    command = [sys.executable, HERE / "tflm_child.py", library, folder]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    failed = json.loads((folder / "failed.json").read_text())
    return {name: np.load(folder / f"{name}.npy") for name in models if name not in failed}, failed


def test_tflite_micro_computes_the_same_from_the_packed_file(tmp_path, library, network):
    packed = pack(network, "own")
    assert len(packed.file.data) < len(packed.unpacked.data)
    assert OPERATOR in packed.file.description.operator_names
    assert sum(operator.name == OPERATOR for operator in packed.file.description.operators) >= 3
    samples = np.random.default_rng(1).integers(-128, 128, (50, 8, 8, 3)).astype(np.int8)
    outputs, failed = run(library, tmp_path, {"packed": packed.file, "unpacked": packed.unpacked}, samples)
    assert failed == {}
    assert len(np.unique(outputs["unpacked"])) > 20
    np.testing.assert_array_equal(outputs["packed"], outputs["unpacked"])


def damaged(file, seed):
    """The file with one coded tensor or table damaged, of the same number of bytes."""
    rng = np.random.default_rng(seed)

    def edit(model):
        (graph,) = model.subgraphs
        operators = [
            op for op in graph.operators if model.operatorCodes[op.opcodeIndex].customCode == OPERATOR.encode()
        ]
        tensor = graph.tensors[int(rng.choice(operators[int(rng.integers(len(operators)))].inputs))]
        data = bytes(model.buffers[tensor.buffer].data)
        broken = data
        while broken == data or len(broken) != len(data):
            broken = changed(data, rng)
        model.buffers[tensor.buffer].data = np.frombuffer(broken, np.uint8)

    return TFLiteFile(file.edited(edit).data)


def test_tflite_micro_refuses_damaged_weights(tmp_path, library, network):
    packed = pack(network, "own").file
    models = {f"damaged_{seed}": damaged(packed, seed) for seed in range(40)}
    samples = np.zeros((1, 8, 8, 3), np.int8)
    outputs, failed = run(library, tmp_path, {**models, "packed": packed}, samples)
    assert set(outputs) == {"packed"}
    assert set(failed) == set(models)
    for model in models.values():
        with pytest.raises(ValueError, match="Received: "):
            decoded(model, own=False)


@pytest.mark.sweep
def test_code_is_as_small_as_is_said(tmp_path):
    """With GCC for Arm, by hand; the figures are those of version 12.2, others may be a tenth off."""
    written(tmp_path)
    for option, told in zip(("-Os", "-O2"), CODE_BYTES, strict=True):
        machine = ["-mcpu=cortex-m4", "-mthumb", option, "-ffunction-sections", "-c"]
        built([f"{ARM}gcc", "-std=c99", *machine, "sham.c"], tmp_path)
        headers = ["-I.", f"-I{HERE / 'tflm'}"]
        flags = ["-std=c++17", "-fno-rtti", "-fno-exceptions", "-fno-threadsafe-statics"]
        built([f"{ARM}g++", *flags, *headers, *machine, "tf_structprune_decode.cc"], tmp_path)
        sections = subprocess.run(
            [f"{ARM}size", "-A", "sham.o", "tf_structprune_decode.o"], cwd=tmp_path, capture_output=True, text=True
        ).stdout
        assert 0.9 * told <= used_bytes(sections) <= 1.1 * told < 2560


_LAYERS = ("sham_open", "sham_read", "sham_layer", "next_column", "next_entry", "next_value", "check", "finish")


def used_bytes(sections):
    """Bytes of the functions and constants that the operator needs."""
    rows = [line.split() for line in sections.splitlines() if line.startswith((".text", ".rodata"))]
    return sum(int(size) for name, size, _ in rows if not name.startswith(tuple(f".text.{each}" for each in _LAYERS)))
