"""Epochs of a retraining in files, so that it goes on with the next one after the process was killed."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import keras
import numpy as np

from tf_structprune.callbacks import student_of
from tf_structprune.resume import State, StateFolder
from tflite_export.compress._work import OF, Work, of_model

_RATE, _ENDED = "rate", "ended"  # in a state: learning rate at the start, whether the training ended with that epoch


@dataclass(frozen=True)
class EpochFiles:
    """Where the epochs of a retraining are kept, and those that it goes on from.

    Attributes:
        states: where each epoch is written; None keeps nothing.
        of: digest of the model that the retraining begins with.
        before: epochs of the same retraining in a run that was refused.
        state: the end of the last of them; None without.
        other_rate: whether they had another learning rate than is asked for now.
    """

    states: StateFolder | None = None
    of: str = ""
    before: int = 0
    state: State | None = None
    other_rate: bool = False

    @classmethod
    def of_run(cls, model: keras.Model, work: Work, name: str) -> Self:
        """The files of a retraining.

        Args:
            model: what it begins with.
            work: of the run.
            name: of the retraining's folder.

        Raises:
            ValueError: a file of the refused run is damaged.
        """
        if work.path is None:
            return cls()
        of = of_model(model)
        found = work.trained(name, of)
        if found is None:
            return cls(work.epochs(name), of)
        return cls(work.epochs(name), of, *found, other_rate=work.differs("finetune_rate"))

    def last(self) -> State | None:
        """The last epoch that was written in this run, None without.

        Raises:
            ValueError: its file is damaged.
        """
        epochs = [] if self.states is None else self.states.epochs()
        return self.states.read(epochs[-1]) if self.states is not None and epochs else None

    @property
    def rate(self) -> float | None:
        """The rate that was found for the epochs which are there; None where it is to be found."""
        state = self.last() or (None if self.other_rate else self.state)
        return None if state is None else state.values.get(_RATE)

    def more(self, epochs: int) -> int:
        """Epochs to train where so many are asked for in all: none where they were trained at that rate already."""
        if epochs > self.before:
            return epochs - self.before
        return epochs if self.other_rate else 0


NO_FILES = EpochFiles()
"""Keeps nothing."""


class KeptEpochs(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is untyped
    """Gathers the figures of all epochs, and writes each epoch's end down.

    Unlike `keras.callbacks.BackupAndRestore`, which writes weights and epoch one after the other, it writes all in one
    file that is renamed when it is whole. It comes last in the list of callbacks.

    Args:
        trained: what is trained, the model itself or what it learns in.
        optimizer: that trains it.
        files: where to write, and what to go on from.
        rate: learning rate at the start, which is written too.
    """

    def __init__(
        self, trained: keras.Model, optimizer: keras.optimizers.Optimizer, files: EpochFiles, *, rate: float
    ) -> None:
        super().__init__()
        self.rate = rate
        self.trained, self.optimizer, self.files, self.states = trained, optimizer, files, files.states
        self.figures: dict[str, list[float]] = {}
        self._ended = False

    def restore(self, epochs: int) -> int:
        """Bring back the last epoch that was written; the optimizer must be built.

        Of a run that was refused the weights come back, and the optimizer begins anew.

        Args:
            epochs: after which the training ends.

        Returns:
            The epoch to go on with, 0 when nothing was written; the end if the training ended early.

        Raises:
            ValueError: what was written is damaged or belongs to another run.
        """
        state = self.files.last()
        if state is not None and self.states is not None:
            self._take(state, self._variables())
            return epochs if state.values.get(_ENDED) else self.states.epochs()[-1]
        if self.files.state is None:
            return 0
        self._take(self.files.state, self._held())
        self._write(self.files.before)
        return self.files.before

    def _take(self, state: State, variables: list[Any]) -> None:
        """Set the first variables, and the figures, to those of a state."""
        self.figures = {name: list(values) for name, values in state.values["figures"].items()}
        for index, variable in enumerate(variables):
            array = state.arrays[str(index)]
            # A type that NumPy does not know, such as bfloat16, is written as bytes.
            variable.assign(array.view(_array(variable).dtype) if array.dtype.kind == "V" else array)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write the epoch down."""
        for name, value in (logs or {}).items():
            self.figures.setdefault(name, []).append(float(value))
        self._ended = bool(self.model.stop_training)
        self._write(epoch + 1)

    def _write(self, epoch: int) -> None:
        if self.states is not None:
            arrays = {str(index): _array(variable) for index, variable in enumerate(self._variables())}
            told = {"figures": self.figures, OF: self.files.of, _RATE: self.rate, _ENDED: self._ended}
            self.states.write(epoch, State(told, arrays))

    def _variables(self) -> list[Any]:
        """All that an epoch begins with: the model's and the optimizer's."""
        return [*self._held(), *self.optimizer.variables]

    def _held(self) -> list[Any]:
        """Weights, masks, grids and seeds of the model, and what it learns with; metrics begin anew."""
        models = (self.trained, student_of(self.trained))
        metrics = {id(variable) for model in models for variable in model.metrics_variables}
        return [variable for variable in self.trained.variables if id(variable) not in metrics]


def _array(variable: Any) -> Any:
    return np.asarray(keras.ops.convert_to_numpy(variable))


def write_history(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write rows of figures as a table.

    Args:
        rows: from `epoch_rows`; not all need have the same figures.
        path: a `.csv` file.
    """
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)))
        writer.writeheader()
        writer.writerows(rows)


def epoch_rows(number: int, granularity: str, figures: Mapping[str, list[float]]) -> list[dict[str, Any]]:
    """Figures of a retraining, one value an epoch by name, as one row an epoch.

    Args:
        number: of the stage, from 1.
        granularity: what the stage is about.
        figures: of `fit`; without any there are no rows.
    """
    epochs = range(len(next(iter(figures.values()), ())))
    return [
        {"stage": number, "granularity": granularity, "epoch": epoch + 1}
        | {name: values[epoch] for name, values in figures.items()}
        for epoch in epochs
    ]
