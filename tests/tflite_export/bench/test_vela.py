import dataclasses
import importlib.metadata
import importlib.util
import json
import os
import re
import subprocess
import sys

import keras
import numpy as np
import pytest

from tflite_export.bench import ACCELERATORS, _vela, check_accelerator, estimate_npu, vela_available
from tflite_export.quantize import convert


@pytest.fixture(scope="module")
def files():
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Conv2D(6, 3, activation="relu"), keras.layers.Flatten(), keras.layers.Dense(5)]
    model = keras.Sequential([keras.Input((8, 8, 2)), *layers])
    data = np.random.default_rng(0).random((20, 8, 8, 2), np.float32)
    return {"float32": convert(model), "int8": convert(model, quantize="int8", representative_data=data)}


@pytest.fixture
def vela():
    pytest.importorskip("ethosu.vela")


@pytest.mark.usefixtures("vela")
class TestInstalled:
    @pytest.mark.parametrize("accelerator", ["ethos-u55-128", "ethos-u65-256", "ethos-u85-256"])
    def test_estimate_is_consistent(self, files, accelerator):
        estimate = estimate_npu(files["int8"], accelerator=accelerator)
        assert (estimate.accelerator, estimate.cpu_operators) == (accelerator, {})
        assert 0 < estimate.npu_cycles <= estimate.total_cycles
        assert estimate.inference_us == pytest.approx(1e6 * estimate.total_cycles / estimate.clock_hz)
        assert 8 * 8 * 2 <= estimate.sram_bytes + estimate.dram_bytes + estimate.flash_bytes < 100_000
        assert estimate.vela_version == importlib.metadata.version("ethos-u-vela")
        assert estimate.system_config.lower().startswith(accelerator.replace("-", "_")[:9])
        assert json.loads(json.dumps(dataclasses.asdict(estimate))) == dataclasses.asdict(estimate)

    def test_same_file_gives_the_same_estimate(self, files, tmp_path):
        (tmp_path / "net.tflite").write_bytes(files["int8"])
        assert estimate_npu(tmp_path / "net.tflite") == estimate_npu(files["int8"])
        assert os.listdir(tmp_path) == ["net.tflite"]

    def test_operators_in_float_stay_on_the_cpu(self, files):
        estimate = estimate_npu(files["float32"])
        assert estimate.cpu_operators == {"CONV_2D": 1, "FULLY_CONNECTED": 1, "RESHAPE": 1}
        assert (estimate.npu_cycles, estimate.inference_us) == (0, 0)

    def test_vela_leaves_the_terminal_alone(self, files, capfd):
        estimate_npu(files["int8"])
        assert capfd.readouterr() == ("", "")

    def test_names_are_those_that_vela_takes(self):
        command = [sys.executable, "-m", "ethosu.vela", "--help"]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert re.search(r"--accelerator-config \{([^}]*)\}", said).group(1).split(",") == list(ACCELERATORS)


@pytest.mark.parametrize("name", ["ethos-u55", "ethos-u55-129", "Ethos-U55-128", "", "u55"])
@pytest.mark.parametrize("call", [check_accelerator, lambda name: estimate_npu(b"", accelerator=name)])
def test_unknown_accelerator_is_refused_with_those_there_are(call, name):
    with pytest.raises(ValueError, match=f"Unknown NPU. Received: npu='{name}'. Use one of: ethos-u55-32, .*u85-2048"):
        call(name)


def test_missing_vela_names_the_extra(files, monkeypatch):
    monkeypatch.setattr(_vela, "vela_available", lambda: False)
    with pytest.raises(ImportError, match=r"Vela is not installed. .*pip install 'tf-structprune\[micro\]'"):
        estimate_npu(files["int8"])


def test_vela_is_available_when_its_package_is(monkeypatch):
    assert vela_available() == (importlib.util.find_spec("ethosu") is not None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not vela_available()


def finished(returncode, stdout="", stderr="", summary=None):
    """A stand-in for `subprocess.run` that leaves this in place of Vela."""

    def run(command, cwd, **_):
        if summary is not None:
            (cwd / "model_summary_x.csv").write_text(summary)
        return subprocess.CompletedProcess(command, returncode, stdout, stderr)

    return run


def too_slow(command, **_):
    raise subprocess.TimeoutExpired(command, 300)


FAILURES = {
    "crash": (finished(-11), r"cannot compile the model for ethos-u55-128. Received: exit status -11, 'nothing'"),
    "error": (finished(1, "x", "Traceback\nRuntimeError: no"), "Received: exit status 1, 'RuntimeError: no'"),
    "silent": (finished(1, "Error: why"), "Received: exit status 1, 'Error: why'"),
    "too slow": (too_slow, "Vela did not finish in 300 s for ethos-u55-128"),
    "no summary": (finished(0), "Vela's summary cannot be read: ValueError"),
    "other columns": (finished(0, summary="a,b\n1,2\n"), "Vela's summary cannot be read: KeyError: 'system_config'"),
    "two rows": (finished(0, summary="a\n1\n2\n"), "Vela's summary cannot be read: ValueError"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_failure_of_vela_is_told(files, monkeypatch, case):
    run, message = FAILURES[case]
    monkeypatch.setattr(_vela, "vela_available", lambda: True)
    monkeypatch.setattr(_vela.subprocess, "run", run)
    with pytest.raises(RuntimeError, match=message):
        estimate_npu(files["int8"])


def test_damaged_file_is_refused(files, monkeypatch):
    monkeypatch.setattr(_vela, "vela_available", lambda: True)
    with pytest.raises(ValueError, match="damaged or truncated TFLite model"):
        estimate_npu(files["int8"][:500])
