"""Phones that are folders: a fake `adb` and stand-ins for what runs on a phone, so that whole paths run here."""

import os
import stat
import sys
from pathlib import Path

_HERE = Path(__file__).parent / "phone"
_START = r"""
[ -f "$PHONE/locked" ] && echo "Error: Activity not started" && exit 1
shift 6
"$PHONE/tool" $(echo "$1" | tr -d '"') > "$PHONE/log"
echo Starting: Intent
"""
_ANSWERS = {
    "getprop": 'case "$1" in *abilist) cat "$PHONE/abilist" ;; *) echo "Pixel 8" ;; esac',
    "dumpsys": 'cat "$PHONE/battery"',
    "pm": '[ -f "$PHONE/app" ] && echo package:/data/app/base.apk',
    "logcat": '[ "$1" = -c ] && rm -f "$PHONE/log"; [ "$1" = -d ] && cat "$PHONE/log" 2>/dev/null; true',
    "am": _START,
}

PROFILE = """\
Profiling Info for Benchmark Initialization:
============================== Run Order ==============================
node type, first, avg_ms, %, cdf%, mem KB, times called, name
AllocateTensors, 1.356, 1.356, 100%, 100%, 0, 1, AllocateTensors/0

Operator-wise Profiling Info for Regular Benchmark Runs:
============================== Run Order ==============================
node type, first, avg_ms, %, cdf%, mem KB, times called, name
QUANTIZE, 0.1, 0.125, 5%, 5%, 0, 1, [quantized]:0
TfLiteXNNPackDelegate, 2.1, 2, 90%, 95%, 0, 1, [probabilities]:9

============================== Top by Computation Time ==============================
node type, first, avg_ms, %, cdf%, mem KB, times called, name
TfLiteXNNPackDelegate, 2.1, 2, 90%, 95%, 0, 1, [probabilities]:9

Number of nodes executed: 2
"""
"""What the tool prints of a file with two operators, one of them the delegate."""


class Phones:
    """A folder of phones behind an `adb` that is alone in the PATH of the test, but for the shell's own programs.

    Args:
        folder: an empty folder.
        patch: pytest's monkeypatch.
    """

    def __init__(self, folder, patch):
        self.folder, self.binary = folder / "phones", folder / "benchmark_model"
        self.folder.mkdir()
        self.adb = _program(folder / "sdk/platform-tools/adb", (_HERE / "adb").read_text())
        _program(self.binary, (_HERE / "benchmark_model").read_text().replace("PYTHON", sys.executable))
        patch.setenv("FAKE_PHONES", str(self.folder))
        patch.setenv("ANDROID_HOME", str(folder / "sdk"))
        patch.setenv("PATH", os.defpath)

    def add(self, serial="A1", **knobs):
        """A phone on which a file takes as many microseconds as it has bytes, or as a `formula` says."""
        phone = self.folder / serial
        clock = phone / "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq"
        for folder in (phone / "data/local/tmp", clock.parent):
            folder.mkdir(parents=True)
        clock.write_text("2800000\n")
        for name, line in _ANSWERS.items():
            _program(phone / "bin" / name, f"#!/bin/sh\n{line}\n")
        (phone / "tool").symlink_to(self.binary)
        for name, value in {"abilist": "arm64-v8a,armeabi-v7a", "battery": "  temperature: 301", **knobs}.items():
            (phone / name).write_text(f"{value}\n")
        return phone


def left_on(phone):
    """Names of the files of ours on a phone."""
    return sorted(path.name for path in (phone / "data/local/tmp").rglob("*") if path.is_file())


def _program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path
