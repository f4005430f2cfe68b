"""One state in one file: numbers and texts as JSON, arrays beside them, nothing that is run when it is read."""

import json
import os
import secrets
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tf_structprune.resume._fingerprint import differences

_TEXT = "state.json"
_PARTIAL = ".partial"
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, KeyError, TypeError)


@dataclass(frozen=True)
class State:
    """What was written.

    Attributes:
        values: numbers, texts, lists and dictionaries, as JSON has them.
        arrays: arrays by name; types that NumPy does not know, such as bfloat16, come back as raw bytes.
    """

    values: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]]


def write_state(file: Path, state: State, fingerprint: Mapping[str, Any]) -> None:
    """Write a state; a process that is killed leaves the whole file or none.

    Args:
        file: where; a file that is there is replaced.
        state: what.
        fingerprint: what run it belongs to.

    Raises:
        OSError: it cannot be written.
    """
    text = json.dumps({"fingerprint": dict(fingerprint), "values": dict(state.values)}, default=_item).encode()
    partial = file.with_name(f".{file.name}.{secrets.token_hex(4)}{_PARTIAL}")
    try:
        with partial.open("wb") as opened:
            np.savez(opened, **{_TEXT: np.frombuffer(text, np.uint8), **state.arrays})  # type: ignore[arg-type]
            opened.flush()
            os.fsync(opened.fileno())
        os.replace(partial, file)
        _sync_folder(file.parent)
    finally:
        partial.unlink(missing_ok=True)


def read_state(file: Path, fingerprint: Mapping[str, Any]) -> State:
    """The state of a file.

    Args:
        file: where it was written.
        fingerprint: of the run that wants to go on with it.

    Raises:
        ValueError: the file is damaged or no state, or belongs to another run.
        OSError: it cannot be read.
    """
    try:
        with np.load(file, allow_pickle=False) as opened:
            arrays = {name: opened[name] for name in opened.files}
        told = json.loads(arrays.pop(_TEXT).tobytes())
        written, values = dict(told["fingerprint"]), dict(told["values"])
    except _DAMAGED as error:
        raise ValueError(
            f"{file} is damaged or no state of a run. Received: {file.stat().st_size} bytes that cannot be read "
            f"({type(error).__name__}). Delete its folder and begin anew."
        ) from error
    if other := differences(written, fingerprint):
        raise ValueError(
            f"{file} is the state of another run. Received: another {', another '.join(other)}. Go on with what it "
            "was begun with, delete its folder, or give another one."
        )
    return State(values, arrays)


def is_partial(file: Path) -> bool:
    """Whether it is what a process left that was killed while it wrote a state."""
    return file.name.startswith(".") and file.name.endswith(_PARTIAL)


def _item(value: np.generic) -> Any:
    """A number of NumPy's as one of Python's."""
    return value.item()


def _sync_folder(folder: Path) -> None:
    """Makes the new name last a power failure, where folders can be opened."""
    if os.name != "posix":
        return
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
