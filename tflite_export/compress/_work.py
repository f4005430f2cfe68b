"""What a run of `compress` has done so far, in a hidden folder beside its output."""

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import keras

from tf_structprune.resume import State, StateFolder, digest, identity, read_state, wiring, write_state
from tflite_export.bench import Device
from tflite_export.compress._data import Data
from tflite_export.compress._settings import CompressSettings
from tflite_export.verify import VerificationError

_FORMAT = 1  # of the files, and of how results come about; counted up when either changes
_RUN = "run.npz"
_INTERRUPTED = "interrupted. What was done so far is kept; the same command goes on from there."


class RefusedError(RuntimeError):
    """No pruned model stays within the tolerance."""


@dataclass(frozen=True)
class Work:
    """Finished parts of a run, each in one file.

    Attributes:
        path: the folder; None keeps nothing.
        fingerprint: what run they belong to.
    """

    path: Path | None = None
    fingerprint: Mapping[str, Any] | None = None

    def known(self, name: str) -> State | None:
        """A part that is finished, or None.

        Raises:
            ValueError: its file is damaged.
        """
        if self.path is None or not (file := self.path / f"{name}.npz").exists():
            return None
        return read_state(file, self.fingerprint or {})

    def keep(self, name: str, state: State) -> None:
        """Write a finished part down."""
        if self.path is not None:
            write_state(self.path / f"{name}.npz", state, self.fingerprint or {})

    def epochs(self, name: str) -> StateFolder | None:
        """Where the epochs of a retraining are kept, None for nowhere."""
        return None if self.path is None else StateFolder(self.path / name, self.fingerprint or {}, keep=1)

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Keep the folder if the block is interrupted or fails for want of memory or disk, not if it refuses."""
        try:
            yield
        except KeyboardInterrupt as interruption:
            raise KeyboardInterrupt(_INTERRUPTED) from interruption
        except (ValueError, TypeError, RefusedError, VerificationError):
            self.remove()  # the same command would say the same again
            raise

    def remove(self) -> None:
        """Remove the folder."""
        if self.path is not None:
            shutil.rmtree(self.path, ignore_errors=True)


NO_WORK = Work()
"""Keeps nothing."""


def open_work(out: str | os.PathLike[str], fingerprint: Mapping[str, Any]) -> Work:
    """The folder of a run, which is made if there is none.

    Args:
        out: the output directory, beside which it lies; the parent exists.
        fingerprint: what the run depends on.

    Raises:
        ValueError: the folder is damaged, or belongs to another run or to something else.
        OSError: it cannot be made.
    """
    target = Path(os.path.realpath(out))
    path = target.with_name(f".{target.name}.work")
    path.mkdir(exist_ok=True)
    if (path / _RUN).exists():
        read_state(path / _RUN, fingerprint)
    elif foreign := sorted(file.name for file in path.iterdir() if not file.name.startswith(f".{_RUN}")):
        raise ValueError(
            f"{path} holds files that are no states of a run. Received: {', '.join(foreign[:3])}. Move them, or choose "
            "another output directory."
        )
    else:
        write_state(path / _RUN, State({}, {}), fingerprint)
    return Work(path, fingerprint)


def fingerprint(dense: keras.Model, data: Data, settings: CompressSettings, device: Device) -> dict[str, Any]:
    """By name, what the result of a run depends on."""
    weights = [keras.ops.convert_to_numpy(weight) for weight in dense.weights]
    return {
        "format": _FORMAT,
        "model": wiring(dense, *weights, names=True),
        "device": identity(device),
        "data": digest(*(value for part in fields(data) if (value := getattr(data, part.name)) is not None)),
        **{setting.name: identity(getattr(settings, setting.name)) for setting in fields(settings)},
    }
