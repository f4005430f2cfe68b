"""The model that is trained by PQK: a masked model that is also its own teacher."""

import math
from typing import Any

import keras

from tf_structprune.layers import TeacherPass, get_masks, is_masked
from tf_structprune.task import compile_arguments, teacher_loss_of


class SelfTaught(keras.Model):  # type: ignore[misc]  # Keras is untyped
    """A masked model that learns from itself with its pruned weights back, as PQK has it.

    While it teaches, the loss of a batch is student's loss + teacher_weight * teacher's loss + weight * what the
    student learns from the teacher's outputs, through which no gradient reaches the teacher. Student and teacher share
    every weight that the masks keep; the pruned ones are the teacher's alone. The teacher computes in float with the
    masks that the model held when this was made. Batch normalizations have moving statistics of their own for it,
    which are variables here; those that `to_fixed_point` folded away have none.

    Compile and fit it as any model, with the callback `PQK`, and use `student` afterwards. `predict`, `evaluate` and
    the metrics are about the student.

    Args:
        student: a model from `wrap`, of a float model or of one from `to_fixed_point`; it is the one that is trained.
        weight: of what the student learns from the teacher's outputs.
        teacher_weight: of the teacher's own loss.
        loss: of (teacher's outputs, student's outputs); by default what goes with the loss in `compile`: with classes
            the softened cross-entropy of Hinton et al. (arXiv 1503.02531) at temperature 3, else the loss itself.

    Raises:
        ValueError: a model without masks, or a weight that is negative or not finite.
    """

    def __init__(
        self,
        student: keras.Model,
        *,
        weight: float = 1.0,
        teacher_weight: float = 1.0,
        loss: keras.distillation.DistillationLoss | None = None,
    ) -> None:
        if not is_masked(student):
            raise ValueError(
                f"SelfTaught takes a model with masks. Received: model '{getattr(student, 'name', student)}' without "
                "any. Use wrap(model, granularity='weight') first."
            )
        for name, value in (("weight", weight), ("teacher_weight", teacher_weight)):
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} must be 0 or more. Received: {name}={value}. Use e.g. 1.0.")
        if loss is not None and not isinstance(loss, keras.distillation.DistillationLoss):
            raise ValueError(
                f"loss must be a keras.distillation.DistillationLoss. Received: loss={loss!r}. Use e.g. "
                "keras.distillation.LogitsDistillation(temperature=3.0), or None."
            )
        super().__init__(name="self_taught")
        self.student, self.weight, self.teacher_weight = student, weight, teacher_weight
        self.given = get_masks(student)
        self._teacher_pass = TeacherPass.of(student)
        self._statistics = tuple(
            self.add_weight(shape=own.shape, dtype=own.dtype, trainable=False, name=f"teacher_{at}_{own.name}")
            for at, own in enumerate(self._teacher_pass.statistics)
        )
        self.take_statistics()
        self._own_loss = loss
        self._loss: Any = loss  # what follows from `compile`, where none was given
        self._teaches, self._bare = False, False
        self.built = True  # as its student is; BackupAndRestore asks

    @property
    def teaches(self) -> bool:
        """Whether the teacher is there."""
        return self._teaches

    @teaches.setter
    def teaches(self, value: bool) -> None:
        if value != self._teaches:
            self._teaches = value
            self.make_train_function(force=True)  # the one that was made before knows nothing of it

    def take_statistics(self) -> None:
        """Let the teacher's statistics of batch normalizations begin with the student's."""
        for mine, own in zip(self._statistics, self._teacher_pass.statistics, strict=True):
            mine.assign(own)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """What the student gives."""
        return self.student(inputs, training=training)

    def teacher(self, inputs: Any, training: bool = False) -> Any:
        """What the teacher gives; in training its statistics follow the batch."""
        outputs, left = self._teacher_pass(inputs, [each.value for each in self._statistics], training=training)
        if training:
            for mine, value in zip(self._statistics, left, strict=True):
                mine.assign(value)
        return outputs

    def compile(self, *args: Any, **settings: Any) -> None:
        """As `keras.Model.compile`."""
        super().compile(*args, **settings)
        self._loss = self._own_loss or teacher_loss_of(self.student, compile_arguments(self))

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """The loss of a batch; regularizers count once."""
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)  # first: a further pass clears added losses
        if not (training and self.teaches) or not (self.weight or self.teacher_weight):
            return loss
        outputs = self.teacher(x, training=True)
        if self.teacher_weight:
            loss = loss + self.teacher_weight * self._task_loss(x, y, outputs, sample_weight)
        if self.weight:
            fixed = keras.tree.map_structure(keras.ops.stop_gradient, outputs)
            loss = loss + self.weight * self._loss.compute_loss(fixed, y_pred)
        return loss

    @property
    def losses(self) -> list[Any]:
        """Regularizers and what layers add; none for the teacher's loss, which shares their weights."""
        return [] if self._bare else super().losses

    def _task_loss(self, x: Any, y: Any, outputs: Any, sample_weight: Any) -> Any:
        """The loss of outputs alone, of which the metrics of `compile` are told nothing."""
        self._bare = True
        try:
            with keras.StatelessScope(state_mapping=[(each, each.value) for each in self.metrics_variables]):
                return super().compute_loss(x, y, outputs, sample_weight, True)
        finally:
            self._bare = False
