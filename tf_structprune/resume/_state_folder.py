"""The most recent states of a run, by the epoch that begins with them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tf_structprune.resume._state_file import State, is_partial, read_state, write_state

_NAME = re.compile(r"epoch_(\d{6,})\.npz")


@dataclass(frozen=True)
class StateFolder:
    """A folder of states, one a file, of which only the most recent are kept.

    Attributes:
        path: the folder, for these files alone; made when the first state is written.
        fingerprint: what run they belong to.
        keep: how many are kept.
    """

    path: Path
    fingerprint: Mapping[str, Any]
    keep: int = 2

    def epochs(self) -> list[int]:
        """The epochs that begin with a state that is there, ascending.

        Raises:
            ValueError: the folder holds files of something else.
            NotADirectoryError: there is a file in its place.
        """
        if not self.path.exists():
            return []
        if not self.path.is_dir():
            raise NotADirectoryError(f"{self.path} must be a folder. Received: a file. Give another path.")
        names = [file.name for file in self.path.iterdir() if not is_partial(file)]
        if foreign := sorted(name for name in names if not _NAME.fullmatch(name)):
            raise ValueError(
                f"{self.path} holds files that are no states of a run. Received: {', '.join(foreign[:3])}. Give a "
                "folder of its own."
            )
        return sorted(int(found[1]) for name in names if (found := _NAME.fullmatch(name)))

    def write(self, epoch: int, state: State) -> None:
        """Write the state with which an epoch begins, and remove those that are not kept.

        Args:
            epoch: the epoch, from 0.
            state: the state.

        Raises:
            ValueError: the folder holds files of something else.
            OSError: it cannot be written.
        """
        self.epochs()
        self.path.mkdir(parents=True, exist_ok=True)
        write_state(self._file(epoch), state, self.fingerprint)
        for old in self.epochs()[: -self.keep]:
            self._file(old).unlink(missing_ok=True)

    def read(self, epoch: int) -> State:
        """The state with which an epoch begins.

        Raises:
            ValueError: it is damaged or belongs to another run.
            OSError: there is none.
        """
        return read_state(self._file(epoch), self.fingerprint)

    def clear(self) -> None:
        """Remove all states, and the folder."""
        for epoch in self.epochs():
            self._file(epoch).unlink(missing_ok=True)
        if self.path.is_dir():
            for partial in self.path.iterdir():
                partial.unlink(missing_ok=True)
            self.path.rmdir()

    def _file(self, epoch: int) -> Path:
        return self.path / f"epoch_{epoch:06d}.npz"
