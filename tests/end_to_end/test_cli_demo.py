"""The demo, from training to the measured directory, and Ctrl-C in the middle of it."""

import configparser
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from tests.devices import ByMacs
from tests.marks import HANG_SECONDS
from tf_structprune_cli import main
from tflite_export.devices import Host
from tflite_export.runtime import run_litert

ROOT = Path(__file__).parents[2]
FIGURES = {
    *(
        "accuracy_float",
        "accuracy_int8",
        "score_float",
        "score_int8",
        "parameters",
        "macs",
        "float32_bytes",
        "int8_bytes",
    ),
    *("latency_us_float32", "latency_us_int8", "arena_bytes"),
}
KEYS = {"baseline", "compressed", "sparsity", "tolerance", "seed", "stages", "skipped_layers", "versions"} | {
    "memory",
    "npu",
}
ENTRIES = {"model.keras", "model_float32.tflite", "model_int8.tflite", "micro", "history.csv", "summary.json"} | {
    "report.html",
    "report.md",
    "report.json",
    "model_explorer",
}


def test_demo_prunes_exports_and_measures(tmp_path, capsys, monkeypatch):
    from sklearn.datasets import load_digits

    monkeypatch.setattr(Host, "latencies_us", ByMacs().latencies_us)  # what is lowered must not depend on the machine

    out = tmp_path / "digits"
    assert main(["demo", "--out", str(out)]) == 0
    assert sorted(ENTRIES - set(os.listdir(out))) == []
    summary = json.loads((out / "summary.json").read_text())
    assert summary.keys() >= KEYS
    before, after = summary["baseline"], summary["compressed"]
    assert before.keys() == after.keys() == FIGURES
    assert summary["sparsity"] >= 0.70
    assert [stage["granularity"] for stage in summary["stages"]] == ["feature_map", "kernel", "intra_kernel"]
    assert all(stage["accepted"] for stage in summary["stages"])
    assert after["accuracy_int8"] >= 0.9
    for key in ("int8_bytes", "float32_bytes", "parameters", "macs", "arena_bytes"):
        assert after[key] < before[key]
    digits = load_digits()
    scores = run_litert(out / "model_int8.tflite", (digits.images[..., None] / 16).astype("float32"))
    assert (scores.argmax(axis=1) == digits.target).mean() >= 0.9
    printed = capsys.readouterr().out
    assert printed.endswith(f"Report: {out / 'report.html'}\n")
    assert f"{before['int8_bytes']:,}" in printed and f"{after['int8_bytes']:,}" in printed


def test_ctrl_c_in_the_demo_leaves_nothing(tmp_path):
    command = [sys.executable, "-m", "tf_structprune_cli", "demo", "--out", str(tmp_path / "deep" / "digits")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def hear_ctrl_c() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a test run in the background inherits deaf ears

    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True, preexec_fn=hear_ctrl_c
    ) as process:
        watchdog = threading.Timer(HANG_SECONDS, process.kill)
        watchdog.start()
        try:
            while "Given model: " not in (line := process.stderr.readline()):
                assert line, "it ended before it pruned"
            assert list(tmp_path.glob("deep/.digits.*.partial"))
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=HANG_SECONDS)
        finally:
            watchdog.cancel()
            process.kill()
    assert process.returncode == 130
    assert err.endswith("tf-structprune: interrupted, nothing was written.\n")
    assert "Traceback" not in err
    assert os.listdir(tmp_path) == []


def test_console_script_names_a_function():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    scripts = dict(
        line.split(" = ") for line in setup["options.entry_points"]["console_scripts"].splitlines() if line.strip()
    )
    assert list(scripts) == ["tf-structprune"]
    module, name = scripts["tf-structprune"].split(":")
    assert callable(getattr(importlib.import_module(module), name))
