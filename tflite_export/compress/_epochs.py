"""Epochs of a retraining in files, so that it goes on with the next one after the process was killed."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from tf_structprune.resume import State, StateFolder


class KeptEpochs(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is untyped
    """Gathers the figures of all epochs, and writes each epoch's end down.

    Unlike `keras.callbacks.BackupAndRestore`, which writes weights and epoch one after the other, it writes all in one
    file that is renamed when it is whole. It comes last in the list of callbacks.

    Args:
        student: the model that is trained.
        optimizer: that trains it.
        states: where to write; None keeps nothing.
    """

    def __init__(self, student: keras.Model, optimizer: keras.optimizers.Optimizer, states: StateFolder | None) -> None:
        super().__init__()
        self.student, self.optimizer, self.states = student, optimizer, states
        self.figures: dict[str, list[float]] = {}

    def restore(self) -> int:
        """Bring back the last epoch that was written; the optimizer must be built.

        Returns:
            The epoch to go on with, 0 when nothing was written.

        Raises:
            ValueError: what was written is damaged or belongs to another run.
        """
        epochs = [] if self.states is None else self.states.epochs()
        if self.states is None or not epochs:
            return 0
        state = self.states.read(epochs[-1])
        self.figures = {name: list(values) for name, values in state.values["figures"].items()}
        for name, variable in self._variables().items():
            array = state.arrays[name]
            # A type that NumPy does not know, such as bfloat16, is written as bytes.
            variable.assign(array.view(_array(variable).dtype) if array.dtype.kind == "V" else array)
        return epochs[-1]

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write the epoch down."""
        for name, value in (logs or {}).items():
            self.figures.setdefault(name, []).append(float(value))
        if self.states is not None:
            arrays = {name: _array(variable) for name, variable in self._variables().items()}
            self.states.write(epoch + 1, State({"figures": self.figures}, arrays))

    def _variables(self) -> dict[str, Any]:
        """All that an epoch begins with: weights, masks, grids, seeds and the optimizer's; metrics begin anew."""
        metrics = {id(variable) for variable in self.student.metrics_variables}
        held = [variable for variable in self.student.variables if id(variable) not in metrics]
        return {str(index): variable for index, variable in enumerate([*held, *self.optimizer.variables])}


def _array(variable: Any) -> Any:
    return np.asarray(keras.ops.convert_to_numpy(variable))


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
