"""TFLite's benchmark tool on a phone: the binary that is given, or the app that is installed."""

import hashlib
import re
import shlex
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tflite_export.devices._adb import Adb, DeviceError, last_line
from tflite_export.devices._heat import CLOCKS

FOLDER = "/data/local/tmp/tf_structprune"
"""Where files lie on the phone: the only folder in which adb's user may write and run programs."""
_ADDRESS = "https://storage.googleapis.com/litert/binaries/latest/android_arm64/benchmark_model"
_APP = "org.tensorflow.lite.benchmark"
_ABIS = {183: "arm64-v8a", 40: "armeabi-v7a", 62: "x86_64", 3: "x86"}  # by e_machine of ELF
_OTHER_ABI = re.compile(r"not executable|exec format error|cannot execute", re.I)
_LONGEST_S = 60.0  # of one call's timed inferences
_SLACK_S = 120.0  # until a call is given up: a delegate may compile the file first
_LOOK_S = 0.2  # between two looks into the app's log
_RESULT = f"{FOLDER}/result.pb"


@dataclass(frozen=True)
class Said:
    """What a run of the tool left.

    Attributes:
        log: what it printed; of the binary, the clocks behind it too.
        result: its result file; None without one.
    """

    log: str
    result: bytes | None = None


class Tool(Protocol):
    """Runs a file that lies on the phone."""

    def run(self, adb: Adb, flags: Sequence[str]) -> Said:
        """Run it once.

        Raises:
            DeviceError: the phone cannot run the tool at all.
            LostError: the phone does not answer any more.
            ValueError: the tool cannot run the file.
        """


@dataclass(frozen=True)
class Binary:
    """The native tool.

    Attributes:
        path: on the phone.
    """

    path: str

    def run(self, adb: Adb, flags: Sequence[str]) -> Said:
        """See `Tool`."""
        line = shlex.join([self.path, *flags, f"--result_file_path={_RESULT}"])
        command = f"rm -f {_RESULT}; {line}; status=$?; {CLOCKS}; exit $status"
        status, told = adb.shell(command, timeout_s=_LONGEST_S + _SLACK_S)
        if status == 126 or _OTHER_ABI.search(told):
            raise _other_abi(adb, last_line(words(told)))
        if status:
            raise ValueError(_failed(adb, told))
        return Said(told, adb.pull(_RESULT))


@dataclass(frozen=True)
class App:
    """The official benchmark app, which runs in the foreground as an app does; its results stand in the log."""

    def run(self, adb: Adb, flags: Sequence[str]) -> Said:
        """See `Tool`."""
        adb.shell("logcat -c")
        arguments = shlex.quote(f'"{" ".join(flags)}"')
        started = f"am start -S -n {_APP}/.BenchmarkModelActivity --es args {arguments}"
        status, told = adb.shell(started)
        if status or "Error" in told:
            raise DeviceError(
                f"Phone '{adb.serial}' did not start the benchmark app. Received: {last_line(told)}. Unlock it and see "
                f"adb -s {adb.serial} shell {started.partition(' --es')[0]}."
            )
        end = time.monotonic() + _LONGEST_S + _SLACK_S
        while time.monotonic() < end:
            _, log = adb.shell("logcat -d -v raw -s tflite")
            if "Inference timings in us" in log:
                return Said(log)
            if re.search(r"^(ERROR: )?Failed|Benchmarking failed", log, re.M):
                raise ValueError(_failed(adb, log))
            time.sleep(_LOOK_S)
        raise ValueError(_failed(adb, "no result in the log"))


def tool_on(adb: Adb, binary: str | None) -> Tool:
    """The tool, ready to run: a binary is brought to the phone once and stays there under its checksum.

    Args:
        adb: the phone.
        binary: path of the native tool on this machine; None for the app.

    Raises:
        DeviceError: there is no such binary, or it is for other processors, or the app is not installed.
    """
    if binary is None:
        if adb.shell(f"pm path {_APP}")[0]:
            raise DeviceError(
                f"Phone '{adb.serial}' has no benchmark app. Received: no package {_APP}. Run adb -s {adb.serial} "
                "install -r -d -g benchmark_model.apk, or give the native tool, --binary FILE."
            )
        _make_folder(adb)
        return App()
    data = _read(binary)
    known = adb.shell("getprop ro.product.cpu.abilist")[1].strip()
    abi = _abi(data)
    if abi is not None and known and abi not in known.split(","):
        raise _other_abi(adb, f"a binary for {abi}, and a phone for {known}")
    _make_folder(adb)
    path = f"{FOLDER}/tool_{hashlib.sha256(data).hexdigest()}"
    if adb.size(path) != len(data):
        adb.push(data, path)
        adb.shell(f"chmod 755 {path}")
    return Binary(path)


def common_flags(path: str, *, runs: int, warmup: int, threads: int) -> list[str]:
    """The flags of both tools: so many inferences and no more, however short they are."""
    return [
        f"--graph={path}",
        f"--num_threads={threads}",
        f"--num_runs={runs}",
        f"--warmup_runs={warmup}",
        "--min_secs=0",
        "--warmup_min_secs=0.1",  # governors take some tens of milliseconds to raise the clock
        f"--max_secs={_LONGEST_S:.0f}",
    ]


def check_binary(binary: str | None, *, app: bool) -> None:
    """Refuse to go on without a tool.

    Raises:
        DeviceError: neither the binary nor the app is asked for, or there is no such file.
    """
    if binary is None and not app:
        raise DeviceError(
            "A phone is measured by TFLite's benchmark_model. Received: neither a binary nor the app. Download "
            f"{_ADDRESS} and give it, --binary FILE, or use the installed app, --app."
        )
    if binary is not None:
        _read(binary)


def _make_folder(adb: Adb) -> None:
    status, told = adb.shell(f"mkdir -p {FOLDER}")
    if status:
        raise DeviceError(
            f"Phone '{adb.serial}' has no room for files. Received: {last_line(told)}. See adb -s {adb.serial} shell "
            "ls -ld /data/local/tmp."
        )


def _read(binary: str) -> bytes:
    path = Path(binary)
    if not path.is_file():
        raise DeviceError(f"There is no benchmark tool. Received: '{binary}'. Download {_ADDRESS}, and give its path.")
    return path.read_bytes()


def _abi(data: bytes) -> str | None:
    """For which processors a program is; None where it is no ELF file."""
    if data[:4] != b"\x7fELF" or len(data) < 20:
        return None
    machine = struct.unpack_from("<H", data, 18)[0]
    return _ABIS.get(machine, f"machine {machine}")


def _other_abi(adb: Adb, received: str) -> DeviceError:
    return DeviceError(
        f"Phone '{adb.serial}' cannot run this benchmark tool. Received: {received}. Take the one for its processors, "
        f"as adb -s {adb.serial} shell getprop ro.product.cpu.abilist names them."
    )


def words(told: str) -> str:
    """The tool's own words: the clocks behind them are not its."""
    return "\n".join(line for line in told.splitlines() if "scaling_cur_freq:" not in line)


def _failed(adb: Adb, told: str) -> str:
    lines = words(told).splitlines()
    errors = [line for line in lines if re.search(r"error|fail", line, re.I)] or lines
    return (
        f"The benchmark tool failed on phone '{adb.serial}'. Received: {last_line(chr(10).join(errors))}. Try another "
        "delegate, or run the file on this machine first."
    )
