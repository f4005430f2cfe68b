"""What a student learns from a teacher's outputs, by the losses that they are trained with."""

from collections.abc import Mapping
from typing import Any

import keras

from tf_structprune.task._objective import Objective
from tf_structprune.task._samples import output_names
from tf_structprune.task._teacher import EachOutput, SameOutputs, SoftTargets


def teacher_loss_of(student: keras.Model, compiled: Mapping[str, Any]) -> keras.distillation.DistillationLoss:
    """The loss of (teacher's outputs, student's outputs) that goes with a loss of targets.

    Where samples and targets are at hand, `Task.teacher_loss` also knows what their values tell.

    Args:
        student: has the outputs, in their order.
        compiled: arguments of `compile`, of which `loss` and `loss_weights` count.

    Raises:
        ValueError: an unknown loss, losses that are not one for each output, or none at all.
    """
    names = output_names(student)
    loss = compiled.get("loss")
    alone = loss is not None and not isinstance(loss, Mapping | list | tuple)
    losses = Objective(loss=[loss] * len(names) if alone else loss).losses(student)
    if not any(losses):
        raise ValueError(
            f"What model '{student.name}' can learn from a teacher follows from its loss. Received: none in compile. "
            "Compile with a loss, or give the loss between both outputs."
        )
    if len(losses) == 1:
        return _learned(losses[0])
    given = compiled.get("loss_weights")
    by_name = given if isinstance(given, Mapping) else dict(zip(names, given or [1.0] * len(names), strict=True))
    kept = [
        (loss, float(by_name.get(name, 1.0)) * (loss is not None)) for name, loss in zip(names, losses, strict=True)
    ]
    return EachOutput([_learned(loss) for loss, _ in kept], [weight for _, weight in kept])


def _learned(loss: keras.losses.Loss | None) -> keras.distillation.DistillationLoss:
    """What goes with one loss: soft targets of classes, else the loss itself with the teacher's outputs as targets."""
    name = "" if loss is None else str(loss.name)
    if loss is None or "crossentropy" not in name:
        return SameOutputs(keras.losses.MeanSquaredError() if loss is None else loss)
    logits = bool(loss.get_config().get("from_logits", False))
    if "categorical" in name:
        return SoftTargets(probabilities=not logits)
    return SameOutputs(keras.losses.MeanSquaredError() if logits else loss)
