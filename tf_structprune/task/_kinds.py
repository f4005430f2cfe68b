"""Tasks of one output: classes, labels or numbers, a sample or a place of a map; with targets or without any."""

from dataclasses import replace
from functools import partial
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.search import Metric
from tf_structprune.task._agreement import Reading, are_probabilities
from tf_structprune.task._iou import MeanIou
from tf_structprune.task._score import SampleScore, Score, as_score, class_labels
from tf_structprune.task._task import Targets, Task
from tf_structprune.task._teacher import SameOutputs, SoftTargets

_ACCURACY = Metric("accuracy", percent=True, best=1.0)
_AGREEMENT = Metric("agreement", percent=True, best=1.0)
_DISAGREEMENT = Metric("disagreement", falls=True, percent=True)


def task_of_output(
    outputs: NDArray[np.float64], y: Targets, loss: keras.losses.Loss | None, *, as_given: bool = False
) -> Task | None:
    """The task of one output, or None where the targets fit none.

    Args:
        outputs: some, shape (samples, ...).
        y: targets of all samples.
        loss: what the model was compiled with for this output; None if it was not.
        as_given: whether one-hot rows stay what they are, and do not become indices.
    """
    name = "" if loss is None else str(loss.name)
    if _is_classification(outputs, y, name):
        return _one_hot(outputs) if as_given and y.shape[1:] == outputs.shape[1:] else _classes(outputs)
    if _is_of_labels(outputs, y, name):
        return _labels(outputs)
    if y.size // len(y) == outputs.size // len(outputs) and y.dtype.kind in "buif":
        return _numbers(outputs, loss)
    return None


def task_without_targets(outputs: NDArray[np.float64], loss: keras.losses.Loss | None) -> Task:
    """The task to give what the given model gives, whose outputs are the targets.

    Args:
        outputs: some of the given model, shape (samples, ...).
        loss: what it was compiled with for this output; None if it was not.
    """
    reading = Reading.of("" if loss is None else str(loss.name), outputs)
    if reading.kind == "numbers":
        return _numbers(outputs, loss)
    logits = not are_probabilities(outputs) if reading.kind == "classes" else reading.threshold == 0
    own: keras.losses.Loss = keras.losses.BinaryCrossentropy(from_logits=logits)
    if reading.kind == "classes":
        own = keras.losses.CategoricalCrossentropy(from_logits=logits)
    return Task(
        title=f"the given model's {outputs.shape[-1]} {reading.kind}",
        score=SampleScore(partial(_same_decisions, reading=reading), _DISAGREEMENT),
        figure=_AGREEMENT,
        metrics=(),
        loss=own,
        teacher_loss=SoftTargets(probabilities=not logits) if reading.kind == "classes" else SameOutputs(own),
        prepare=partial(_probabilities, kind=reading.kind) if logits else np.asarray,
    )


def _same_decisions(y: Any, found: Any, *, reading: Reading) -> NDArray[np.float64]:
    """Minus the share of decisions of each sample that differ from those of probabilities."""
    if reading.kind == "classes":
        differs = np.argmax(y, axis=-1) != np.argmax(found, axis=-1)
    else:
        differs = (np.asarray(y) > 0.5) != (np.asarray(found) > reading.threshold)
    return np.asarray(-differs.reshape(len(differs), -1).mean(axis=1), np.float64)


def _probabilities(y: Targets, *, kind: str) -> Targets:
    function = keras.ops.softmax if kind == "classes" else keras.ops.sigmoid
    return np.asarray(keras.ops.convert_to_numpy(function(keras.ops.convert_to_tensor(y))))


def _is_classification(outputs: NDArray[np.float64], y: Targets, loss: str) -> bool:
    if outputs.ndim < 2 or outputs.shape[-1] < 2 or "binary" in loss or not _are_whole(y):
        return False
    if y.shape[1:] in (outputs.shape[1:-1], (*outputs.shape[1:-1], 1)):
        return True
    one_hot = y.shape[1:] == outputs.shape[1:] and bool(((y == 0) | (y == 1)).all() and (y.sum(axis=-1) == 1).all())
    return (one_hot and (outputs.ndim == 2 or are_probabilities(outputs))) or "categorical" in loss


def _is_of_labels(outputs: NDArray[np.float64], y: Targets, loss: str) -> bool:
    """Whether every output is a yes or no by itself."""
    fits = y.size // len(y) == outputs.size // len(outputs) and outputs.ndim >= 2
    bits = y.dtype.kind in "buif" and bool(((y == 0) | (y == 1)).all())
    inside = outputs.ndim == 2 or bool(((outputs >= 0) & (outputs <= 1)).all())
    return fits and bits and ("binary" in loss or (not loss and inside))


