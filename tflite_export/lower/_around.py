"""The layers that can be lowered, with the normalization and activation behind them drawn in."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.graph import LayerCall, list_calls
from tf_structprune.layers import normalized_weights

_L = keras.layers


@dataclass(frozen=True)
class Weighted:
    """A convolution or dense layer with what was drawn into it.

    Attributes:
        name: path of the layer.
        layer: the layer itself.
        input_shape: shape of its input.
        output_shape: shape of its output.
        kernel: shape (height, width, input maps, output maps); for a dense layer, (1, positions, input
            maps, outputs), where feature `p * maps + c` is position `p` of map `c`.
        bias: shape (output maps,).
        activation: as `keras.activations.get` takes it.
        absorbed: names of the layers behind it whose work it does.
    """

    name: str
    layer: Any
    input_shape: tuple[int | None, ...]
    output_shape: tuple[int | None, ...]
    kernel: NDArray[np.float32]
    bias: NDArray[np.float32]
    activation: Any
    absorbed: tuple[str, ...]

    @property
    def is_dense(self) -> bool:
        """Whether it is a dense layer."""
        return isinstance(self.layer, _L.Dense)

    @property
    def pixels(self) -> int:
        """Pixels of an output map."""
        return math.prod(int(size or 1) for size in self.output_shape[1:-1])


def weighted_layers(model: keras.Model, positions: Mapping[str, int]) -> Mapping[str, Weighted]:
    """The layers of a model that can be lowered, by path: plain 2-D convolutions and dense layers.

    Each is called once, on a fixed size; dense layers on one row of features.

    Args:
        model: the model.
        positions: pixels of the maps that were flattened in front of a layer, by path; 1 for others.
    """
    calls = list_calls(model)
    times = Counter(call.name for call in calls.calls)
    readers: dict[Any, list[LayerCall]] = {}
    uses = Counter(calls.outputs)
    for call in calls.calls:
        for key in call.inputs:
            readers.setdefault(key, []).append(call)
            uses[key] += 1
    found = {}
    for call in calls.calls:
        if times[call.name] == 1 and _can_be_lowered(call):
            drawn_in = _with_followers(
                call, lambda key: next(iter(readers.get(key, ())), None) if uses[key] == 1 else None, times
            )
            found[call.name] = replace(drawn_in, kernel=_as_view(drawn_in.kernel, positions.get(call.name, 1)))
    return found


def _can_be_lowered(call: LayerCall) -> bool:
    layer = call.layer
    dense = type(layer) is _L.Dense and len(call.input_shapes[0]) == 2
    plain = type(layer) is _L.Conv2D and layer.groups == 1 and layer.data_format == "channels_last"
    return (dense or plain) and None not in call.input_shapes[0][1:]


def _as_view(kernel: NDArray[np.float32], positions: int) -> NDArray[np.float32]:
    """The kernel with four axes, see `Weighted`."""
    return kernel.reshape(1, positions, -1, kernel.shape[-1]) if kernel.ndim == 2 else kernel


def _with_followers(call: LayerCall, only_reader: Any, times: Counter[str]) -> Weighted:
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
            kernel, bias = normalized_weights(kernel, bias, follower.layer)
        elif _is_relu(follower.layer) and _is_linear(activation):
            activation = keras.activations.relu6 if _limit(follower.layer) == 6 else keras.activations.relu
        else:
            break
        absorbed.append(follower.name)
        last = follower
    shapes = call.input_shapes[0], tuple(layer.compute_output_shape(call.input_shapes[0]))
    return Weighted(call.name, layer, *shapes, kernel, bias, activation, tuple(absorbed))


def _is_linear(activation: Any) -> bool:
    return activation is None or activation is keras.activations.linear


def _limit(layer: Any) -> float | None:
    return getattr(layer, "max_value", None)


def _is_relu(layer: Any) -> bool:
    if type(layer) is _L.Activation:
        return layer.activation is keras.activations.relu
    plain = type(layer) is _L.ReLU and not layer.negative_slope and not layer.threshold
    return plain and _limit(layer) in (None, 6)
