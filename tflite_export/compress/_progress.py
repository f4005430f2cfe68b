"""What a run does, told while it does it."""

import os
import sys
import threading
import time
from types import TracebackType
from typing import Any, Self, TextIO

import keras
from rich.console import Console
from rich.status import Status

_SILENCE_S = 8  # less than ten, with what a native call may hold the thread up
_BEAT_S = 1.0


class Progress:
    """A line on stderr for each step and epoch, and between them, at least every ten seconds, what goes on.

    On a terminal that is one changing line below the others. It is told between `with` and its end.

    Args:
        shown: whether anything is told.
    """

    def __init__(self, *, shown: bool) -> None:
        self.shown = shown
        self._doing, self._since, self._last = "", 0.0, 0.0

    def __enter__(self) -> Self:
        if self.shown:
            self._stream = _own_stderr()
            self._console = Console(file=self._stream, soft_wrap=True, highlight=False, markup=False, emoji=False)
            self._status = Status("", console=self._console) if self._console.is_terminal else None
            self._ended = threading.Event()
            self._thread = threading.Thread(target=self._beat, daemon=True)
            self.doing("begins")
            self._last = time.monotonic()
            if self._status is not None:
                self._status.start()
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.shown:
            self._ended.set()
            self._thread.join()
            if self._status is not None:
                self._status.stop()
            if self._stream is not sys.stderr:
                self._stream.close()

    def line(self, text: str) -> None:
        """Print a line, of something that is done."""
        if self.shown:
            self._console.print(text)
            self._last = time.monotonic()

    def doing(self, text: str) -> None:
        """Say what goes on from now."""
        if text != self._doing:
            self._doing, self._since = text, time.monotonic()

    def _beat(self) -> None:
        while not self._ended.wait(_BEAT_S):
            now = time.monotonic()
            text = f"... {self._doing}, {now - self._since:.0f} s"
            if self._status is not None:
                self._status.update(text)
            elif now - self._last > _SILENCE_S:
                self.line(text)


def _own_stderr() -> TextIO:
    """Stderr, or where that is the process's own, a copy, which the converter's silence does not reach."""
    try:
        return os.fdopen(os.dup(2), "w") if sys.stderr.fileno() == 2 else sys.stderr
    except (AttributeError, OSError, ValueError):  # replaced by something that is no file
        return sys.stderr


SILENT = Progress(shown=False)
"""Tells nothing."""


class EpochLines(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is untyped
    """A line for each epoch: its figures, the best validation loss so far, and the time that is left.

    Args:
        progress: where to.
        name: of the stage.
    """

    def __init__(self, progress: Progress, name: str) -> None:
        super().__init__()
        self.progress, self.name = progress, name
        self.best: tuple[float, int] | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Begin to count."""
        self.begun, self.steps = time.monotonic(), 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Remember which."""
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Say how far it is."""
        self.steps += 1
        told = f"{self._told(self.epoch)}, step {batch + 1} of {self.params['steps']}"
        self.progress.doing(f"{told}{self._left(self.epoch, batch + 1)}")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Say what it gave."""
        figures = ", ".join(f"{name} {value:.4g}" for name, value in (logs or {}).items() if name != "learning_rate")
        loss = (logs or {}).get("val_loss")
        if loss is not None and (self.best is None or loss < self.best[0]):
            self.best = loss, epoch + 1
        best = "" if self.best is None else f"; best val_loss {self.best[0]:.4g} in epoch {self.best[1]}"
        left = self._left(epoch + 1, 0)
        self.progress.line(f"{self._told(epoch)}: {figures}{best}{left}")
        self.progress.doing(f"{self.name}: after epoch {epoch + 1}")

    def _told(self, epoch: int) -> str:
        return f"{self.name}: epoch {epoch + 1} of {self.params['epochs']}"

    def _left(self, epoch: int, step: int) -> str:
        steps = (self.params["epochs"] - epoch) * self.params["steps"] - step
        if not steps or not self.steps:
            return ""
        return f"; {steps * (time.monotonic() - self.begun) / self.steps:.0f} s left"