def _are_whole(y: Targets) -> bool:
    return y.dtype.kind in "bui" or (y.dtype.kind == "f" and bool((np.isfinite(y) & (y == np.round(y))).all()))


def _classes(outputs: NDArray[np.float64]) -> Task:
    count, is_map = outputs.shape[-1], outputs.ndim > 2
    probabilities = are_probabilities(outputs)
    return Task(
        title=f"maps of {count} classes" if is_map else f"{count} classes",
        score=MeanIou(count) if is_map else as_score("mcr"),
        figure=MeanIou.metric if is_map else _ACCURACY,
        metrics=("accuracy",),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=not probabilities),
        teacher_loss=SoftTargets(probabilities=probabilities),
        prepare=partial(_class_maps, shape=outputs.shape[1:]) if is_map else partial(_class_indices, count=count),
    )


def _one_hot(outputs: NDArray[np.float64]) -> Task:
    """Classes whose targets are rows, or maps of rows, with a single one."""
    task, shape = _classes(outputs), outputs.shape[1:]
    loss = keras.losses.CategoricalCrossentropy(from_logits=not are_probabilities(outputs))
    return replace(task, loss=loss, metrics=("categorical_accuracy",), prepare=partial(_bits, shape=shape))


def task_of_strangers(outputs: NDArray[np.float64], loss: keras.losses.Loss | None) -> Task:
    """The task of targets that only somebody's own loss and score can read.

    Args:
        outputs: some of the given model, shape (samples, ...).
        loss: for training.
    """
    return replace(
        _numbers(outputs, loss),
        title=f"{outputs.size // len(outputs)} outputs, targets of a form of their own",
        teacher_loss=SameOutputs(keras.losses.MeanSquaredError()),
        prepare=np.asarray,
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


def _class_maps(y: Targets, *, shape: tuple[int, ...]) -> Targets:
    """A class for each place, shape (samples, *places)."""
    places, count = shape[:-1], shape[-1]
    if not _are_whole(y) or y.shape[1:] not in (places, (*places, 1), shape):
        raise ValueError(
            f"must be maps of class indices or one-hot maps. Received: dtype={y.dtype}, shape={y.shape}. Use integers "
            f"from 0 to {count - 1} of shape {places} for each sample."
        )
    indices = y.argmax(axis=-1) if y.shape[1:] == shape else y.reshape(len(y), *places)
    if not 0 <= indices.min() <= indices.max() < count:
        raise ValueError(
            f"has labels that the model does not know. Received: labels {indices.min():g} to {indices.max():g}. Use 0 "
            f"to {count - 1}."
        )
    return indices.astype(np.int32)


def _labels(outputs: NDArray[np.float64]) -> Task:
    count, is_map = outputs.shape[-1], outputs.ndim > 2
    logits = bool((outputs < 0).any() or (outputs > 1).any())
    loss = keras.losses.BinaryCrossentropy(from_logits=logits)
    threshold = 0.0 if logits else 0.5
    of_labels: Score = SampleScore(
        lambda y, found: -np.mean((np.asarray(found) > threshold) != (y > 0), axis=1),
        Metric("MCR" if count == 1 else "error a label", falls=True, percent=True),
    )
    title = "yes or no" if count == 1 else f"{count} labels"
    return Task(
        title=f"maps of {title}" if is_map else title,
        score=MeanIou(None, threshold) if is_map else of_labels,
        figure=MeanIou.metric if is_map else _ACCURACY,
        metrics=("binary_accuracy",),
        loss=loss,
        teacher_loss=SameOutputs(keras.losses.MeanSquaredError() if logits else loss),
        prepare=partial(_bits, shape=outputs.shape[1:]),
    )


def _bits(y: Targets, *, shape: tuple[int, ...]) -> Targets:
    count = int(np.prod(shape))
    if y.size != len(y) * count or y.dtype.kind not in "buif" or not ((y == 0) | (y == 1)).all():
        raise ValueError(
            f"must be {count} zeros and ones a sample. Received: dtype={y.dtype}, shape={y.shape}. Use one column for "
            "each label."
        )
    return y.reshape(len(y), *shape).astype(np.float32)


def _numbers(outputs: NDArray[np.float64], loss: keras.losses.Loss | None) -> Task:
    shape = outputs.shape[1:]
    own = keras.losses.MeanSquaredError() if loss is None else loss
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
