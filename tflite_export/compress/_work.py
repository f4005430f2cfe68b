"""What a run of `compress` has done so far, in a hidden folder beside its output; what a refused one leaves."""

import contextlib
import glob
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import keras

from tf_structprune.resume import (
    State,
    StateFolder,
    differences,
    digest,
    identity,
    read_fingerprint,
    read_state,
    wiring,
    write_state,
)
from tf_structprune.task import NO_OBJECTIVE, Objective
from tflite_export.compress._data import Data
from tflite_export.compress._settings import CompressSettings
from tflite_export.devices import Device
from tflite_export.verify import VerificationError
from tflite_export.write import MANIFEST

MAY_CHANGE = frozenset({"epochs", "tolerance", "finetune_rate"})  # settings with which a refused run goes on
REFUSED_WORK = "work"  # within the folder of a refused run
REFUSED_FILES = ("model.keras", "history.csv", "summary.json", MANIFEST)  # beside it
OF = "of"  # in a state: digest of the model that it is about
_FORMAT = 2  # of the files, and of how results come about; counted up when either changes
_RUN = "run.npz"
_INTERRUPTED = "interrupted. What was done so far is kept; the same command goes on from there."


@dataclass(frozen=True)
class Reached:
    """The best that a refused run reached.

    Attributes:
        model: the model, plain or in fixed point.
        stage: where it was refused.
        score: its validation score.
        epochs: of its retraining.
        history: one row an epoch of all stages, as in `history.csv`.
    """

    model: keras.Model
    stage: str
    score: float
    epochs: int
    history: tuple[dict[str, Any], ...] = ()


class RefusedError(RuntimeError):
    """No pruned model stays within the tolerance.

    Attributes:
        reached: the best that was tried; None if nothing was.
    """

    def __init__(self, message: str, reached: Reached | None = None) -> None:
        super().__init__(message)
        self.reached = reached

    def after(self, history: Sequence[dict[str, Any]], *, stage: int) -> "RefusedError":
        """The same with the epochs of the stages before, of which this is the next one."""
        if self.reached is None:
            return self
        own = tuple(row | {"stage": stage} for row in self.reached.history)
        return RefusedError(str(self), replace(self.reached, history=(*history, *own)))


@dataclass(frozen=True)
class Work:
    """Finished parts of a run, each in one file.

    Attributes:
        path: the folder; None keeps nothing.
        fingerprint: what run they belong to.
        refused: parts of a run of the same that was refused, from which this one goes on; None without.
    """

    path: Path | None = None
    fingerprint: Mapping[str, Any] | None = None
    refused: "Work | None" = None

    def known(self, name: str, of: str) -> State | None:
        """A part that is finished, or None.

        Args:
            name: of the part.
            of: digest of the model that it is about: after a refused run a stage may begin with another one.

        Raises:
            ValueError: its file is damaged.
        """
        if self.path is None:
            return None
        file = self.path / f"{name}.npz"
        state = read_state(file, self.fingerprint or {}) if file.exists() else None
        if state is not None and state.values.get(OF) == of:
            return state
        found = None if self.refused is None else self.refused.known(name, of)
        if found is not None:
            self.keep(name, found, of)
        return found

    def keep(self, name: str, state: State, of: str) -> None:
        """Write a finished part down."""
        if self.path is not None:
            state = State({**state.values, OF: of}, state.arrays)
            write_state(self.path / f"{name}.npz", state, self.fingerprint or {})

    def epochs(self, name: str) -> StateFolder | None:
        """Where the epochs of a retraining are kept, None for nowhere."""
        return None if self.path is None else StateFolder(self.path / name, self.fingerprint or {}, keep=1)

    def trained(self, name: str, of: str) -> tuple[int, State] | None:
        """The epochs of a retraining in the refused run, and the last of them, if it began with the same model.

        Raises:
            ValueError: its file is damaged.
        """
        states = None if self.refused is None else self.refused.epochs(name)
        if states is None or not (epochs := states.epochs()):
            return None
        state = states.read(epochs[-1])
        return (epochs[-1], state) if state.values.get(OF) == of else None

    def differs(self, setting: str) -> bool:
        """Whether the refused run had another value of a setting."""
        before = {} if self.refused is None else self.refused.fingerprint or {}
        return before.get(setting) != (self.fingerprint or {}).get(setting)

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Keep the folder unless the block refuses its arguments."""
        try:
            yield
        except KeyboardInterrupt as interruption:
            raise KeyboardInterrupt(_INTERRUPTED) from interruption
        except RefusedError:
            raise  # what was reached is kept, see `keep_refused`
        except (ValueError, TypeError, VerificationError) as error:
            if _is_interruption(error):
                raise KeyboardInterrupt(_INTERRUPTED) from error
            self.remove()  # the same command would say the same again
            raise

    def remove(self) -> None:
        """Remove the folder, and what was written in that of the refused run that this one went on from."""
        if self.path is not None:
            shutil.rmtree(self.path, ignore_errors=True)
        if self.refused is not None and self.refused.path is not None:
            folder = self.refused.path.parent
            shutil.rmtree(self.refused.path, ignore_errors=True)
            for name in REFUSED_FILES:
                (folder / name).unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # there are files of the user's own
                folder.rmdir()


def _is_interruption(error: BaseException | None) -> bool:
    """Whether an error is what other code made of an interruption in its midst, as Keras's and AutoGraph's do."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


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
    return Work(path, fingerprint, _refused(target, fingerprint))


def _refused(target: Path, fingerprint: Mapping[str, Any]) -> Work | None:
    """The parts of a refused run that may be gone on from."""
    for folder in sorted(target.parent.glob(f"{glob.escape(target.name)}.refused*")):
        path = folder / REFUSED_WORK
        if (path / _RUN).is_file():
            found = read_fingerprint(path / _RUN)
            if set(differences(found, fingerprint)) <= MAY_CHANGE:
                return Work(path, found)
    return None


def of_model(model: keras.Model) -> str:
    """Digest of a model's weights."""
    return digest(*(keras.ops.convert_to_numpy(weight) for weight in model.weights))


def fingerprint(
    dense: keras.Model, data: Data, settings: CompressSettings, device: Device, objective: Objective = NO_OBJECTIVE
) -> dict[str, Any]:
    """By name, what the result of a run depends on."""
    weights = [keras.ops.convert_to_numpy(weight) for weight in dense.weights]
    return {
        "format": _FORMAT,
        "model": wiring(dense, *weights, names=True),
        "device": identity(device),
        "loss": identity(objective.loss),
        "score": identity(objective.score),
        "data": digest(*(value for part in fields(data) if (value := getattr(data, part.name)) is not None)),
        **{setting.name: identity(getattr(settings, setting.name)) for setting in fields(settings)},
    }
