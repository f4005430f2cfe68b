"""Layers behind a convolution that can become part of it: batch normalization and ReLU."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.graph import LayerCall, list_calls

_L = keras.layers


@dataclass(frozen=True)
class Convolution:
    """A convolution with what was drawn into it.

    Attributes:
        layer: the layer itself.
        input_shape: shape of its input.
        kernel: shape (height, width, input maps, output maps).
        bias: shape (output maps,).
        activation: as `keras.activations.get` takes it.
        absorbed: names of the layers behind it whose work it does.
    """

    layer: Any
    input_shape: tuple[int | None, ...]
    kernel: NDArray[np.float32]
    bias: NDArray[np.float32]
    activation: Any
    absorbed: tuple[str, ...]


def convolutions(model: keras.Model) -> Mapping[str, Convolution]:
    """The plain 2-D convolutions of a model by path, each called once on a fixed size."""
    calls = list_calls(model)
    times = Counter(call.name for call in calls.calls)
    readers: dict[Any, list[LayerCall]] = {key: [] for key in calls.outputs}
    uses = Counter(calls.outputs)
    for call in calls.calls:
        for key in call.inputs:
            readers.setdefault(key, []).append(call)
            uses[key] += 1
    found = {}
    for call in calls.calls:
        layer = call.layer
        if type(layer) is not _L.Conv2D or layer.groups != 1 or layer.data_format != "channels_last":
            continue
        if times[call.name] > 1 or None in call.input_shapes[0][1:]:
            continue
        found[call.name] = _with_followers(call, lambda key: readers[key][0] if uses[key] == 1 else None, times)
    return found


def _with_followers(call: LayerCall, only_reader: Any, times: Counter[str]) -> Convolution:
    layer = call.layer
    kernel = keras.ops.convert_to_numpy(layer.kernel)
    bias = keras.ops.convert_to_numpy(layer.bias) if layer.use_bias else np.zeros(kernel.shape[-1], np.float32)
    activation, absorbed = layer.activation, []
    last = call
    while True:
        follower = only_reader(last.output)
        if follower is None or times[follower.name] > 1:
            break
        if isinstance(follower.layer, _L.BatchNormalization) and _is_linear(activation):
            kernel, bias = _normalized(kernel, bias, follower.layer)
        elif _is_relu(follower.layer) and _is_linear(activation):
            activation = keras.activations.relu6 if _limit(follower.layer) == 6 else keras.activations.relu
        else:
            break
        absorbed.append(follower.name)
        last = follower
    return Convolution(layer, call.input_shapes[0], kernel, bias, activation, tuple(absorbed))


def _is_linear(activation: Any) -> bool:
    return activation is None or activation is keras.activations.linear


def _limit(layer: Any) -> float | None:
    return getattr(layer, "max_value", None)


def _is_relu(layer: Any) -> bool:
    if type(layer) is _L.Activation:
        return layer.activation is keras.activations.relu
    plain = type(layer) is _L.ReLU and not layer.negative_slope and not layer.threshold
    return plain and _limit(layer) in (None, 6)


def _normalized(
    kernel: NDArray[np.float32], bias: NDArray[np.float32], norm: Any
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Kernel and bias with the normalization's factor and offset in them, as it works in inference."""
    gamma, beta, mean, variance = (
        np.asarray(default if variable is None else keras.ops.convert_to_numpy(variable), np.float64)
        for variable, default in ((norm.gamma, 1), (norm.beta, 0), (norm.moving_mean, 0), (norm.moving_variance, 1))
    )
    factor = gamma / np.sqrt(variance + norm.epsilon)
    offset = beta - mean * factor
    return (kernel * factor).astype(np.float32), (bias * factor + offset).astype(np.float32)
