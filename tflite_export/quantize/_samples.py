"""What goes into a model: its inputs, and checks of the samples that calibrate or verify it."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.task import Samples, collected

_INTEGERS = ("uint8", "int8", "int32")


@dataclass(frozen=True)
class ModelInput:
    """One input of a model.

    Attributes:
        name: of its input layer.
        shape: of one sample.
        dtype: float32 for every floating type, or integers as they are.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str


def model_inputs_of(model: keras.Model) -> tuple[ModelInput, ...]:
    """The inputs of a model, in the order of `model.inputs`.

    Args:
        model: a built Keras model.

    Raises:
        TypeError: not a Keras model.
        ValueError: not built, no output, an open axis, or an input of another type than floats, uint8, int8 and int32.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(
            f"model must be a keras.Model. Received: {type(model).__name__}. Load a file with "
            "keras.models.load_model first."
        )
    if not model.built or not getattr(model, "inputs", None) or not model.outputs:
        raise ValueError(
            f"Model '{model.name}': its input shape is not known. Received: a model that is not built or is "
            "subclassed. Use a Sequential model with an Input layer, or a functional model."
        )
    return tuple(_input(model, tensor) for tensor in model.inputs)


def _input(model: keras.Model, tensor: Any) -> ModelInput:
    name = str(tensor.name)
    told = f" '{name}'" if len(model.inputs) > 1 else ""
    shape, dtype = tuple(tensor.shape[1:]), str(tensor.dtype)
    if None in shape:
        raise ValueError(
            f"Model '{model.name}': every axis of input{told} but the batch must be fixed. Received: shape={shape}. "
            "Rebuild the model with keras.Input(shape=(height, width, channels))."
        )
    if "float" not in dtype and dtype not in _INTEGERS:
        raise ValueError(
            f"Model '{model.name}': input{told} must be of a floating type, {', '.join(_INTEGERS)}. Received: "
            f"dtype={dtype}. Use a float32 Input, which takes raw pixels 0..255 as they are, or int32 for tokens."
        )
    return ModelInput(name, shape, dtype if dtype in _INTEGERS else "float32")


def check_samples(samples: Any, model: keras.Model, *, name: str) -> Samples:
    """Checks real samples for a model and casts them to what its inputs take.

    Args:
        samples: `(n, *input shape)` numbers, for several inputs a list or dictionary of them; a pair of that and
            targets, of which the first counts; or a data set or generator of batches of either, see `task.collected`.
        model: the Keras model that takes them.
        name: what to call the samples in messages, such as "representative_data".

    Returns:
        The samples in float32, or in the integers of the model's inputs.

    Raises:
        TypeError: the samples are not numbers.
        ValueError: wrong number of inputs, wrong shape, no sample, NaN or infinite values, or integers that the
            model's input has not.
    """
    inputs = model_inputs_of(model)
    given = collected(samples, name)
    if isinstance(given, tuple) and len(given) == 2 and _are_inputs(given[0], inputs):
        given = given[0]
    if len(inputs) == 1:
        return Samples((_checked(_bare(given, len(inputs[0].shape) + 1), inputs[0], model, name),))
    try:
        arrays = Samples.of(model, given).arrays
    except (KeyError, ValueError) as error:
        raise ValueError(f"{name} does not fit the inputs. {error.args[0]}") from error
    named = zip(arrays, inputs, strict=True)
    return Samples(tuple(_checked(array, each, model, f"{name} for input '{each.name}'") for array, each in named))


def _are_inputs(given: Any, inputs: tuple[ModelInput, ...]) -> bool:
    """Whether the first of a pair is all that the model takes, and not one sample or one input of two."""
    if len(inputs) == 1:
        return np.ndim(given) == len(inputs[0].shape) + 1
    return isinstance(given, dict | list | tuple) and len(given) == len(inputs)


def _bare(given: Any, axes: int) -> Any:
    """The array of the only input, which has that many axes; it may be alone in a list or dictionary."""
    if isinstance(given, Samples):
        return given.arrays[0]
    if isinstance(given, dict) and len(given) == 1:
        return next(iter(given.values()))
    return given[0] if isinstance(given, list) and len(given) == 1 and np.ndim(given[0]) == axes else given


def _checked(given: Any, wanted: ModelInput, model: keras.Model, name: str) -> NDArray[Any]:
    """The samples of one input, in its type."""
    array, shape = np.asarray(given), wanted.shape
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
    if wanted.dtype in _INTEGERS:
        return _integers(array, wanted.dtype, name)
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
