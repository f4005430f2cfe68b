"""A loss and a score of one's own."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from tf_structprune.task._agreement import output_losses
from tf_structprune.task._samples import output_names
from tf_structprune.task._score import as_score
from tf_structprune.task._task import Task


@dataclass(frozen=True)
class Objective:
    """What is trained for and judged by in the place of what the task would have.

    With either of them targets keep the form in which they are given: one-hot rows stay rows.

    Attributes:
        loss: a Keras loss, its name, or a function of (targets, outputs); for several outputs a list of them, or a
            dictionary by name; None for the task's.
        score: see `as_score`; None for the task's.
    """

    loss: Any = None
    score: Any = None

    @property
    def given(self) -> bool:
        """Whether there is any."""
        return self.loss is not None or self.score is not None

    def losses(self, model: keras.Model) -> list[keras.losses.Loss | None]:
        """The loss of each output, by default what the model was compiled with.

        Raises:
            ValueError: an unknown name, or losses that are not one for each output.
        """
        if self.loss is None:
            return [as_loss(each) for each in output_losses(model)]
        return [as_loss(each) for each in _each(self.loss, output_names(model), "loss")]

    def of(self, task: Task, names: list[str]) -> Task:
        """The task with this score.

        Raises:
            ValueError: an unknown name, or scores that are not one for each output.
            TypeError: what is no score.
        """
        if self.score is None:
            return task
        several = len(names) > 1 and isinstance(self.score, Mapping | list | tuple)
        score = as_score(_each(self.score, names, "score") if several else self.score)
        return replace(task, score=score, figure=score.metric)


NO_OBJECTIVE = Objective()
"""Nothing of one's own."""


def as_loss(loss: Any) -> keras.losses.Loss | None:
    """A loss of any kind as Keras's own, with a name and a mean over the samples; None for none.

    Args:
        loss: a Keras loss, its name, a function of (targets, outputs), or None.

    Raises:
        ValueError: none of these.
    """
    if loss is None or isinstance(loss, keras.losses.Loss):
        return loss
    try:
        found = keras.losses.get(loss)
    except ValueError as error:
        raise ValueError(
            f"Unknown loss. Received: loss={loss!r}. Use a Keras loss, its name, or a function of (targets, outputs)."
        ) from error
    return found if isinstance(found, keras.losses.Loss) else _FunctionLoss(found)


class _FunctionLoss(keras.losses.Loss):  # type: ignore[misc]  # Keras is untyped
    """The mean of a function of (targets, outputs)."""

    def __init__(self, function: Any) -> None:
        super().__init__(name=str(getattr(function, "__name__", "loss")))
        self._function = function

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return self._function(y_true, y_pred)


def check_objective(task: Task, y: Any, outputs: Any) -> None:
    """Refuse a loss or a score that makes no number of some targets and outputs.

    Args:
        task: with them.
        y: targets in its form, an array or a list of one for each output.
        outputs: of the model for the same samples, likewise.

    Raises:
        ValueError: says what came.
    """
    losses = task.loss if isinstance(task.loss, list) else [task.loss]
    pairs = zip(keras.tree.flatten(y), keras.tree.flatten(outputs), strict=True)
    for loss, pair in zip(losses, pairs, strict=True):
        _check_number(loss.name, "loss", lambda loss=loss, pair=pair: loss(*pair))
    _check_number(task.score.metric.name, "score", lambda: task.score(y, outputs))


def _check_number(name: str, what: str, value: Any) -> None:
    try:
        found = np.asarray(keras.ops.convert_to_numpy(value()), np.float64)
    except Exception as error:  # a stranger's function may raise anything
        raise ValueError(
            f"The {what} '{name}' does not take the targets and outputs. Received: {type(error).__name__}: "
            f"{' '.join(str(error).split())} Use one for targets in the form in which they are given."
        ) from error
    if found.size != 1 or not np.isfinite(found).all():
        raise ValueError(
            f"The {what} '{name}' must be a finite number. Received: {found} of {what}. Use one that averages over "
            "samples."
        )


def _each(given: Any, names: list[str], what: str) -> list[Any]:
    """One for each output."""
    if isinstance(given, Mapping) and set(given) == set(names):
        return [given[name] for name in names]
    if isinstance(given, list | tuple) and len(given) == len(names):
        return list(given)
    if not isinstance(given, Mapping | list | tuple) and len(names) == 1:
        return [given]
    told = ", ".join(map(str, given)) if isinstance(given, Mapping) else f"{given!r}"
    raise ValueError(
        f"A {what} is needed for each output. Received: {told}. Give one for each of {', '.join(names)}, as a list or "
        "by name."
    )
