"""Real numbers to the integers of a quantized model, and back."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

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


def model_inputs(samples: ArrayLike, description: ModelDescription) -> NDArray[Any]:
    """Samples as a model takes them: shape checked, dtype converted, quantized if the model wants that.

    Args:
        samples: `(n, *shape)` real numbers, with `shape` that of the model's input without its batch axis.
            An array of the integer dtype of the model's input is taken as already quantized.
        description: the model.

    Returns:
        `(n, *shape)` in the dtype of the model's input.

    Raises:
        ValueError: several inputs or outputs, a batch other than 1, no samples, another shape, NaN.
    """
    tensor = single_input(description)
    array = np.asarray(samples)
    if array.shape[1:] != tensor.shape[1:] or array.ndim != len(tensor.shape) or not len(array):
        raise ValueError(
            f"Model input '{tensor.name}': samples must have shape (n, {str(tensor.shape[1:])[1:-1]}) "
            f"with n >= 1. Received: shape={array.shape}. "
            "Add the batch or channel axis, or resize the samples."
        )
    if not tensor.scales:
        return array.astype(tensor.dtype)
    return array if array.dtype == np.dtype(tensor.dtype) else quantize(array, tensor)


def single_input(description: ModelDescription) -> TensorDescription:
    """The only input of a model with one input of batch 1 and one output; a refusal for any other."""
    for side, tensors in (("input", description.inputs), ("output", description.outputs)):
        if len(tensors) != 1:
            raise ValueError(
                f"TFLite model: exactly one {side} is supported. Received: {len(tensors)} {side}s "
                f"({', '.join(tensor.name for tensor in tensors)}). Split the model."
            )
    tensor = description.inputs[0]
    if not tensor.shape or tensor.shape[0] != 1:
        raise ValueError(
            f"Model input '{tensor.name}': the batch size must be 1. Received: shape={tensor.shape}. "
            "Convert the model again with batch size 1."
        )
    return tensor


def _parameters(tensor: TensorDescription) -> tuple[float, int]:
    if len(tensor.scales) != 1:
        raise ValueError(
            f"Tensor '{tensor.name}': must have one scale. Received: {len(tensor.scales)} scales, "
            f"dtype={tensor.dtype}. Use a tensor that is quantized per tensor, such as the model's input."
        )
    return tensor.scales[0], tensor.zero_points[0]
