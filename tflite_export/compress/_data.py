"""The user's data as checked arrays, with validation data split off the training part."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.graph import input_names, trace
from tf_structprune.stages import tolerated_loss
from tf_structprune.task import (
    NO_OBJECTIVE,
    Objective,
    Samples,
    Task,
    count_of,
    in_output_structure,
    predict,
    take,
    targets_by_output,
    task_of,
)
from tflite_export.compress._augment import check_augmented
from tflite_export.compress._settings import CompressSettings

PARTS = ("train", "val", "test")
_VALIDATION_SHARE = 0.1
_VALIDATION_MOST = 5_000
_BATCH = 512
_LOOKED_AT = 4


@dataclass(frozen=True)
class Data:
    """Samples and targets as `fit` takes them: arrays, or lists or dictionaries of arrays for several inputs, outputs.

    From `check_data` on they are in the order of the model's inputs and outputs, and targets in the form that the task
    takes.

    Attributes:
        x_train, y_train: what is trained on. Without labels y is None in all parts.
        x_val, y_val: what candidates and stages are judged on.
        x_test, y_test: what the final figures come from, used for nothing else.
        w_train: weights of the training samples, shape (samples,), or None.
        class_weight: a weight for each class, by its index, or None; `check_data` makes weights of samples of it.
    """

    x_train: Any
    y_train: Any
    x_val: Any
    y_val: Any
    x_test: Any
    y_test: Any
    w_train: Any = None
    class_weight: Any = None

    @property
    def samples(self) -> int:
        """Number of training samples."""
        return count_of(self.x_train)


def split(x_train: Any, y_train: Any, x_test: Any, y_test: Any, *, seed: int, w_train: Any = None) -> Data:
    """The same from a training and a test part: some of the training part becomes validation data.

    Args:
        x_train, y_train: the training part.
        x_test, y_test: the test part.
        seed: of the split.
        w_train: weights of the training samples.
    """
    training, validation = split_rows(count_of(x_train), seed)
    return Data(
        take(x_train, training),
        take(y_train, training),
        take(x_train, validation),
        take(y_train, validation),
        x_test,
        y_test,
        take(w_train, training),
    )


def split_rows(count: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows that are trained on, and rows held out: a tenth, at most 5,000, drawn by the seed; each in order."""
    order = np.random.default_rng(seed).permutation(count)
    held_out = min(_VALIDATION_MOST, max(1, int(count * _VALIDATION_SHARE)))
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def check_data(
    data: Data,
    model: keras.Model,
    settings: CompressSettings | None = None,
    objective: Objective = NO_OBJECTIVE,
) -> tuple[Data, Task]:
    """The data in the order of the model's inputs and outputs, with targets in the form of its task, and the task.

    Args:
        data: as they were loaded.
        model: the trained model.
        settings: of the run; None where no model is compressed, and any number of validation samples will do.
        objective: a loss and a score of one's own.

    Raises:
        ValueError: a model that takes samples of no fixed size, samples or targets that do not fit it, too few
            validation samples, or changes of images where the samples are none.
    """
    trace(model)  # refuses a subclassed model and one that is not built
    _check_inputs(data, model, settings)
    samples = {f"x_{part}": _samples(getattr(data, f"x_{part}"), f"x_{part}", model) for part in PARTS}
    given = {f"y_{part}": getattr(data, f"y_{part}") for part in PARTS}
    held_out = len(samples["x_val"])
    if settings and held_out < settings.min_validation:
        raise ValueError(
            f"Too few validation samples to judge a tolerance by. Received: {held_out}, least "
            f"{settings.min_validation}. Give more as x_val and y_val, or lower min_validation (--min-validation)."
        )
    inputs = {name: each.for_model(model) for name, each in samples.items()}
    if all(y is None for y in given.values()):
        if settings and (told := settings.needs_labels):
            raise ValueError(
                f"{told} the gradient of a loss, which is 0 for what the model gives. Received: data without labels. "
                "Give y_train and the others, or use method='search' with search='least_squares'."
            )
        task = task_of(model, inputs["x_val"], objective=objective)
        given = {f"y_{part}": _outputs(model, inputs[f"x_{part}"]) for part in PARTS}
    else:
        _check_targets(given, samples)
        given = {name: _by_output(model, y, name) for name, y in given.items()}
        task = task_of(model, inputs["x_val"], given["y_train"], objective)
    if settings and settings.augment:
        check_augmented(settings.augment, samples["x_train"].arrays[0][:_LOOKED_AT], take(given["y_train"], slice(1)))
    if settings:
        tolerated_loss(task.score.metric, 0.0, settings.tolerance)  # refuses one that says nothing of that metric
    targets = {name: task.targets(y, name) for name, y in given.items()}
    if len(model.outputs) > 1:
        targets = {name: in_output_structure(model, y) for name, y in targets.items()}
    weights = _weights(data, targets["y_train"], len(samples["x_train"]))
    return replace(data, **inputs, **targets, w_train=weights, class_weight=None), task


def _check_inputs(data: Data, model: keras.Model, settings: CompressSettings | None) -> None:
    shapes = [tuple(tensor.shape[1:]) for tensor in model.inputs]
    for name, shape in zip(input_names(model), shapes, strict=True):
        if None in shape:
            told = "" if len(shapes) == 1 else f" of '{name}'"
            found = getattr(data.x_train, "shape", (None, *(1 for _ in shape)))[1:]
            raise ValueError(
                f"Model '{model.name}' must take samples of one size, TFLite plans memory for it. Received: input "
                f"shape{told} {shape}. Rebuild it with e.g. keras.Input({tuple(found)}) and the same weights."
            )
    if settings and settings.augment and (len(shapes) != 1 or len(shapes[0]) != 3):
        told = ", ".join(map(str, shapes))
        raise ValueError(
            "augment changes images of height x width x channels. Received: augment="
            f"{','.join(settings.augment)}, samples of shape {told}. Leave it out."
        )


