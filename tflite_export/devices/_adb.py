"""The program `adb`, through which a phone is reached."""

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_ANSWERS_S = 60.0  # what is asked of a phone takes less, but for a benchmark
_PUSH_S = 600.0
_LOST = re.compile(
    r"^(?:adb: |error: )+(?:failed to .*: )?(?:.*device.*(?:not found|offline|unauthorized)|closed|no devices)", re.M
)
_ENDED = "tf_structprune ended: "  # behind every command on the phone, with its status
_FULL = re.compile(r"no space left|not enough space|disk quota exceeded", re.I)
_STATES = {
    "unauthorized": "has not allowed this machine. Received: unauthorized. Unlock it and accept the question about "
    "USB debugging; to be asked again run adb kill-server, then adb devices.",
    "offline": "does not answer. Received: offline. Run adb reconnect offline, or plug it in again.",
    "no permissions": "may not be opened by this user. Received: no permissions. Add a udev rule for it, then run adb "
    "kill-server.",
}


class DeviceError(RuntimeError):
    """A device that is not there, or refuses, or has no room for what is to run."""


class LostError(DeviceError):
    """A phone that was there and answers no more."""


@dataclass(frozen=True)
class Adb:
    """`adb` for one phone.

    Attributes:
        program: path of `adb`.
        serial: of the phone.
    """

    program: str
    serial: str

    def shell(self, command: str, *, timeout_s: float = _ANSWERS_S) -> tuple[int, str]:
        """Run a command line on the phone.

        Its status stands behind what it wrote: where that is missing, the phone went away in the middle, whatever adb
        says of it, which may be nothing.

        Returns:
            Its exit status, and what it wrote to stdout and stderr.

        Raises:
            LostError: the phone does not answer, or not to the end.
        """
        _, told = self._run("shell", f"({command}); echo {_ENDED}$?", timeout_s=timeout_s)
        written, _, status = told.rpartition(_ENDED)
        if status.strip().isdecimal():
            return int(status), written
        raise LostError(
            f"Phone '{self.serial}' was lost in the middle of a command. Received: {last_line(told)}. Plug it in again "
            "and run adb devices."
        )

    def push(self, data: bytes, path: str) -> None:
        """Write a file on the phone, whole.

        Raises:
            DeviceError: it does not fit, or may not be written.
            LostError: the phone does not answer.
        """
        with tempfile.TemporaryDirectory() as folder:
            local = Path(folder, "file")
            local.write_bytes(data)
            status, told = self._run("push", str(local), path, timeout_s=_PUSH_S)
        if not status and self.size(path) == len(data):
            return
        self.shell("true")  # a phone that is lost raises
        folder = path.rpartition("/")[0]
        if _FULL.search(told):
            raise DeviceError(
                f"Phone '{self.serial}' has no space left. Received: a file of {len(data):,} bytes for {folder}. Make "
                f"room, e.g. by adb -s {self.serial} shell rm -r {folder}."
            )
        raise DeviceError(
            f"Phone '{self.serial}' did not take a file of {len(data):,} bytes. Received: {last_line(told)}. See adb "
            f"-s {self.serial} shell ls -l {folder}."
        )

    def size(self, path: str) -> int | None:
        """Bytes of a file on the phone; None without one."""
        status, told = self.shell(f"wc -c < {shlex.quote(path)}")
        return int(told) if not status and told.strip().isdecimal() else None

    def pull(self, path: str) -> bytes | None:
        """Contents of a file on the phone; None without one.

        Raises:
            LostError: the phone does not answer.
        """
        with tempfile.TemporaryDirectory() as folder:
            local = Path(folder, "file")
            status, _ = self._run("pull", path, str(local), timeout_s=_PUSH_S)
            if not status and local.is_file():
                return local.read_bytes()
        self.shell("true")  # a phone that is lost raises
        return None

    def back(self, patience_s: float) -> bool:
        """Wait for a phone that was lost; whether it came back in that time."""
        try:
            return self._run("wait-for-device", timeout_s=patience_s)[0] == 0
        except DeviceError:
            return False

    def _run(self, *arguments: str, timeout_s: float) -> tuple[int, str]:
        try:
            status, told = _called(self.program, "-s", self.serial, *arguments, timeout_s=timeout_s)
        except subprocess.TimeoutExpired as error:
            raise LostError(
                f"Phone '{self.serial}' does not answer. Received: nothing of adb {arguments[0]} within "
                f"{timeout_s:.0f} s. Run adb reconnect, or plug it in again."
            ) from error
        if status and _LOST.search(told):
            raise LostError(
                f"Phone '{self.serial}' was lost. Received: {last_line(told)}. Plug it in again and run adb devices."
            )
        return status, told


