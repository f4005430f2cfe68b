"""One state in one file: numbers and texts as JSON, arrays beside them, nothing that is run when it is read."""

import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tf_structprune.resume._archive import read_arrays
from tf_structprune.resume._fingerprint import differences
from tf_structprune.untrusted import reading

_TEXT = "state.json"
_PARTIAL = ".partial"
_CHECKSUM = "sha256"
_CHECKSUM_BYTES = 32  # behind the archive, over all its bytes: zip itself does not notice every flipped one
_ADVICE = "Delete its folder and begin anew."


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
        with partial.open("w+b") as opened:
            np.savez(opened, **{_TEXT: np.frombuffer(text, np.uint8), **state.arrays})  # type: ignore[arg-type]
            opened.seek(0)
            checksum = hashlib.file_digest(opened, _CHECKSUM).digest()
            opened.write(checksum)
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
    state, written = _read(file)
    if other := differences(written, fingerprint):
        raise ValueError(
            f"{file} is the state of another run. Received: another {', another '.join(other)}. Go on with what it "
            "was begun with, delete its folder, or give another one."
        )
    return state


def read_fingerprint(file: Path) -> dict[str, Any]:
    """What run a state belongs to.

    Args:
        file: where it was written.

    Raises:
        ValueError: the file is damaged or no state.
        OSError: it cannot be read.
    """
    return _read(file)[1]


def _read(file: Path) -> tuple[State, dict[str, Any]]:
    content = file.read_bytes()
    with reading(file, "a state of a run", _ADVICE):
        _check_whole(content)
        arrays, _ = read_arrays(file, advice=_ADVICE)
        told = json.loads(arrays.pop(_TEXT).tobytes())
        return State(dict(told["values"]), arrays), dict(told["fingerprint"])


def _check_whole(content: bytes) -> None:
    archive, checksum = memoryview(content)[:-_CHECKSUM_BYTES], content[-_CHECKSUM_BYTES:]
    if hashlib.new(_CHECKSUM, archive).digest() != checksum:
        raise ValueError(f"{len(content)} bytes that are not those that were written")


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
