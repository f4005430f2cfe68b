"""The task of a model as a value, deduced from the model and its targets."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.search import Metric
from tf_structprune.task._agreement import are_probabilities, compiled_loss
from tf_structprune.task._predict import predict
from tf_structprune.task._score import SampleScore, Score, as_score, class_labels
from tf_structprune.task._teacher import SameOutputs, SoftTargets

_SEEN = 64  # samples whose outputs tell probabilities from logits

_ACCURACY = Metric("accuracy", percent=True, best=1.0)

Targets = NDArray[Any]


@dataclass(frozen=True)
class Task:
    """What a model is for: how its outputs are judged, trained and taught.

    Attributes:
        title: in words, e.g. "10 classes".
        score: of (targets, outputs), higher is better.
        figure: how it is told of a finished model, e.g. an accuracy.
        loss: for training; it has no state.
        metrics: what `compile` is told to show beside it.
        teacher_loss: for learning from another model's outputs.
        prepare: brings targets to the form that score and loss take, or raises a `ValueError` that begins behind
            their name.
    """

    title: str
    score: Score
    figure: Metric
    loss: keras.losses.Loss
    metrics: tuple[str, ...]
    teacher_loss: keras.distillation.DistillationLoss
    prepare: Callable[[Targets], Targets]

    def targets(self, y: Targets, name: str) -> Targets:
        """Targets in the form that score and loss take.

        Args:
            y: targets as they were given, one entry for each sample.
            name: what they are called in an error.

        Raises:
            ValueError: targets of another task.
        """
        try:
            return self.prepare(np.asarray(y))
        except ValueError as error:
            raise ValueError(f"{name} {error}") from error

    def __str__(self) -> str:
        return f"{self.title}, {self.loss.name.replace('_', ' ')}, judged by the {self.score.metric.name}"


def task_of(model: keras.Model, x: NDArray[Any], y: Targets) -> Task:
    """The task of a model with one output: from the loss it was compiled with, else from its outputs and the targets.

    Whole numbers from 0, or rows with a single one, beside a row of outputs are classes; one output beside zeros and
    ones is a yes or no; rows of zeros and ones are labels; other numbers in the shape of the outputs are a regression.

    Args:
        model: the model that was given.
        x: samples, shape (samples, ...); the first tell probabilities from logits.
        y: their targets.

    Raises:
        ValueError: several outputs, or targets that fit none of these; it says what would.
    """
    if len(model.outputs) != 1:
        raise ValueError(
            f"Model '{model.name}' must have one output for its task to follow. Received: {len(model.outputs)} "
            "outputs. Use StructuredPruning in fit, with a score for each output."
        )
    outputs = np.asarray(predict(model, x[:_SEEN], _SEEN), np.float64)
    y = np.asarray(y)
    if _is_classification(outputs, y, compiled_loss(model)):
        return _classes(outputs)
    if _is_of_labels(outputs, y, compiled_loss(model)):
        return _labels(outputs)
    if y.size // len(y) == outputs.size // len(outputs) and y.dtype.kind in "buif":
        return _numbers(outputs, model)
    raise ValueError(
        f"The task of model '{model.name}' does not follow from its output and the targets. Received: outputs of "
        f"shape {tuple(model.output_shape)}, targets of shape {y.shape}, dtype {y.dtype}. Use class indices from 0 or "
        "one-hot rows for classes, rows of 0 and 1 for labels, or numbers in the shape of the outputs."
    )


def _is_classification(outputs: NDArray[np.float64], y: Targets, loss: str) -> bool:
    if outputs.ndim != 2 or outputs.shape[1] < 2 or "binary" in loss or not _are_whole(y):
        return False
    if y.size == len(y):
        return True
    one_hot = y.shape[1:] == outputs.shape[1:] and bool(((y == 0) | (y == 1)).all() and (y.sum(axis=1) == 1).all())
    return one_hot or "categorical" in loss


def _is_of_labels(outputs: NDArray[np.float64], y: Targets, loss: str) -> bool:
    """Whether every output is a yes or no by itself."""
    fits = y.size // len(y) == outputs.size // len(outputs) and outputs.ndim == 2 and y.ndim <= 2
    bits = y.dtype.kind in "buif" and bool(((y == 0) | (y == 1)).all())
    return fits and bits and ("binary" in loss or not loss)


def _are_whole(y: Targets) -> bool:
    return y.dtype.kind in "bui" or (y.dtype.kind == "f" and bool((np.isfinite(y) & (y == np.round(y))).all()))


def _classes(outputs: NDArray[np.float64]) -> Task:
    count = outputs.shape[1]
    probabilities = are_probabilities(outputs)
    return Task(
        title=f"{count} classes",
        score=as_score("mcr"),
        figure=_ACCURACY,
        metrics=("accuracy",),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=not probabilities),
        teacher_loss=SoftTargets(probabilities=probabilities),
        prepare=partial(_class_indices, count=count),
    )


def _class_indices(y: Targets, *, count: int) -> Targets:
    if not _are_whole(y) or y.ndim > 2 or (y.ndim == 2 and y.shape[1] not in (1, count)):
        raise ValueError(
            f"must be class indices or one-hot rows. Received: dtype={y.dtype}, shape={y.shape}. Use integers from 0 "
            f"to {count - 1}."
        )
    if y.size == len(y) and not 0 <= y.min() <= y.max() < count:
        raise ValueError(
            f"has labels that the model does not know. Received: labels {y.min():g} to {y.max():g}. Use 0 to "
            f"{count - 1}."
        )
    return class_labels(y)


def _labels(outputs: NDArray[np.float64]) -> Task:
    count = outputs.shape[1]
    logits = bool((outputs < 0).any() or (outputs > 1).any())
    loss = keras.losses.BinaryCrossentropy(from_logits=logits)
    threshold = 0.0 if logits else 0.5
    return Task(
        title="yes or no" if count == 1 else f"{count} labels",
        score=SampleScore(
            lambda y, found: -np.mean((np.asarray(found) > threshold) != (y > 0), axis=1),
            Metric("MCR" if count == 1 else "error a label", falls=True, percent=True),
        ),
        figure=_ACCURACY,
        metrics=("binary_accuracy",),
        loss=loss,
        teacher_loss=SameOutputs(keras.losses.MeanSquaredError() if logits else loss),
        prepare=partial(_bits, count=count),
    )


def _bits(y: Targets, *, count: int) -> Targets:
    if y.size != len(y) * count or y.dtype.kind not in "buif" or not ((y == 0) | (y == 1)).all():
        raise ValueError(
            f"must be {count} zeros and ones a sample. Received: dtype={y.dtype}, shape={y.shape}. Use one column for "
            "each label."
        )
    return y.reshape(len(y), count).astype(np.float32)


def _numbers(outputs: NDArray[np.float64], model: keras.Model) -> Task:
    shape = outputs.shape[1:]
    loss = getattr(model, "loss", None)
    own = loss if isinstance(loss, keras.losses.Loss) else keras.losses.MeanSquaredError()
    score = as_score(own)
    return Task(
        title=f"{outputs.size // len(outputs)} numbers",
        score=score,
        figure=score.metric,
        metrics=(),
        loss=own,
        teacher_loss=SameOutputs(own),
        prepare=partial(_in_shape, shape=shape),
    )


def _in_shape(y: Targets, *, shape: tuple[int, ...]) -> Targets:
    if y.dtype.kind not in "buif" or y.size != len(y) * int(np.prod(shape)):
        raise ValueError(
            f"must be numbers in the shape of the outputs. Received: dtype={y.dtype}, shape={y.shape}. Use shape "
            f"{shape} for each sample."
        )
    return y.reshape(len(y), *shape).astype(np.float32)
