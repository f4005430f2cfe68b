"""The user's data file as checked arrays, with validation data split off the training part."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.graph import trace
from tf_structprune.resume import read_arrays
from tf_structprune.task import Task, task_of
from tflite_export.compress._settings import CompressSettings

_KEYS = ("x_train", "y_train", "x_test", "y_test")
_VALIDATION_KEYS = ("x_val", "y_val")
_VALIDATION_SHARE = 0.1
_VALIDATION_MOST = 5_000


@dataclass(frozen=True)
class Data:
    """Samples and targets, from `check_data` on in the form that the task takes.

    Attributes:
        x_train, y_train: what is trained on.
        x_val, y_val: what candidates and stages are judged on.
        x_test, y_test: what the final figures come from, used for nothing else.
    """

    x_train: NDArray[Any]
    y_train: NDArray[Any]
    x_val: NDArray[Any]
    y_val: NDArray[Any]
    x_test: NDArray[Any]
    y_test: NDArray[Any]


def load_data(path: str | os.PathLike[str], *, seed: int) -> Data:
    """Read a `.npz` with x_train, y_train, x_test and y_test, as in `keras.datasets`.

    Validation data are x_val and y_val where the file has them; they should be images that the
    model has not been trained on. Without them, a tenth of the training part, at most 5,000 samples
    drawn by the seed, is split off.

    Args:
        path: the file.
        seed: seed of the split.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not a `.npz` of plain arrays, a key that is missing, lengths that differ, or
            values that are no numbers.
    """
    arrays = _read(Path(path))
    for part in ("train", "val", "test"):
        if f"x_{part}" in arrays:
            _check_part(arrays, part, path)
    test = (arrays["x_test"], arrays["y_test"])
    if "x_val" not in arrays:
        return split(arrays["x_train"], arrays["y_train"], *test, seed=seed)
    return Data(**{key: arrays[key] for key in (*_KEYS, *_VALIDATION_KEYS)})


def split(
    x_train: NDArray[Any], y_train: NDArray[Any], x_test: NDArray[Any], y_test: NDArray[Any], *, seed: int
) -> Data:
    """The same from arrays."""
    order = np.random.default_rng(seed).permutation(len(x_train))
    held_out = min(_VALIDATION_MOST, max(1, int(len(x_train) * _VALIDATION_SHARE)))
    validation, training = np.sort(order[:held_out]), np.sort(order[held_out:])
    return Data(x_train[training], y_train[training], x_train[validation], y_train[validation], x_test, y_test)


def check_data(data: Data, model: keras.Model, settings: CompressSettings | None = None) -> tuple[Data, Task]:
    """The data with targets in the form that the model's task takes, and the task.

    Args:
        data: as they were loaded.
        model: the trained model.
        settings: of the run; None where no model is compressed, and any number of validation samples will do.

    Raises:
        ValueError: a model that has several inputs or outputs or takes samples of no fixed size, samples or targets
            that do not fit it, too few validation samples, or changes of images where the samples are none.
    """
    trace(model)  # refuses a subclassed model and one that is not built
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ValueError(
            f"Model '{model.name}' must have one input and one output. Received: {len(model.inputs)} inputs, "
            f"{len(model.outputs)} outputs. Use the Python interface for other models."
        )
    shape = tuple(model.input_shape[1:])
    if None in shape:
        raise ValueError(
            f"Model '{model.name}' must take samples of one size, TFLite plans memory for it. Received: input shape "
            f"{shape}. Rebuild it with e.g. keras.Input({tuple(data.x_train.shape[1:])}) and the same weights."
        )
    if settings and settings.augment and len(shape) != 3:
        raise ValueError(
            "augment changes images of height x width x channels. Received: augment="
            f"{','.join(settings.augment)}, samples of shape {shape}. Leave it out."
        )
    for part in ("train", "val", "test"):
        name, x = f"x_{part}", getattr(data, f"x_{part}")
        if x.shape[1:] != shape:
            raise ValueError(
                f"{name} does not fit the model's input. Received: samples of shape {x.shape[1:]}. Use shape {shape}"
                + (" (add the channel axis)." if x.shape[1:] + (1,) == shape else ".")
            )
    if settings and len(data.x_val) < settings.min_validation:
        raise ValueError(
            f"Too few validation samples to judge a tolerance by. Received: {len(data.x_val)}, least "
            f"{settings.min_validation}. Give more as x_val and y_val, or lower min_validation (--min-validation)."
        )
    task = task_of(model, data.x_val, data.y_train)
    names = ("y_train", "y_val", "y_test")
    return replace(data, **{name: task.targets(getattr(data, name), name) for name in names}), task


def _read(path: Path) -> dict[str, NDArray[Any]]:
    if not path.is_file():
        raise FileNotFoundError(f"No data file there. Received: {path}. Give a .npz with {', '.join(_KEYS)}.")
    arrays, names = read_arrays(path, names=_KEYS + _VALIDATION_KEYS, advice="Write it with numpy.savez.")
    wanted = _KEYS + (_VALIDATION_KEYS if any(key in arrays for key in _VALIDATION_KEYS) else ())
    missing = [key for key in wanted if key not in arrays]
    if missing:
        raise ValueError(
            f"{path} lacks {', '.join(missing)}. Received: {', '.join(names) or 'no arrays'}. "
            f"Use the keys {', '.join(wanted)}."
        )
    return arrays


def _check_part(arrays: dict[str, NDArray[Any]], part: str, path: str | os.PathLike[str]) -> None:
    x, y = arrays[f"x_{part}"], arrays[f"y_{part}"]
    if x.ndim < 2 or y.ndim < 1:
        raise ValueError(
            f"{path}: x_{part} and y_{part} need one entry for each sample. Received: shapes {x.shape} and {y.shape}. "
            "Give x as (samples, ...) and y as (samples,)."
        )
    if len(x) != len(y) or len(x) < 2:
        raise ValueError(
            f"{path}: x_{part} and y_{part} need the same length, at least 2. Received: {len(x)} and {len(y)}. "
            "Give one label for each sample."
        )
    if not (np.issubdtype(x.dtype, np.number) or x.dtype == np.bool_) or np.issubdtype(x.dtype, np.complexfloating):
        raise ValueError(f"{path}: x_{part} must be real numbers. Received: dtype={x.dtype}. Convert it to float32.")
    if np.issubdtype(x.dtype, np.floating) and not np.isfinite(x).all():
        raise ValueError(
            f"{path}: x_{part} has {int((~np.isfinite(x)).sum())} values that are not finite. Received: NaN or "
            "infinity. Clean the data."
        )
    finite = y.dtype.kind in "bui" or (y.dtype.kind == "f" and bool(np.isfinite(y).all()))
    if not finite or y.size == 0:
        raise ValueError(
            f"{path}: y_{part} must be finite real numbers. Received: dtype={y.dtype}, shape={y.shape}. Use e.g. class "
            "indices from 0."
        )
