"""Tensors that wait for their readers, on disk where they do not fit the memory."""

import pathlib
import tempfile
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray


class Shelf:
    """Holds arrays by name and batch until they are dropped; those beyond a size in a temporary folder.

    A context manager: the folder is gone behind it.

    Args:
        memory_bytes: what is held in memory at most.
    """

    def __init__(self, memory_bytes: int = 3 * 2**25) -> None:
        self.memory_bytes = memory_bytes
        self._held: dict[Any, dict[int, NDArray[Any] | pathlib.Path]] = {}
        self._size = self._written = 0
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held = {}
        if self._folder is not None:
            self._folder.cleanup()

    def put(self, name: Any, batch: int, array: NDArray[Any]) -> None:
        """Hold an array."""
        held: NDArray[Any] | pathlib.Path = array
        if self._size + array.nbytes > self.memory_bytes:
            held = self._write(array)
        else:
            self._size += array.nbytes
        self._held.setdefault(name, {})[batch] = held

    def get(self, name: Any, batch: int) -> NDArray[Any]:
        """The array of that name and batch."""
        held = self._held[name][batch]
        return np.load(held) if isinstance(held, pathlib.Path) else held

    def __contains__(self, name: Any) -> bool:
        return name in self._held

    def drop(self, name: Any) -> None:
        """Let go of all arrays of that name."""
        for held in self._held.pop(name, {}).values():
            if isinstance(held, pathlib.Path):
                held.unlink()
            else:
                self._size -= held.nbytes

    def _write(self, array: NDArray[Any]) -> pathlib.Path:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="tf_structprune-")
        self._written += 1
        path = pathlib.Path(self._folder.name) / f"{self._written}.npy"
        np.save(path, array)
        return path
