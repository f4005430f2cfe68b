"""Checks of the samples that calibrate or verify a model."""

from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike, NDArray

from tf_structprune.task import collected

_INTEGERS = ("uint8", "int8", "int32")


def input_shape(model: keras.Model) -> tuple[int, ...]:
    """Shape of one sample of a model with one fixed-shape input and one output.

    Args:
        model: a built Keras model.

    Returns:
        The input shape without the batch axis.

    Raises:
        TypeError: not a Keras model.
        ValueError: not built, several inputs or outputs, an open axis, or an input of another type than floats, uint8,
            int8 and int32.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(
            f"model must be a keras.Model. Received: {type(model).__name__}. Load a file with "
            "keras.models.load_model first."
        )
    if not model.built or not getattr(model, "inputs", None):
        raise ValueError(
            f"Model '{model.name}': its input shape is not known. Received: a model that is not built or is "
            "subclassed. Use a Sequential model with an Input layer, or a functional model."
        )
    for side, tensors in (("input", model.inputs), ("output", model.outputs)):
        if len(tensors) != 1:
            raise ValueError(
                f"Model '{model.name}': exactly one {side} is supported. Received: {len(tensors)} {side}s. "
                "Split the model."
            )
    shape, dtype = model.inputs[0].shape[1:], model.inputs[0].dtype
    if None in shape:
        raise ValueError(
            f"Model '{model.name}': every input axis but the batch must be fixed. Received: shape={shape}. "
            "Rebuild the model with keras.Input(shape=(height, width, channels))."
        )
    if "float" not in dtype and dtype not in _INTEGERS:
        raise ValueError(
            f"Model '{model.name}': the input must be of a floating type, {', '.join(_INTEGERS)}. Received: "
            f"dtype={dtype}. Use a float32 Input, which takes raw pixels 0..255 as they are, or int32 for tokens."
        )
    return tuple(shape)


def input_dtype(model: keras.Model) -> str:
    """Type of what a model takes: float32 for every floating type, or integers as they are."""
    dtype = str(model.inputs[0].dtype)
    return dtype if dtype in _INTEGERS else "float32"


def check_samples(samples: ArrayLike, model: keras.Model, *, name: str) -> NDArray[Any]:
    """Checks real samples for a model and casts them to what its input takes.

    Args:
        samples: `(n, *input shape)` numbers; a pair of them and targets, of which the first counts; or a data set or
            generator of batches of either, see `task.collected`.
        model: the Keras model that takes them.
        name: what to call the samples in messages, such as "representative_data".

    Returns:
        The samples in float32, or in the integers of the model's input.

    Raises:
        TypeError: the samples are not numbers.
        ValueError: wrong shape, no sample, NaN or infinite values, or integers that the model's input has not.
    """
    shape, dtype = input_shape(model), input_dtype(model)
    given = collected(samples, name)
    if isinstance(given, tuple) and len(given) == 2 and np.ndim(given[0]) == len(shape) + 1:
        given = given[0]  # and not two samples
    array = np.asarray(given)
    if array.dtype.kind not in "fiub":
        raise TypeError(
            f"{name} must be an array of numbers. Received: dtype={array.dtype}. Pass the images or features "
            "alone, stacked in one array."
        )
    if array.shape[1:] != shape or array.ndim != len(shape) + 1 or not len(array):
        raise ValueError(
            f"{name} must have shape (n, {str(shape)[1:-1].rstrip(',')}) with n >= 1, the input of model "
            f"'{model.name}'. Received: shape={array.shape}. Add the batch or channel axis, or resize the "
            "samples."
        )
    if dtype in _INTEGERS:
        return _integers(array, dtype, name)
    array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise ValueError(
            f"{name} must be finite. Received: {int((~np.isfinite(array)).sum())} NaN or infinite values, "
            f"the first in sample {int(np.argwhere(~np.isfinite(array))[0][0])}. Clean the data first."
        )
    return array


def _integers(array: NDArray[Any], dtype: str, name: str) -> NDArray[Any]:
    limits = np.iinfo(dtype)
    fits = np.isfinite(array) & (array == np.floor(array)) & (array >= limits.min) & (array <= limits.max)
    if not fits.all():
        raise ValueError(
            f"{name} must be whole numbers of {dtype}, as the model's input. Received: {array.dtype} from "
            f"{array.min()} to {array.max()}. Pass them as the model takes them."
        )
    return array.astype(dtype)
