"""The processes that run native code for this one."""

import atexit
import contextlib
import os
import pickle
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self, cast

_PROCESS = Path(__file__).with_name("_process.py")
_TOLD = 300  # characters of what a dead process printed last
_NOTE = re.compile("INFO: |WARNING: |To enable |[IW][0-9]{4} ")  # how lines begin that do not say why


class NativeError(Exception):
    """What native code refused.

    Attributes:
        kind: name of the exception's class.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class CrashError(NativeError):
    """The process died while it worked; the text says how."""

    def __init__(self, text: str) -> None:
        super().__init__("CrashError", text)


def environment() -> dict[str, str]:
    """Variables of a process that finds the modules that this one finds."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


@dataclass
class _Running:
    """A process that answers requests.

    Attributes:
        process: it.
        requests: its stdin.
        answers: its stdout.
        log: what it prints.
        owner: process that began it; a copy that a fork made of that one must not ask.
        said: bytes that it had printed before the last request.
    """

    process: subprocess.Popen[bytes]
    requests: IO[bytes]
    answers: IO[bytes]
    log: IO[bytes]
    owner: int
    said: int = 0

    @classmethod
    def begun(cls, *ahead: str) -> Self:
        """A new one.

        Args:
            ahead: what it imports before the first request, see `_process`.
        """
        log = tempfile.TemporaryFile()  # noqa: SIM115  it is read when the process has died
        process = subprocess.Popen(
            [sys.executable, "-P", str(_PROCESS), *ahead],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            # The converter has no use for memory of a GPU.
            env=environment() | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""},
            start_new_session=True,  # Ctrl-C is for this process, which ends that one
        )
        return cls(process, cast(IO[bytes], process.stdin), cast(IO[bytes], process.stdout), log, os.getpid())

    def ask(self, name: str, arguments: tuple[Any, ...]) -> tuple[str | None, Any]:
        """(None, value), or (class, text) of what was raised.

        Raises:
            EOFError, OSError, pickle.UnpicklingError: it died.
        """
        self.said = os.fstat(self.log.fileno()).st_size
        pickle.dump((name, arguments), self.requests, pickle.HIGHEST_PROTOCOL)
        self.requests.flush()
        answer: tuple[str | None, Any] = pickle.load(self.answers)
        return answer

    def kill(self) -> None:
        """Kills it, and the copies that it made of itself."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def end(self) -> str:
        """Ends it, and says how it ended and what it printed last."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(1)
        self.kill()
        status = self.process.wait()
        for stream in (self.requests, self.answers):
            with contextlib.suppress(BrokenPipeError):
                stream.close()
        how = f"exit status {status}" if status >= 0 else signal.Signals(-status).name
        self.log.seek(self.said)
        lines = self.log.read().decode(errors="replace").splitlines()
        said = next((line.strip()[:_TOLD] for line in reversed(lines) if line.strip() and not _NOTE.match(line)), "")
        self.log.close()
        return f"died ({how}){f', its last words: {said}' if said else ''}"


class _Child:
    """The process: begun at the first request, and anew at the next one behind a crash.

    It ends with this one, however that ends: its stdin does.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._running: _Running | None = None

    def begin(self, *ahead: str) -> _Running:
        """The running process, or a new one that imports this ahead: the old one may have been killed meanwhile."""
        running = self._running
        if running is None or running.owner != os.getpid() or running.process.poll() is not None:
            running = self._running = _Running.begun(*ahead)
        return running

    def ask(self, name: str, *arguments: Any) -> Any:
        """The value of one of the functions of `_process`."""
        running = self.begin()
        try:
            kind, value = running.ask(name, arguments)
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            self._running = None
            raise CrashError(running.end()) from error
        except BaseException:  # Ctrl-C: an answer would come that no one waits for
            self.end()
            raise
        if kind is not None:
            raise NativeError(kind, value)
        return value

    def end(self) -> None:
        """Ends the process, if there is one."""
        running, self._running = self._running, None
        if running is not None and running.owner == os.getpid():
            running.kill()
            running.end()


_CHILD = _Child()
_MICRO = _Child()  # has TFLite Micro to itself: what forks has loaded nothing else
atexit.register(_CHILD.end)
atexit.register(_MICRO.end)


@contextlib.contextmanager
def native(*, micro: bool = False) -> Iterator[Callable[..., Any]]:
    """Lets this block alone ask the process that runs native code, which keeps what it loaded from request to request.

    Args:
        micro: the process for TFLite Micro, not that for LiteRT and the converter.

    Yields:
        `ask(name, *arguments)`, which gives the value of a function of `_process`.

    Raises:
        NativeError: by `ask`, what native code refused.
        CrashError: by `ask`, the process died; the next request has a new one.
    """
    child = _MICRO if micro else _CHILD
    with child.lock:
        yield child.ask


def refusal(*requests: tuple[Any, ...]) -> NativeError | None:
    """What keeps native code from answering requests, or ends its process; None if all are answered.

    Args:
        *requests: each the name of a function of `_process` and its arguments.
    """
    try:
        with native() as ask:
            for request in requests:
                ask(*request)
    except NativeError as error:
        return error
    return None


def prepare_native() -> None:
    """Begins the process, which takes seconds until it can convert, beside what this one does until then."""
    with _CHILD.lock:
        _CHILD.begin("tensorflow")
