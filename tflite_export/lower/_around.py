"""The layers that can be lowered, with the normalization and activation behind them drawn in."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.graph import LayerCall, Readers, list_calls, readers_of
from tf_structprune.layers import foldable_norms, normalized_weights

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
    readers = readers_of(calls)
    possible = [call for call in calls.calls if call.name in readers.once and _can_be_lowered(call)]
    return {call.name: _with_followers(call, readers, positions.get(call.name, 1)) for call in possible}


def _can_be_lowered(call: LayerCall) -> bool:
    layer = call.layer
    dense = type(layer) is _L.Dense and len(call.input_shapes[0]) == 2
    plain = type(layer) is _L.Conv2D and layer.groups == 1 and layer.data_format == "channels_last"
    return (dense or plain) and None not in call.input_shapes[0][1:]


def _as_view(kernel: NDArray[np.float32], positions: int) -> NDArray[np.float32]:
    """The kernel with four axes, see `Weighted`."""
    return kernel.reshape(1, positions, -1, kernel.shape[-1]) if kernel.ndim == 2 else kernel


def _with_followers(call: LayerCall, readers: Readers, positions: int) -> Weighted:
    layer = call.layer
    norms = foldable_norms(call, readers)
    kernel, bias = normalized_weights(layer, norms)
    activation, absorbed = layer.activation, [norm.name for norm in norms]
    behind = next(islice(readers.behind(call), len(norms), None), None)
    if behind is not None and activation is keras.activations.linear and _is_relu(behind.layer):
        activation = keras.activations.relu6 if _limit(behind.layer) == 6 else keras.activations.relu
        absorbed.append(behind.name)
    shapes = call.input_shapes[0], tuple(layer.compute_output_shape(call.input_shapes[0]))
    return Weighted(call.name, layer, *shapes, _as_view(kernel, positions), bias, activation, tuple(absorbed))


def _limit(layer: Any) -> float | None:
    return getattr(layer, "max_value", None)


def _is_relu(layer: Any) -> bool:
    if type(layer) is _L.Activation:
        return layer.activation is keras.activations.relu
    plain = type(layer) is _L.ReLU and not layer.negative_slope and not layer.threshold
    return plain and _limit(layer) in (None, 6)
