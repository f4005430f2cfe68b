"""Measurements in a file as they are made, so that an interrupted sweep goes on where it stopped.

The first line says what the scores depend on, each further one holds a score. A process that is killed leaves
at most a torn last line, which is dropped.
"""

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from tf_structprune.resume import differences

Key = tuple[str, str, int]
"""Part, layer and word length."""


class MeasurementCache:
    """Scores by key, written down one by one.

    Args:
        known: scores that are known already.
        file: where new ones are appended; None keeps them in memory only.
    """

    def __init__(self, known: Mapping[Key, float], file: IO[bytes] | None = None) -> None:
        self.known = dict(known)
        self._file = file

    def get(self, key: Key, measure: Callable[[], float]) -> float:
        """A score, measured and written down if it is not known."""
        if key not in self.known:
            self.known[key] = measure()
            if self._file is not None:
                self._file.write(_row(key, self.known[key]))
                self._file.flush()
        return self.known[key]


@contextlib.contextmanager
def open_cache(path: str | os.PathLike[str] | None, header: Mapping[str, Any]) -> Iterator[MeasurementCache]:
    """Gives the cache at a path, which is made if there is none.

    Args:
        path: the file; None for a cache in memory.
        header: what the scores depend on.

    Raises:
        ValueError: the file is the cache of another sweep, or none.
        OSError: it cannot be read or written.
    """
    if path is None:
        yield MeasurementCache({})
        return
    file = Path(path)
    known, whole = _read(file, header)
    with file.open("ab") as appended:
        appended.truncate(whole)
        if not whole:
            appended.write(_header(header))
            appended.flush()
        yield MeasurementCache(known, appended)


def _read(file: Path, header: Mapping[str, Any]) -> tuple[dict[Key, float], int]:
    """The scores of a cache, and the length of its whole lines in bytes."""
    content = file.read_bytes() if file.exists() else b""
    whole = content.rfind(b"\n") + 1
    first, *lines = content[:whole].splitlines() or [b""]
    if not whole and not _header(header).startswith(content):
        raise ValueError(f"{file} is no cache of a sensitivity sweep. Received: {content[:40]!r}. Give another path.")
    if whole:
        _check_header(file, first, header)
    known = dict(_parsed(file, number, line) for number, line in enumerate(lines, start=2))
    return known, whole


def _check_header(file: Path, line: bytes, header: Mapping[str, Any]) -> None:
    try:
        found = dict(json.loads(line)["sensitivity"])
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{file} is no cache of a sensitivity sweep. Received: {line[:40]!r}. Give another path."
        ) from error
    if other := differences(found, header):
        raise ValueError(
            f"{file} is the cache of another sweep. Received: another {', another '.join(other)}. Go on with what it "
            "was begun with, delete it, or give another path."
        )


def _parsed(file: Path, number: int, line: bytes) -> tuple[Key, float]:
    try:
        row = json.loads(line)
        return (str(row["part"]), str(row["layer"]), int(row["bits"])), float(row["score"])
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{file} is damaged in line {number}. Received: {line[:40]!r}. Delete the line, or the file."
        ) from error


def _header(header: Mapping[str, Any]) -> bytes:
    return json.dumps({"sensitivity": dict(header)}).encode() + b"\n"


def _row(key: Key, score: float) -> bytes:
    part, layer, bits = key
    return json.dumps({"part": part, "layer": layer, "bits": bits, "score": score}).encode() + b"\n"
