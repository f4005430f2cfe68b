"""What a student learns from the outputs of the model that was given."""

from collections.abc import Sequence
from typing import Any

import keras

_TEMPERATURE = 3.0


class SoftTargets(keras.distillation.DistillationLoss):  # type: ignore[misc]  # Keras is untyped
    """Cross-entropy of the teacher's softened classes (Hinton et al., arXiv 1503.02531, section 2).

    Keras's own loss takes logits. Log probabilities are logits of the same softmax, so a model that
    ends in a softmax is served by it too.

    Args:
        probabilities: whether the models give probabilities and not logits.
    """

    def __init__(self, *, probabilities: bool) -> None:
        self._probabilities = probabilities
        # Given by name, Keras 3.15 resolves the loss to a function and then compares raw logits.
        divergence = keras.losses.KLDivergence()
        self._logits = keras.distillation.LogitsDistillation(temperature=_TEMPERATURE, loss=divergence)

    def compute_loss(self, teacher_outputs: Any, student_outputs: Any, **kwargs: Any) -> Any:
        """The loss of one batch, a scalar."""
        if self._probabilities:
            least = keras.config.epsilon()
            teacher_outputs = keras.ops.log(keras.ops.maximum(teacher_outputs, least))
            student_outputs = keras.ops.log(keras.ops.maximum(student_outputs, least))
        return self._logits.compute_loss(teacher_outputs, student_outputs, **kwargs)


class EachOutput(keras.distillation.DistillationLoss):  # type: ignore[misc]  # Keras is untyped
    """The weighted sum of what a student learns from each of several outputs.

    Args:
        losses: one for each output, in the order of the model's.
        weights: one for each.
    """

    def __init__(self, losses: Sequence[keras.distillation.DistillationLoss], weights: Sequence[float]) -> None:
        self._losses, self._weights = losses, weights

    def compute_loss(self, teacher_outputs: Any, student_outputs: Any, **kwargs: Any) -> Any:
        """The loss of one batch, a scalar."""
        pairs = zip(keras.tree.flatten(teacher_outputs), keras.tree.flatten(student_outputs), strict=True)
        found = [loss.compute_loss(*pair, **kwargs) for loss, pair in zip(self._losses, pairs, strict=True)]
        return sum(weight * each for weight, each in zip(self._weights, found, strict=True))


class SameOutputs(keras.distillation.DistillationLoss):  # type: ignore[misc]  # Keras is untyped
    """A Keras loss between the student's outputs and the teacher's (Ba and Caruana, arXiv 1312.6184, section 2.3).

    Args:
        loss: takes (teacher's outputs, student's outputs).
    """

    def __init__(self, loss: keras.losses.Loss) -> None:
        self._loss = loss

    def compute_loss(self, teacher_outputs: Any, student_outputs: Any, **kwargs: Any) -> Any:
        """The loss of one batch, a scalar."""
        del kwargs
        return self._loss(teacher_outputs, student_outputs)
