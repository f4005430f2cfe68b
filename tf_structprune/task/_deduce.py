"""Deduce the task of a model from the model and its targets."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from tf_structprune.search import Metric
from tf_structprune.task._compiled import compile_arguments
from tf_structprune.task._iou import MeanIou
from tf_structprune.task._kinds import task_of_output, task_of_strangers, task_without_targets
from tf_structprune.task._objective import NO_OBJECTIVE, Objective, check_objective
from tf_structprune.task._predict import predict
from tf_structprune.task._samples import Samples, as_arrays, output_names, targets_by_output
from tf_structprune.task._score import as_score, mean_of
from tf_structprune.task._task import Task
from tf_structprune.task._teacher import EachOutput

_SEEN = 64  # samples whose outputs tell probabilities from logits


def task_of(model: keras.Model, x: Any, y: Any = None, objective: Objective = NO_OBJECTIVE) -> Task:
    """The task of a model: from the loss it was compiled with, else from its outputs and the targets.

    Whole numbers from 0, or rows with a single one, beside a row of outputs are classes; one output beside zeros and
    ones is a yes or no; rows of zeros and ones are labels; other numbers in the shape of the outputs are a regression.
    Maps of classes or labels are a segmentation. Without targets the outputs of the given model are what is wanted.

    Several outputs are judged together: by the mean of their error rates where all have one, or of their mean IoU, else
    by the sum of their losses, with the weights that the model was compiled with.

    Args:
        model: the model that was given.
        x: samples as the model takes them; the first tell probabilities from logits.
        y: their targets, an array, or a list or dictionary of one for each output; None without any.
        objective: a loss and a score of one's own. With both of them targets may have any form.

    Raises:
        ValueError: targets that fit none of these, or for other outputs than the model's; it says what would. A loss or
            score of one's own that makes no number of the targets and the model's outputs.
        TypeError: a score that is none.
    """
    few = Samples.of(model, x)[:_SEEN].for_model(model)
    outputs = [np.asarray(each, np.float64) for each in keras.tree.flatten(predict(model, few, _SEEN))]
    names, losses = output_names(model), objective.losses(model)
    if y is None:
        targets = outputs
        tasks = [task_without_targets(each, loss) for each, loss in zip(outputs, losses, strict=True)]
    else:
        targets = targets_by_output(model, as_arrays(y))
        found = zip(names, outputs, targets, losses, strict=True)
        tasks = [_of_output(model, *each, objective=objective) for each in found]
    if objective.loss is not None:
        tasks = [replace(task, loss=loss) for task, loss in zip(tasks, losses, strict=True)]
    task = tasks[0] if len(tasks) == 1 else _together(tasks, names, _loss_weights(model))
    if not objective.given:
        return task
    task = objective.of(task, names)
    seen = min(_SEEN, *map(len, (*targets, *outputs)))  # whether they are of the same samples does not matter
    few_targets = [each[:seen] for each in targets]
    few_outputs = [each[:seen].astype(np.float32) for each in outputs]
    check_objective(task, task.targets(_alone(few_targets), "y"), _alone(few_outputs))
    return task


def _alone(values: list[np.ndarray]) -> Any:
    """The one of one output."""
    return values[0] if len(values) == 1 else values


def _of_output(
    model: keras.Model,
    name: str,
    outputs: np.ndarray,
    y: np.ndarray,
    loss: keras.losses.Loss | None,
    *,
    objective: Objective,
) -> Task:
    found = task_of_output(outputs, y, loss, as_given=objective.given)
    if found is None and objective.loss is not None and objective.score is not None:
        found = task_of_strangers(outputs, loss)
    if found is not None:
        return found
    told = f" '{name}'" if len(model.outputs) > 1 else ""
    raise ValueError(
        f"The task of model '{model.name}' does not follow from its output{told} and the targets. Received: outputs of "
        f"shape {(None, *outputs.shape[1:])}, targets of shape {y.shape}, dtype {y.dtype}. Use class indices from 0 or "
        "one-hot rows for classes, rows of 0 and 1 for labels, numbers in the shape of the outputs, or a loss and a "
        "score of your own."
    )


def _loss_weights(model: keras.Model) -> list[float]:
    """Weights of the outputs' losses, as the model was compiled with, 1 where it was not."""
    given = compile_arguments(model).get("loss_weights")
    if isinstance(given, dict):
        return [float(given.get(name, 1.0)) for name in output_names(model)]
    return [float(each) for each in keras.tree.flatten(given)] if given else [1.0] * len(model.outputs)


def _together(tasks: Sequence[Task], names: Sequence[str], weights: Sequence[float]) -> Task:
    """The task of several outputs."""
    losses = [task.loss for task in tasks]
    metrics = [task.score.metric for task in tasks]
    if all(metric.percent and metric.falls for metric in metrics):
        score = mean_of([task.score for task in tasks], Metric("mean error", falls=True, percent=True))
        figure = Metric("mean accuracy", percent=True, best=1.0)
    elif all(metric.percent and not metric.falls for metric in metrics):
        score = mean_of([task.score for task in tasks], MeanIou.metric)
        figure = score.metric
    else:
        score = mean_of([as_score(loss) for loss in losses], Metric("loss", falls=True), weights=weights)
        figure = score.metric

    def prepare(y: Any) -> list[Any]:
        if not isinstance(y, list) or len(y) != len(tasks):
            raise ValueError(
                f"must be one array for each output. Received: {type(y).__name__}. Give {', '.join(names)}, as a list "
                "or by name."
            )
        return [task.targets(each, f"of output '{name}'") for task, name, each in zip(tasks, names, y, strict=True)]

    return Task(
        title="; ".join(f"{name}: {task.title}" for name, task in zip(names, tasks, strict=True)),
        score=score,
        figure=figure,
        metrics=[list(task.metrics) for task in tasks],
        loss=losses,
        teacher_loss=EachOutput([task.teacher_loss for task in tasks], weights),
        prepare=prepare,
        weights=tuple(weights),
    )