def _samples(x: Any, part: str, model: keras.Model) -> Samples:
    """The samples of a part, which fit the inputs."""
    try:
        samples = Samples.of(model, x)
    except ValueError as error:
        raise ValueError(f"{part} does not fit the model's inputs. {error}") from error
    names = input_names(model)
    for name, array, tensor in zip(names, samples.arrays, model.inputs, strict=True):
        shape = tuple(tensor.shape[1:])
        told = part if len(names) == 1 else f"{part} of input '{name}'"
        if array.shape[1:] != shape:
            raise ValueError(
                f"{told} does not fit the model's input. Received: samples of shape {array.shape[1:]}. Use shape "
                f"{shape}" + (" (add the channel axis)." if (*array.shape[1:], 1) == shape else ".")
            )
        check_samples_of_part(array, told)
    return samples


def check_samples_of_part(x: NDArray[Any], told: str) -> None:
    """Refuses samples that are no finite real numbers.

    Args:
        x: the samples of one input.
        told: what they are called in an error.

    Raises:
        ValueError: other values.
    """
    if not (np.issubdtype(x.dtype, np.number) or x.dtype == np.bool_) or np.issubdtype(x.dtype, np.complexfloating):
        raise ValueError(f"{told} must be real numbers. Received: dtype={x.dtype}. Convert it to float32.")
    if np.issubdtype(x.dtype, np.floating) and not np.isfinite(x).all():
        raise ValueError(
            f"{told} has {int((~np.isfinite(x)).sum())} values that are not finite. Received: NaN or infinity. Clean "
            "the data."
        )


def check_targets_of_part(y: NDArray[Any], told: str) -> None:
    """Refuses targets that are no finite real numbers.

    Args:
        y: the targets of one output.
        told: what they are called in an error.

    Raises:
        ValueError: other values.
    """
    finite = y.dtype.kind in "bui" or (y.dtype.kind == "f" and bool(np.isfinite(y).all()))
    if not finite or y.size == 0:
        raise ValueError(
            f"{told} must be finite real numbers. Received: dtype={y.dtype}, shape={y.shape}. Use e.g. class indices "
            "from 0."
        )


def _check_targets(given: dict[str, Any], samples: dict[str, Samples]) -> None:
    for part in PARTS:
        y, count = given[f"y_{part}"], len(samples[f"x_{part}"])
        if y is None:
            raise ValueError(
                f"y_{part} is missing. Received: targets for other parts. Give them for all parts, or for none."
            )
        for array in keras.tree.flatten(y):
            array = np.asanyarray(array)
            if array.shape[:1] != (count,):
                raise ValueError(
                    f"x_{part} and y_{part} need the same length. Received: {count} samples, targets of shape "
                    f"{array.shape}. Give one target for each sample."
                )
            check_targets_of_part(array, f"y_{part}")


def _by_output(model: keras.Model, y: Any, name: str) -> Any:
    """One array, or one for each of several outputs in their order."""
    try:
        targets = targets_by_output(model, y)
    except ValueError as error:
        raise ValueError(f"{name} does not fit the model's outputs. {error}") from error
    return targets[0] if len(targets) == 1 else targets


def _outputs(model: keras.Model, x: Any) -> Any:
    found = targets_by_output(model, predict(model, x, _BATCH))
    return found[0] if len(found) == 1 else found


def _weights(data: Data, y: Any, samples: int) -> NDArray[np.float32] | None:
    """Weights of the training samples, None for equal ones."""
    of_classes = None if data.class_weight is None else _of_classes(data.class_weight, y)
    if data.w_train is None:
        return of_classes
    found = np.asarray(data.w_train, np.float32)
    if found.shape != (samples,) or not np.isfinite(found).all() or (found < 0).any():
        raise ValueError(
            f"w_train must be one weight of 0 or more for each of {samples} samples. Received: shape={found.shape}. "
            "Leave it out for equal weights."
        )
    return found if of_classes is None else found * of_classes


def _of_classes(given: Any, y: Any) -> NDArray[np.float32]:
    """The weight of each sample's class."""
    by_class = dict(given) if isinstance(given, Mapping) else dict(enumerate(np.asarray(given).reshape(-1).tolist()))
    labels = None if isinstance(y, list | dict) else np.asarray(y)
    if labels is not None and labels.ndim == 2 and labels.shape[1] > 1:
        labels = labels.argmax(axis=1) if bool((labels.sum(axis=1) == 1).all()) else None
    labels = None if labels is None else labels.reshape(-1) if labels.size == len(labels) else None
    if labels is None or not np.array_equal(labels, labels.astype(np.int64)):
        raise ValueError(
            "class_weight is for one class a sample. Received: targets of another kind. Give weights of samples, as "
            "w_train."
        )
    weights = [by_class.get(int(label), 1.0) for label in labels]
    found = np.asarray(weights, np.float32)
    if not np.isfinite(found).all() or (found < 0).any():
        raise ValueError(
            f"class_weight must have weights of 0 or more. Received: {by_class}. Leave it out for equal weights."
        )
    return found
