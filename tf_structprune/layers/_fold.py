"""A batch normalization as the factor and offset that it is in inference, and the layers that can do its work."""

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.graph import LayerCall, Readers

_L = keras.layers
_DEPTHWISE = (_L.DepthwiseConv1D, _L.DepthwiseConv2D)
_SEPARABLE = (_L.SeparableConv1D, _L.SeparableConv2D)
_LINEAR = (_L.Conv1D, _L.Conv2D, _L.Conv3D, *_DEPTHWISE, *_SEPARABLE, _L.Dense)


def foldable_norms(call: LayerCall, readers: Readers) -> tuple[LayerCall, ...]:
    """The batch normalizations right behind a call that its layer can do, first to last.

    The layer is linear, with the channels last, and called once; each normalization alone reads what it
    normalizes, along the last axis, and is not called in training mode.

    Args:
        call: a call of any layer.
        readers: who reads the tensors of its model.
    """
    if call.name not in readers.once or not _is_linear(call.layer):
        return ()
    return tuple(takewhile(_scales_channels, readers.behind(call)))


def _is_linear(layer: Any) -> bool:
    if type(layer) not in _LINEAR or getattr(layer, "data_format", "channels_last") != "channels_last":
        return False
    compressed = getattr(layer, "quantization_mode", None) or getattr(layer, "lora_enabled", False)
    return layer.activation is keras.activations.linear and not compressed


def _scales_channels(call: LayerCall) -> bool:
    """Whether a call multiplies and adds fixed numbers, one of each for a channel of the last axis."""
    layer = call.layer
    if type(layer) is not _L.BatchNormalization or len(call.inputs) > 1 or call.kwargs.get("training"):
        return False
    return layer.axis in (-1, len(call.input_shapes[0]) - 1)


def factor_and_offset(norm: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What a `BatchNormalization` computes in inference: `x * factor + offset`.

    Args:
        norm: a built layer.

    Returns:
        Both of shape (channels,).
    """
    gamma, beta, mean, variance = (
        np.asarray(default if variable is None else keras.ops.convert_to_numpy(variable), np.float64)
        for variable, default in ((norm.gamma, 1), (norm.beta, 0), (norm.moving_mean, 0), (norm.moving_variance, 1))
    )
    factor = gamma / np.sqrt(variance + norm.epsilon)
    return factor, beta - mean * factor


def normalized_weights(layer: Any, norms: Sequence[LayerCall] = ()) -> list[NDArray[np.float32]]:
    """Kernels and bias of a layer that does the work of the normalizations behind it.

    Args:
        layer: a built convolution or dense layer.
        norms: from `foldable_norms`; without any, the weights are the layer's own.

    Returns:
        Its kernel, or the two of a separable convolution, and a bias of shape (output channels,), zeros where
        the layer has none; in float32, shapes as Keras holds them.
    """
    names = ("depthwise_kernel", "pointwise_kernel") if type(layer) in _SEPARABLE else ("kernel",)
    *spread, kernel = (keras.ops.convert_to_numpy(getattr(layer, name)) for name in names)
    channels = kernel.shape[-2:] if type(layer) in _DEPTHWISE else kernel.shape[-1:]
    bias = keras.ops.convert_to_numpy(layer.bias) if layer.use_bias else np.zeros(np.prod(channels))
    for norm in norms:
        factor, offset = factor_and_offset(norm.layer)
        kernel, bias = kernel * factor.reshape(channels), bias * factor + offset
    return [np.asarray(weight, np.float32) for weight in (*spread, kernel, bias)]
