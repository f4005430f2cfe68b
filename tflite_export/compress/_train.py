"""Retrain a model: loss, learning rate, augmentation and a teacher."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np
from absl import logging
from numpy.typing import NDArray

from tf_structprune.callbacks import PQK, SelfTaught
from tf_structprune.layers import build_optimizer, copy_model
from tf_structprune.task import Task, count_of, in_output_structure, take
from tflite_export.compress._augment import Change, change_of, value_range
from tflite_export.compress._data import Data
from tflite_export.compress._epochs import NO_FILES, EpochFiles, KeptEpochs
from tflite_export.compress._optimizer import optimizer_of
from tflite_export.compress._rate import LEAST, range_test
from tflite_export.compress._settings import CompressSettings


def retrain(
    model: keras.Model,
    teacher: keras.Model,
    data: Data,
    settings: CompressSettings,
    *,
    task: Task,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: int = 0,
    files: EpochFiles = NO_FILES,
) -> dict[str, list[float]]:
    """Train, the learning rate falling as a cosine to zero; the model is changed.

    Args:
        model: a model of the task, masked or not.
        teacher: the dense model, for `settings.distill`.
        data: training and validation data.
        settings: epochs, batch, rate, distillation, augmentation and seed.
        task: what the model is for.
        callbacks: as for `fit`.
        verbose: as for `fit`.
        files: where each epoch is kept; a retraining that was interrupted goes on with the one after the last.

    Returns:
        Figures by name, one an epoch.
    """
    keras.utils.set_random_seed(settings.seed)
    length = settings.retraining(data.samples)
    given = (data.x_train, data.y_train) if data.w_train is None else (data.x_train, data.y_train, data.w_train)
    batches = Batches(given, length.batch, settings.augment, settings.seed)
    more = files.more(length.epochs)
    epochs = files.before + more
    trained = _in_training(model, teacher, task, settings, callbacks)
    # XLA is slower than TensorFlow's own kernels for convolutions on a CPU (3.5 times on the
    # networks of the benchmarks).
    compiled = {**compiled_for(model, task), "jit_compile": False}
    optimizer = optimizer_of(settings.optimizer, model)
    rate = _rate(settings, files, more, partial(range_test, trained, batches, optimizer, **_judged_by_loss(compiled)))
    falling = keras.optimizers.schedules.CosineDecay(rate, max(1, more) * length.steps)
    trained.compile(optimizer(falling), **compiled)
    validation = (data.x_val, data.y_val)
    _make_variables(trained, batches[0])
    kept = KeptEpochs(trained, trained.optimizer, files, rate=rate)
    trained.fit(
        batches,
        initial_epoch=kept.restore(epochs),
        epochs=epochs,
        shuffle=False,  # the batches are shuffled as they are; Keras would draw from a state that is not kept
        validation_data=validation,
        callbacks=[keras.callbacks.LambdaCallback(on_epoch_begin=batches.begin), *callbacks, kept],
        verbose=verbose,
    )
    return kept.figures


def _make_variables(trained: keras.Model, batch: tuple[Any, ...]) -> None:
    """Let optimizer and metrics have theirs before the first step: TensorFlow traces a step that makes some twice."""
    x, y, weight = keras.utils.unpack_x_y_sample_weight(batch)
    trained.compute_metrics(x, y, trained(x, training=False), weight)  # which `fit` sets back
    build_optimizer(trained)


def _judged_by_loss(compiled: dict[str, Any]) -> dict[str, Any]:
    """The same without metrics."""
    return {name: value for name, value in compiled.items() if name != "metrics"}


def _in_training(
    model: keras.Model,
    teacher: keras.Model,
    task: Task,
    settings: CompressSettings,
    callbacks: Sequence[keras.callbacks.Callback],
) -> keras.Model:
    """What `fit` trains: the model, or what it learns in, from itself or from a teacher."""
    if any(isinstance(callback, PQK) for callback in callbacks):
        return SelfTaught(model, loss=task.teacher_loss)
    if settings.distill > 0:
        return _Taught(model, copy_model(teacher), task.teacher_loss, settings.distill)
    return model


def _rate(settings: CompressSettings, files: EpochFiles, epochs: int, tested: Callable[[], float]) -> float:
    """The learning rate at the start: as it is set, as it was found before, or by a test."""
    if not isinstance(settings.finetune_rate, str):
        return settings.finetune_rate
    if not epochs:
        return LEAST
    found = files.rate
    if found is None:
        found = tested()
        logging.info("Range test: a learning rate of %.3g.", found)
    return found


class _Taught(keras.Model):  # type: ignore[misc]  # Keras is untyped
    """A model that is trained by its own loss and by what it learns from a teacher's outputs.

    Keras's `Distiller` leaves weights of samples and of outputs out, and takes no outputs by name.

    Args:
        student: what is trained.
        teacher: what it learns from; it is not changed.
        loss: of (teacher's outputs, student's outputs).
        share: weight of that loss, in [0, 1]; the rest is that of the own one.
    """

    def __init__(
        self, student: keras.Model, teacher: keras.Model, loss: keras.distillation.DistillationLoss, share: float
    ) -> None:
        super().__init__(name="taught")
        self.student, self._share = student, share
        # A function and no attributes, which Keras would take for layers of this model, with weights and losses.
        self._learned: Callable[[Any, Any], Any] = partial(_learned, loss, teacher)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """What the student gives."""
        return self.student(inputs, training=training)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """Both losses, and the student's regularizers, whose weight is their own."""
        own = super().compute_loss(x, y, y_pred, sample_weight, training)  # with the regularizers
        return (1 - self._share) * own + self._share * sum(self.losses, self._learned(x, y_pred))


