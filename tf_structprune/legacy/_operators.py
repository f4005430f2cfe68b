"""TensorFlow operators between Keras 2 layers, as Keras 3 layers or operations.

A layer where there is one, because it keeps the operator's name and further tools know it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

Operator = Callable[..., Any]
"""Takes the operator's name, its first argument and its keywords; gives a Keras tensor."""


def slice_tensor(x: Any, slice_spec: Sequence[Any]) -> Any:
    """`x[slice_spec]`; a slice comes as a dict with start, stop and step.

    Raises:
        ValueError: an index that is neither an integer nor a slice of integers.
    """
    return x[tuple(_index(part) for part in slice_spec)]


def _index(part: Any) -> Any:
    if isinstance(part, int):
        return part
    if part == {"class_name": "__ellipsis__"}:
        return ...
    if isinstance(part, dict) and all(bound is None or isinstance(bound, int) for bound in part.values()):
        return slice(part.get("start"), part.get("stop"), part.get("step"))
    raise ValueError(f"Only integers and slices of integers can be converted. Received: {part}.")


def _is_tensor(value: Any) -> bool:
    return isinstance(value, keras.KerasTensor)


def _merge(layer: type, name: str, x: Any, y: Any) -> Any:
    if len(x.shape) != len(y.shape) or x.dtype != y.dtype:
        raise ValueError(f"Both tensors must have as many axes and one dtype. Received: {x.shape} and {y.shape}.")
    return layer(name=name)([x, y])


def _rescale(name: str, x: Any, scale: Any = 1.0, offset: Any = 0.0) -> Any:
    if not keras.backend.is_float_dtype(x.dtype):
        raise ValueError(f"Arithmetic with a constant needs a float tensor. Received: dtype={x.dtype}.")
    arrays = [np.asarray(value, dtype="float64") for value in (scale, offset)]
    if any(array.ndim > 1 for array in arrays):
        raise ValueError("A constant must be a number or a list of numbers, one a channel.")
    scale, offset = (array.tolist() for array in arrays)
    return keras.layers.Rescaling(scale, offset, dtype=x.dtype, name=name)(x)


def _add(name: str, x: Any, y: Any) -> Any:
    if _is_tensor(x) and _is_tensor(y):
        return _merge(keras.layers.Add, name, x, y)
    tensor, constant = (x, y) if _is_tensor(x) else (y, x)
    return _rescale(name, tensor, offset=constant)


def _subtract(name: str, x: Any, y: Any) -> Any:
    if _is_tensor(x) and _is_tensor(y):
        return _merge(keras.layers.Subtract, name, x, y)
    return _rescale(name, x, offset=-np.asarray(y)) if _is_tensor(x) else _rescale(name, y, scale=-1.0, offset=x)


def _multiply(name: str, x: Any, y: Any) -> Any:
    if _is_tensor(x) and _is_tensor(y):
        return _merge(keras.layers.Multiply, name, x, y)
    tensor, constant = (x, y) if _is_tensor(x) else (y, x)
    return _rescale(name, tensor, scale=constant)


def _divide(name: str, x: Any, y: Any) -> Any:
    return keras.ops.divide(x, y) if _is_tensor(y) else _rescale(name, x, scale=1.0 / np.asarray(y))


def _activation(function: str) -> Operator:
    def apply(name: str, x: Any, axis: int = -1) -> Any:
        if axis not in (-1, len(x.shape) - 1):
            raise ValueError(f"axis must be the last one. Received: axis={axis}.")
        return keras.layers.Activation(function, name=name)(x)

    return apply


def _leaky_relu(name: str, x: Any, alpha: float = 0.2) -> Any:
    return keras.layers.LeakyReLU(negative_slope=alpha, name=name)(x)


def _concat(name: str, values: Sequence[Any], axis: int) -> Any:
    return keras.layers.Concatenate(axis=axis, name=name)(values)


def _reduce(operation: Operator, pooling: type | None = None) -> Operator:
    """A reduction; that over the two axes of an image is global pooling."""

    def apply(name: str, x: Any, axis: Any = None, keepdims: bool | None = False) -> Any:
        axes = axis if axis is None or isinstance(axis, int) else tuple(axis)
        image = len(x.shape) == 4 and axes is not None and {i % 4 for i in np.atleast_1d(axes)} == {1, 2}
        if pooling is None or not image:
            return operation(x, axis=axes, keepdims=bool(keepdims))
        return pooling(keepdims=bool(keepdims), data_format="channels_last", name=name)(x)

    return apply


_DEFAULTS = {"conjugate": False, "mode": "CONSTANT", "constant_values": 0}
"""Arguments of TensorFlow functions that change nothing with these values."""


def _operation(operation: Operator, *keywords: str) -> Operator:
    """A `keras.ops` function whose further arguments have these names in TensorFlow, in its order."""

    def apply(_: str, x: Any, **options: Any) -> Any:
        unknown = sorted(key for key in options if key not in keywords and options[key] != _DEFAULTS.get(key))
        if unknown:
            raise ValueError(f"Its arguments {unknown} cannot be converted.")
        return operation(x, *(options[key] for key in keywords))

    return apply


_ACTIVATIONS = {
    "nn.relu": "relu",
    "nn.relu6": "relu6",
    "nn.elu": "elu",
    "nn.selu": "selu",
    "nn.silu": "silu",
    "nn.softplus": "softplus",
    "nn.gelu": "gelu",
    "nn.softmax": "softmax",
    "nn.sigmoid": "sigmoid",
    "math.sigmoid": "sigmoid",
    "nn.tanh": "tanh",
    "math.tanh": "tanh",
}

OPERATORS: dict[str, Operator] = {
    **{function: _activation(name) for function, name in _ACTIVATIONS.items()},
    "nn.leaky_relu": _leaky_relu,
    "__operators__.add": _add,
    "math.add": _add,
    "math.subtract": _subtract,
    "math.multiply": _multiply,
    "math.truediv": _divide,
    "math.divide": _divide,
    "math.negative": lambda name, x: _rescale(name, x, scale=-1.0),
    "math.add_n": lambda name, inputs: keras.layers.Add(name=name)(inputs),
    "concat": _concat,
    "math.reduce_mean": _reduce(keras.ops.mean, keras.layers.GlobalAveragePooling2D),
    "math.reduce_max": _reduce(keras.ops.max, keras.layers.GlobalMaxPooling2D),
    "math.reduce_sum": _reduce(keras.ops.sum),
    "math.maximum": _operation(keras.ops.maximum, "y"),
    "math.minimum": _operation(keras.ops.minimum, "y"),
    "math.pow": _operation(keras.ops.power, "y"),
    "math.square": _operation(keras.ops.square),
    "math.sqrt": _operation(keras.ops.sqrt),
    "math.abs": _operation(keras.ops.absolute),
    "math.exp": _operation(keras.ops.exp),
    "clip_by_value": _operation(keras.ops.clip, "clip_value_min", "clip_value_max"),
    "reshape": _operation(keras.ops.reshape, "shape"),
    "transpose": _operation(keras.ops.transpose, "perm"),
    "compat.v1.transpose": _operation(keras.ops.transpose, "perm"),
    "compat.v1.pad": _operation(keras.ops.pad, "paddings"),
    "expand_dims": _operation(keras.ops.expand_dims, "axis"),
    "cast": _operation(keras.ops.cast, "dtype"),
}
"""What a TensorFlow function becomes, by its public name without `tf.`."""
