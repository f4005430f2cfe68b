"""What each Keras layer does to channels: one row a layer class.

To support a layer, add a row. A layer without one is a barrier: what feeds it stays whole.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import keras

from tf_structprune.graph._wrapper import TransparentWrapper


class Flow(Enum):
    """How the output channels of a layer follow from its input channels."""

    SOURCE = "source"  # the model input: channels that nobody may remove
    PRODUCE = "produce"  # new channels, made from all input channels by a kernel
    FOLLOW = "follow"  # output channel i is input channel i
    FLATTEN = "flatten"  # each channel becomes one feature a pixel, channels last
    JOIN = "join"  # output channel i needs input channel i of every input


def _accept(_: Any) -> str:
    return ""


@dataclass(frozen=True)
class LayerRule:
    """One row: what a layer class does, and how its weights are cut.

    Attributes:
        flow: how channels pass.
        kernel_axes: role of each kernel axis, "in", "out" or "" (never cut). The kernel is the
            first weight of the layer; every further weight is a vector over the output channels.
            Empty: all weights are such vectors.
        size_argument: constructor argument that holds the number of output channels, "" if none.
        refuse: reason why a layer of this class, configured as it is, has to be a barrier; "" if not.
    """

    flow: Flow
    kernel_axes: tuple[str, ...] = ()
    size_argument: str = ""
    refuse: Callable[[Any], str] = _accept


# Activations that treat each channel alone. Softmax and its kin mix channels: a removed channel
# would change the others.
_ELEMENTWISE = frozenset(
    "celu elu exponential gelu hard_shrink hard_sigmoid hard_silu hard_tanh leaky_relu linear log_sigmoid "
    "mish relu relu6 selu sigmoid silu soft_shrink softplus softsign sparse_plus sparse_sigmoid squareplus "
    "tanh tanh_shrink threshold".split()
)


def _refuse_channels_first(layer: Any) -> str:
    if getattr(layer, "data_format", "channels_last") == "channels_last":
        return ""
    return "its data format is channels_first"


def _refuse_convolution(layer: Any) -> str:
    if layer.groups != 1:
        return f"it is a grouped convolution (groups={layer.groups})"
    return _refuse_channels_first(layer)


def _refuse_batch_norm(layer: Any) -> str:
    axis, rank = layer.axis, layer.input_spec.ndim if layer.input_spec else None
    if axis == -1 or (rank is not None and axis == rank - 1):
        return ""
    return f"it normalizes axis {axis}, not the channels"


_L = keras.layers

LAYER_RULES: dict[type, LayerRule] = {
    _L.InputLayer: LayerRule(Flow.SOURCE),
    _L.Conv2D: LayerRule(Flow.PRODUCE, ("", "", "in", "out"), "filters", _refuse_convolution),
    _L.Dense: LayerRule(Flow.PRODUCE, ("in", "out"), "units"),
    _L.BatchNormalization: LayerRule(Flow.FOLLOW, refuse=_refuse_batch_norm),
    _L.Activation: LayerRule(Flow.FOLLOW),
    _L.Softmax: LayerRule(Flow.FOLLOW),
    _L.ReLU: LayerRule(Flow.FOLLOW),
    _L.LeakyReLU: LayerRule(Flow.FOLLOW),
    _L.ELU: LayerRule(Flow.FOLLOW),
    _L.Dropout: LayerRule(Flow.FOLLOW),
    _L.SpatialDropout2D: LayerRule(Flow.FOLLOW, refuse=_refuse_channels_first),
    _L.MaxPooling2D: LayerRule(Flow.FOLLOW, refuse=_refuse_channels_first),
    _L.AveragePooling2D: LayerRule(Flow.FOLLOW, refuse=_refuse_channels_first),
    _L.GlobalMaxPooling2D: LayerRule(Flow.FOLLOW, refuse=_refuse_channels_first),
    _L.GlobalAveragePooling2D: LayerRule(Flow.FOLLOW, refuse=_refuse_channels_first),
    _L.ZeroPadding2D: LayerRule(Flow.FOLLOW, refuse=_refuse_channels_first),
    _L.Flatten: LayerRule(Flow.FLATTEN, refuse=_refuse_channels_first),
    _L.Add: LayerRule(Flow.JOIN),
}


def inner_layer(layer: Any) -> Any:
    """The layer itself, or the one inside a transparent wrapper."""
    return layer.layer if isinstance(layer, TransparentWrapper) else layer


def kernel_of(layer: Any) -> Any:
    """The kernel that a layer computes with: a transparent wrapper's masks are in it."""
    return layer.effective_kernel() if isinstance(layer, TransparentWrapper) else layer.kernel


def rule_for(layer: Any) -> LayerRule | None:
    """The rule of a layer's exact class (a subclass may do anything), None without one."""
    return LAYER_RULES.get(type(inner_layer(layer)))


def mixes_channels(layer: Any) -> str:
    """Name of the activation by which a layer's channels depend on each other, "" if none does.

    Such channels have to stay: in a softmax, a removed channel would change all others.
    """
    inner = inner_layer(layer)
    if isinstance(inner, keras.layers.Softmax):
        return "softmax"
    activation = getattr(inner, "activation", None)
    name = str(getattr(activation, "__name__", type(activation).__name__))
    return "" if activation is None or name in _ELEMENTWISE else name