def _learned(loss: keras.distillation.DistillationLoss, teacher: keras.Model, x: Any, outputs: Any) -> Any:
    return loss.compute_loss(teacher(x, training=False), outputs)


def compiled_for(model: keras.Model, task: Task) -> dict[str, Any]:
    """What a model is compiled with for a task, in the structure of its outputs."""
    if not isinstance(task.loss, list):
        return {"loss": task.loss, "metrics": list(task.metrics)}
    loss, metrics, weights = (in_output_structure(model, part) for part in (task.loss, task.metrics, task.weights))
    return {"loss": loss, "metrics": metrics, "loss_weights": weights}


class Batches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras is untyped
    """Shuffled, augmented training batches, which depend on seed, epoch and place in the epoch and on nothing else.

    Args:
        given: samples, targets and perhaps weights, as `fit` takes them.
        batch_size: samples of a batch.
        augment: random changes of the images, of which there is one input then.
        seed: of order and changes.
    """

    def __init__(self, given: tuple[Any, ...], batch_size: int, augment: tuple[str, ...], seed: int) -> None:
        super().__init__()
        self._given, self._batch_size, self._seed = given, batch_size, seed
        self._samples = count_of(given)
        self._changes = [change_of(text, seed, value_range(given[0])) for text in augment]
        self.begin(0)

    def begin(self, epoch: int, logs: Any = None) -> None:
        """Draw the order of an epoch; Keras's own `on_epoch_end` of a data set does not tell which one it is."""
        del logs
        self._epoch = epoch
        self._order = np.random.default_rng((self._seed, epoch)).permutation(self._samples)

    def __len__(self) -> int:
        """Batches of an epoch."""
        return math.ceil(self._samples / self._batch_size)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """Batch `index` of the epoch."""
        chosen = self._order[index * self._batch_size : (index + 1) * self._batch_size]
        x, *others = take(self._given, chosen)
        rng = np.random.default_rng((self._seed, self._epoch, 1 + index))  # 0 would repeat the draws of the order
        for change in self._changes:
            changed = partial(_changed, change, rng)
            x = keras.tree.map_structure(changed, x)  # of one array, alone in a list or dictionary or not
        # Keras takes a list within a batch for one tensor.
        return tuple(tuple(each) if isinstance(each, list) else each for each in (x, *others))


def _changed(change: Change, rng: np.random.Generator, images: NDArray[Any]) -> NDArray[np.float32]:
    return change(images.astype(np.float32), rng)
