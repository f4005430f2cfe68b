"""Real numbers to the integers of a quantized model, and back."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tf_structprune.task import Samples
from tflite_export.file import ModelDescription, TensorDescription, TFLiteModel, open_file


def describe(model: TFLiteModel) -> ModelDescription:
    """Operators and tensors of a model.

    Args:
        model: path of the file, its bytes, or the file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: damaged file, or several subgraphs.
    """
    return open_file(model).description


def quantize(values: ArrayLike, tensor: TensorDescription) -> NDArray[Any]:
    """Quantizes real values as TFLite's QUANTIZE operator does.

    The quotient by the scale is taken in float32 and rounded half away from zero, then the zero point
    is added and the sum saturates.

    Args:
        values: real numbers, any shape.
        tensor: a tensor with one scale and one zero point.

    Returns:
        Integers of the tensor's dtype, same shape.

    Raises:
        ValueError: the tensor is not quantized per tensor, or a value is not finite.
    """
    scale, zero_point = _parameters(tensor)
    real = np.asarray(values, np.float32)
    if not np.isfinite(real).all():
        raise ValueError(
            f"Tensor '{tensor.name}': values to quantize must be finite. "
            f"Received: {int((~np.isfinite(real)).sum())} NaN or infinite values. Clean the data first."
        )
    steps = (real / np.float32(scale)).astype(np.float64)
    rounded = np.trunc(steps + np.copysign(0.5, steps)) + zero_point
    limits = np.iinfo(tensor.dtype)
    integers: NDArray[Any] = np.clip(rounded, limits.min, limits.max).astype(tensor.dtype)
    return integers


def dequantize(values: NDArray[Any], tensor: TensorDescription) -> NDArray[np.float32]:
    """Turns the integers of a quantized tensor into the real numbers they stand for.

    Args:
        values: integers as the runtime gave them; floats of a float tensor pass through.
        tensor: the tensor they belong to.

    Returns:
        `scale * (values - zero_point)` in float32, same shape.
    """
    if not tensor.scales:
        return np.asarray(values, np.float32)
    scale, zero_point = _parameters(tensor)
    return (np.float32(scale) * (np.asarray(values, np.int32) - zero_point)).astype(np.float32)


def model_inputs(samples: Any, description: ModelDescription, *, real: bool = False) -> Samples:
    """Samples as a model takes them: shape checked, dtype converted, quantized if the model wants that.

    Args:
        samples: `(n, *shape)` real numbers, with `shape` that of the model's input without its batch axis; for several
            inputs a list of them in their order, or a dictionary by the names in the file. An array of the integer
            dtype of an input is taken as already quantized.
        description: the model.
        real: whether such integers are real numbers too, such as the bytes of images.

    Returns:
        The samples in the dtypes of the model's inputs.

    Raises:
        ValueError: no input or output, a batch other than 1, other inputs than the model's, no samples, lengths that
            differ, another shape, NaN.
    """
    return next(batches_of_inputs(samples, description, real=real))


def batches_of_inputs(
    samples: Any, description: ModelDescription, size: int | None = None, *, real: bool = False
) -> Iterator[Samples]:
    """The same in batches, which are converted one after the other: many images take much more room as floats.

    Args:
        samples: see `model_inputs`.
        description: the model.
        size: of a batch; all at once if None.
        real: whether integers of the dtype of an input are real numbers too, and not quantized already.

    Raises:
        ValueError: see `model_inputs`; before the first batch, save for NaN.
    """
    check_ends(description)
    given = _by_input(samples, description)
    arrays = [_shaped(array, tensor) for array, tensor in zip(given, description.inputs, strict=True)]
    if len({len(array) for array in arrays}) > 1:
        raise ValueError(
            f"Model inputs: samples must be as many for each. Received: {', '.join(str(len(a)) for a in arrays)}. "
            "Stack them along the first axis."
        )
    count = len(arrays[0])
    size = size or count
    for start in range(0, count, size):
        some = zip((array[start : start + size] for array in arrays), description.inputs, strict=True)
        yield Samples(tuple(_converted(array, tensor, real=real) for array, tensor in some))


def _by_input(samples: Any, description: ModelDescription) -> Sequence[Any]:
    """One array for each input."""
    names = [tensor.name for tensor in description.inputs]
    if isinstance(samples, Samples):
        arrays: Sequence[Any] = samples.arrays
    elif isinstance(samples, Mapping):
        if set(samples) != set(names):
            raise ValueError(
                f"Model inputs have other names. Received: {', '.join(map(str, samples))}. Use "
                f"{', '.join(map(repr, names))}, or a list in the order of the model's inputs."
            )
        arrays = [samples[name] for name in names]
    else:
        axes = len(description.inputs[0].shape)
        alone = isinstance(samples, list) and len(samples) == 1 and np.ndim(samples[0]) == axes
        arrays = [samples] if len(names) == 1 and not alone else list(samples)
    if len(arrays) != len(names):
        raise ValueError(
            f"The model has {len(names)} inputs. Received: {len(arrays)} arrays. Give a list of one for each, in their "
            "order."
        )
    return arrays


def _shaped(samples: Any, tensor: TensorDescription) -> NDArray[Any]:
    """The samples of one input, of its shape."""
    array = np.asarray(samples)
    if array.shape[1:] != tensor.shape[1:] or array.ndim != len(tensor.shape) or not len(array):
        raise ValueError(
            f"Model input '{tensor.name}': samples must have shape (n, {str(tensor.shape[1:])[1:-1]}) "
            f"with n >= 1. Received: shape={array.shape}. "
            "Add the batch or channel axis, or resize the samples."
        )
    return array


def _converted(array: NDArray[Any], tensor: TensorDescription, *, real: bool) -> NDArray[Any]:
    """Samples in the type of an input."""
    if not tensor.scales:
        return array.astype(tensor.dtype)
    return array if array.dtype == np.dtype(tensor.dtype) and not real else quantize(array, tensor)


def check_ends(description: ModelDescription) -> None:
    """Refuses a model that cannot be run sample by sample.

    Raises:
        ValueError: no input or output, or an input of another batch size than 1.
    """
    if not description.inputs or not description.outputs:
        raise ValueError(
            f"TFLite model: must have inputs and outputs. Received: {len(description.inputs)} inputs, "
            f"{len(description.outputs)} outputs. Convert a model that computes something."
        )
    for tensor in description.inputs:
        if not tensor.shape or tensor.shape[0] != 1:
            raise ValueError(
                f"Model input '{tensor.name}': the batch size must be 1. Received: shape={tensor.shape}. "
                "Convert the model again with batch size 1."
            )


Outputs = NDArray[Any] | list[NDArray[Any]]
"""Outputs of all samples: an array, or a list of them in the order of the model's outputs where it has several."""


def as_outputs(arrays: Sequence[NDArray[Any]]) -> Outputs:
    """One array for one output, a list for several."""
    return arrays[0] if len(arrays) == 1 else list(arrays)


def as_list(outputs: Outputs) -> list[NDArray[Any]]:
    """A list in any case."""
    return [outputs] if isinstance(outputs, np.ndarray) else list(outputs)


def real_outputs(outputs: Outputs, description: ModelDescription) -> list[NDArray[np.float32]]:
    """The real numbers that the raw outputs of a model stand for, one array for each output."""
    pairs = zip(as_list(outputs), description.outputs, strict=True)
    return [dequantize(array, tensor) for array, tensor in pairs]


def _parameters(tensor: TensorDescription) -> tuple[float, int]:
    if len(tensor.scales) != 1:
        raise ValueError(
            f"Tensor '{tensor.name}': must have one scale. Received: {len(tensor.scales)} scales, "
            f"dtype={tensor.dtype}. Use a tensor that is quantized per tensor, such as the model's input."
        )
    return tensor.scales[0], tensor.zero_points[0]
