"""What each layer is to a network in fixed point: what has weights, what makes a signal, what passes one on."""

from enum import Enum
from typing import Any

import keras

from tf_structprune.graph import LayerCall, inner_layer

_L = keras.layers


class Role(Enum):
    """How a layer treats the integers of its input."""

    INPUT = "input"
    WEIGHTED = "weighted"  # multiplies by a kernel: weights in fixed point, and a signal of its own
    SEPARABLE = "separable"  # two weighted layers in one
    SCALE = "scale"  # multiplies and adds one number a channel
    RECTIFIER = "rectifier"  # ReLU and ReLU6: fused with what feeds it
    OWN = "own"  # computes a new signal
    AVERAGE = "average"  # rounds to the grid of its input
    PASS = "pass"  # the values of its input at other places, or some of them
    JOIN = "join"  # as PASS, for several inputs that then need the same grid
    FIXED = "fixed"  # TFLite gives its output one fixed grid


_ROLES: dict[type, Role] = {
    _L.InputLayer: Role.INPUT,
    **dict.fromkeys((_L.Conv1D, _L.Conv2D, _L.DepthwiseConv2D, _L.Dense), Role.WEIGHTED),
    _L.SeparableConv2D: Role.SEPARABLE,
    **dict.fromkeys((_L.BatchNormalization, _L.Rescaling, _L.Normalization), Role.SCALE),
    **dict.fromkeys((_L.Add, _L.Multiply), Role.OWN),
    **dict.fromkeys((_L.GlobalAveragePooling1D, _L.GlobalAveragePooling2D), Role.OWN),
    **dict.fromkeys((_L.AveragePooling1D, _L.AveragePooling2D), Role.AVERAGE),
    **dict.fromkeys((_L.MaxPooling1D, _L.MaxPooling2D, _L.GlobalMaxPooling1D, _L.GlobalMaxPooling2D), Role.PASS),
    **dict.fromkeys((_L.ZeroPadding1D, _L.ZeroPadding2D, _L.Cropping1D, _L.Cropping2D), Role.PASS),
    **dict.fromkeys((_L.Flatten, _L.Reshape, _L.Permute, _L.Identity), Role.PASS),
    **dict.fromkeys((_L.Dropout, _L.SpatialDropout1D, _L.SpatialDropout2D, _L.AlphaDropout), Role.PASS),
    **dict.fromkeys((_L.GaussianDropout, _L.GaussianNoise, _L.ActivityRegularization), Role.PASS),
    _L.Concatenate: Role.JOIN,
    _L.Softmax: Role.FIXED,
}

# Operations of keras.ops, whose classes Keras does not export.
_OPERATIONS = {
    **dict.fromkeys(("Add", "Multiply", "Mean"), Role.OWN),
    **dict.fromkeys(("Relu", "Relu6"), Role.RECTIFIER),
    **dict.fromkeys(("Sigmoid", "Softmax"), Role.FIXED),
    **dict.fromkeys(("Reshape", "Transpose", "GetItem", "Squeeze", "ExpandDims", "Pad", "MaxPool"), Role.PASS),
    "Concatenate": Role.JOIN,
    "AveragePool": Role.AVERAGE,
}

_ACTIVATIONS = {
    **dict.fromkeys(("relu", "relu6"), Role.RECTIFIER),
    **dict.fromkeys(("softmax", "sigmoid"), Role.FIXED),
    "linear": Role.PASS,
}

# They keep signals that are never negative so.
_MONOTONE = frozenset(
    {_L.Add, _L.Multiply, _L.Maximum, _L.Minimum, _L.GlobalAveragePooling1D, _L.GlobalAveragePooling2D}
)
_MONOTONE_OPERATIONS = frozenset({"Add", "Multiply", "Mean"})


def role_of(call: LayerCall) -> Role:
    """What a layer does.

    Raises:
        ValueError: nobody has said how that layer computes in fixed point.
    """
    layer = inner_layer(call.layer)
    kind = type(layer)
    role: Role | None
    if kind is _L.Activation:
        role = activation_role(layer)
    elif kind is _L.ReLU:
        plain = not layer.negative_slope and not layer.threshold and layer.max_value in (None, 6)
        role = Role.RECTIFIER if plain else None
    elif covers_map(call):
        role = Role.OWN
    else:
        role = _ROLES.get(kind) or _OPERATIONS.get(kind.__name__ if kind.__module__.startswith("keras.src.ops") else "")
    if role is None:
        raise ValueError(
            f"Layer '{call.name}' ({kind.__name__}) has no fixed-point form. Received: a model with such a layer. "
            "Replace it by convolutions, dense layers, pooling, additions and ReLU, or export with quantize='int8'."
        )
    if getattr(layer, "data_format", "channels_last") == "channels_first" and getattr(layer, "weights", ()):
        raise ValueError(
            f"Layer '{call.name}': fixed point needs channels last. Received: data_format='channels_first'. "
            "Build the model with channels_last, as TFLite does."
        )
    return role


def covers_map(call: LayerCall) -> bool:
    """Whether a pooling layer averages the whole map, so that its output may have a finer grid than its input."""
    layer, shape = inner_layer(call.layer), call.input_shapes[0] if call.input_shapes else ()
    return type(layer) is _L.AveragePooling2D and tuple(layer.pool_size) == tuple(shape[1:3])


def is_bounded(call: LayerCall) -> bool:
    """Whether it is a ReLU6 in a layer of its own, which TFLite Micro computes on the grid of its input alone."""
    layer = inner_layer(call.layer)
    if type(layer) is _L.ReLU:
        return bool(layer.max_value == 6)
    known = type(layer) is _L.Activation and layer.activation is keras.activations.relu6
    return known or (type(layer).__module__.startswith("keras.src.ops") and type(layer).__name__ == "Relu6")


def activation_role(layer: Any) -> Role | None:
    """What the activation of a layer does; PASS without one."""
    activation = getattr(layer, "activation", None)
    if activation is None:
        return Role.PASS
    name = str(getattr(activation, "__name__", ""))
    known = activation is getattr(keras.activations, name, None)
    return _ACTIVATIONS.get(name) if known else None


def stays_positive(call: LayerCall) -> bool:
    """Whether signals that are never negative give one that is not either."""
    kind = type(inner_layer(call.layer))
    operation = kind.__module__.startswith("keras.src.ops") and kind.__name__ in _MONOTONE_OPERATIONS
    return operation or kind in _MONOTONE or covers_map(call)