def adb_program() -> str:
    """Path of `adb`: of PATH, of the Android SDK, or of the Python package `adbutils`.

    Raises:
        DeviceError: there is none.
    """
    sdks = [os.environ[name] for name in ("ANDROID_HOME", "ANDROID_SDK_ROOT") if os.environ.get(name)]
    places = [Path(sdk, "platform-tools") for sdk in sdks]
    spec = importlib.util.find_spec("adbutils")
    places += [Path(place, "binaries") for place in (spec.submodule_search_locations if spec else None) or ()]
    for path in (None, *places):
        found = shutil.which("adb", path=path)
        if found:
            return found
    raise DeviceError(
        "There is no adb. Received: none in PATH, ANDROID_HOME or the package adbutils. Install Android's "
        "platform-tools, or run pip install 'tf-structprune[android]'."
    )


def phone_of(serial: str | None) -> Adb:
    """The phone of a serial number; without one, the only phone that is connected.

    Raises:
        DeviceError: no adb, no such phone, several of them, or one that may not be used.
    """
    program = adb_program()
    phones = _connected(program)
    if not phones:
        raise DeviceError(
            "No phone is connected. Received: an empty list of adb devices. Plug one in, switch USB debugging on in "
            "its developer options, and run adb devices."
        )
    if serial is None and len(phones) > 1:
        raise DeviceError(
            f"Several phones are connected. Received: {', '.join(phones)}. Name one, e.g. --serial {[*phones][0]}."
        )
    chosen = next(iter(phones)) if serial is None else serial
    if chosen not in phones:
        raise DeviceError(f"No phone '{chosen}' is connected. Received: {', '.join(phones)}. Use one of these.")
    if phones[chosen] != "device":
        told = f"cannot be used. Received: {phones[chosen]}. Run adb devices."
        raise DeviceError(f"Phone '{chosen}' {_STATES.get(phones[chosen], told)}")
    return Adb(program, chosen)


def last_line(told: str) -> str:
    """What a program said last, without a full stop; as a message ends with it."""
    lines = [line.strip() for line in told.splitlines() if line.strip()]
    return lines[-1].removesuffix(".")[:200] if lines else "nothing"


def _connected(program: str) -> dict[str, str]:
    """State of each phone by its serial number."""
    try:
        status, told = _called(program, "devices", timeout_s=_ANSWERS_S)
    except subprocess.TimeoutExpired as error:
        raise DeviceError(
            f"adb does not answer. Received: nothing within {_ANSWERS_S:.0f} s. Run adb kill-server, then adb devices."
        ) from error
    if status:
        raise DeviceError(f"adb failed. Received: {last_line(told)}. Run {program} devices and see what it says.")
    # Serial numbers of wireless phones may hold spaces; lines that adb or the linker adds have no tabulator.
    return dict(re.findall(r"^([^\t\n]+)\t(no permissions|\w+)", told, re.M))


def _called(program: str, *arguments: str, timeout_s: float) -> tuple[int, str]:
    """Exit status and all that was written."""
    command: Sequence[str] = (program, *arguments)
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout_s,
            check=False,
        )
    except OSError as error:
        raise DeviceError(f"adb cannot be started. Received: {error}. Install Android's platform-tools.") from error
    return done.returncode, done.stdout.decode("utf-8", "replace")
