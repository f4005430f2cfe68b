"""Checks of the samples that calibrate or verify a model."""

from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike, NDArray


def input_shape(model: keras.Model) -> tuple[int, ...]:
    """Shape of one sample of a model with one fixed-shape float input and one output.

    Args:
        model: a built Keras model.

    Returns:
        The input shape without the batch axis.

    Raises:
        TypeError: not a Keras model.
        ValueError: not built, several inputs or outputs, an open axis, or an integer input.
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
    if "float" not in dtype:
        raise ValueError(
            f"Model '{model.name}': the input must be of a floating type. Received: dtype={dtype}. Use a "
            "float32 Input; it takes raw pixels 0..255 as they are."
        )
    return tuple(shape)


def check_samples(samples: ArrayLike, model: keras.Model, *, name: str) -> NDArray[Any]:
    """Checks real samples for a model and casts them to float32.

    Args:
        samples: `(n, *input shape)` numbers.
        model: the Keras model that takes them.
        name: what to call the samples in messages, such as "representative_data".

    Returns:
        The samples in float32.

    Raises:
        TypeError: the samples are not numbers.
        ValueError: wrong shape, no sample, NaN or infinite values.
    """
    shape = input_shape(model)
    array = np.asarray(samples)
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
    array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise ValueError(
            f"{name} must be finite. Received: {int((~np.isfinite(array)).sum())} NaN or infinite values, "
            f"the first in sample {int(np.argwhere(~np.isfinite(array))[0][0])}. Clean the data first."
        )
    return array
