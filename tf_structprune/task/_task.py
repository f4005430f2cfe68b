"""The task of a model as a value."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from numpy.typing import NDArray

from tf_structprune.search import Metric
from tf_structprune.task._samples import as_arrays
from tf_structprune.task._score import Score

Targets = NDArray[Any]


@dataclass(frozen=True)
class Task:
    """What a model is for: how its outputs are judged, trained and taught.

    Attributes:
        title: in words, e.g. "10 classes".
        score: of (targets, outputs), higher is better; of lists of them for several outputs.
        figure: how it is told of a finished model, e.g. an accuracy.
        loss: for training; it has no state. A list of one for each of several outputs, in their order.
        metrics: what `compile` is told to show beside it; a list of such for several outputs.
        teacher_loss: for learning from another model's outputs.
        prepare: brings targets to the form that score and loss take, or raises a `ValueError` that begins behind
            their name.
        weights: of the losses of several outputs.
    """

    title: str
    score: Score
    figure: Metric
    loss: Any
    metrics: Sequence[Any]
    teacher_loss: keras.distillation.DistillationLoss
    prepare: Callable[[Any], Any]
    weights: tuple[float, ...] = ()

    def targets(self, y: Any, name: str) -> Any:
        """Targets in the form that score and loss take.

        Args:
            y: targets as they were given, one entry for each sample; a list or dictionary for several outputs.
            name: what they are called in an error.

        Raises:
            ValueError: targets of another task.
        """
        try:
            return self.prepare(as_arrays(y))
        except ValueError as error:
            raise ValueError(f"{name} {error}") from error

    def __str__(self) -> str:
        losses = ", ".join(dict.fromkeys(loss.name.replace("_", " ") for loss in keras.tree.flatten(self.loss)))
        return f"{self.title}, {losses}, judged by the {self.score.metric.name}"
