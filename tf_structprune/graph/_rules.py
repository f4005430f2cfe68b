"""How a layer class treats channels: what a rule says, and where the rule of a layer is found."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import keras

from tf_structprune.channels import LayerCut
from tf_structprune.graph._wrapper import TransparentWrapper


class Flow(Enum):
    """How the output channels of a layer follow from its input channels."""

    SOURCE = "source"  # the model input: channels that nobody may remove
    PRODUCE = "produce"  # new channels, made from all input channels (of a group) by a kernel
    DEPTHWISE = "depthwise"  # each input channel makes `depth_multiplier` output channels
    FOLLOW = "follow"  # output channel i is input channel i
    NORMALIZE = "normalize"  # as FOLLOW, but with statistics over all channels
    GROUP_NORMALIZE = "group normalize"  # as FOLLOW, but with statistics over runs of channels
    JOIN = "join"  # output channel i needs channel i of every input; one channel is broadcast
    CONCATENATE = "concatenate"  # the channels of all inputs, one after the other
    STACK = "stack"  # as JOIN, along a new axis
    REARRANGE = "rearrange"  # values change place only: reshape, transpose, flatten, split
    SLICE = "slice"  # a run of the input's channels, or every n-th of one
    REDUCE = "reduce"  # axes are summed up, averaged...
    END = "end"  # channels depend on each other: what it reads and makes stays


def _accept(_: Any) -> str:
    return ""


def _unchanged(_: dict[str, Any], __: LayerCut) -> None:
    return None


@dataclass(frozen=True)
class LayerRule:
    """One row: what a layer class does to channels, and how it is cut.

    Attributes:
        flow: how channels pass.
        kernel: name of the attribute that holds the kernel, "" without one.
        weight_axes: role of each axis of a weight, "in", "out", "" (never cut), by the weight's
            name. Any other weight has one value (or one slice) an output channel.
        size_argument: constructor argument that holds the number of output channels, "" if none.
        spatial: whether the layer has a channel axis of its own (`data_format`, `axis`, or the last).
        refuse: reason why a layer of this class, configured as it is, has to be a barrier; "" if not.
        resize: changes further entries of the constructor's configuration for a cut.
    """

    flow: Flow
    kernel: str = ""
    weight_axes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    size_argument: str = ""
    spatial: bool = False
    refuse: Callable[[Any], str] = _accept
    resize: Callable[[dict[str, Any], LayerCut], None] = _unchanged

    @property
    def counts_channels(self) -> bool:
        """Whether a layer's settings depend on the number of its channels."""
        return bool(self.size_argument) or self.resize is not _unchanged


# Activations that treat each channel alone. Softmax and its kin mix channels: a removed channel
# would change the others.
_ELEMENTWISE = frozenset(
    "celu elu exponential gelu hard_shrink hard_sigmoid hard_silu hard_tanh leaky_relu linear log_sigmoid "
    "mish relu relu6 selu sigmoid silu soft_shrink softplus softsign sparse_plus sparse_sigmoid squareplus "
    "tanh tanh_shrink threshold".split()
)

_ELEMENTWISE_LAYERS = (keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.ELU)

_registered: dict[type, LayerRule] = {}  # the user's own


def register_rule(layer_class: type, rule: LayerRule) -> None:
    """Teach the tracer a layer class of your own; its subclasses are not meant.

    A layer that treats each channel alone needs `LayerRule(Flow.FOLLOW)`, whatever vectors over the
    channels it holds; one with a kernel, say
    `LayerRule(Flow.PRODUCE, "kernel", {"kernel": ("", "", "in", "out")}, size_argument="filters")`.
    The constructor must take what `get_config` gives.

    Args:
        layer_class: the class, a `keras.layers.Layer` or `keras.Operation`.
        rule: what it does to channels. A wrong rule makes wrong models: check that the shrunk
            model gives the outputs of the masked one.

    Raises:
        TypeError: not a class of that kind, or not a rule.
        ValueError: a rule that makes channels with a kernel, but does not say where the kernel is.
    """
    if not (isinstance(layer_class, type) and issubclass(layer_class, keras.Operation)):
        raise TypeError(f"A rule is for a Keras layer class. Received: {layer_class!r}. Give the class, not a layer.")
    if not isinstance(rule, LayerRule):
        raise TypeError(
            f"Class '{layer_class.__name__}': not a rule. Received: {rule!r}. Use e.g. LayerRule(Flow.FOLLOW)."
        )
    if rule.flow is Flow.PRODUCE and not {"in", "out"} <= set(rule.weight_axes.get(rule.kernel, ())):
        raise ValueError(
            f"Class '{layer_class.__name__}': a rule with Flow.PRODUCE names its kernel and the roles of the kernel's "
            f"axes. Received: kernel={rule.kernel!r}, weight_axes={dict(rule.weight_axes)}. "
            'Use e.g. kernel="kernel", weight_axes={"kernel": ("", "", "in", "out")}.'
        )
    _registered[layer_class] = rule


def inner_layer(layer: Any) -> Any:
    """The layer itself, or the one inside transparent wrappers."""
    while isinstance(layer, TransparentWrapper):
        layer = layer.layer
    return layer


def core_layer(layer: Any) -> Any:
    """The layer whose weights and settings count, inside `TimeDistributed` too, which repeats it along axis 1."""
    inner = inner_layer(layer)
    return core_layer(inner.layer) if type(inner) is keras.layers.TimeDistributed else inner


def step_axes(layer: Any) -> int:
    """How many axes behind the batch axis the core of a layer does not see: one for each `TimeDistributed`."""
    inner = inner_layer(layer)
    return 1 + step_axes(inner.layer) if type(inner) is keras.layers.TimeDistributed else 0


def kind_of(layer: Any) -> str:
    """The class of a layer inside transparent wrappers, in words."""
    return "TimeDistributed(" * step_axes(layer) + type(core_layer(layer)).__name__ + ")" * step_axes(layer)


def vector_axis(layer: Any, rank: int, made: Any) -> int:
    """The channel axis of a weight with one value a channel, or one a position and channel.

    Args:
        layer: whose weight it is.
        rank: of the weight.
        made: `TensorChannels` or `TensorCut` of what the layer makes.
    """
    seen = 1 + step_axes(layer)  # axes of the tensor that the weight does not have
    return int(made.axis) - seen if rank == len(made.shape) - seen else rank - 1


def registered_rule(layer: Any) -> LayerRule | None:
    """The user's rule for the exact class of a layer without wrappers, None without one."""
    return _registered.get(type(layer))


def registered_rules() -> dict[type, LayerRule]:
    """The user's rules by class."""
    return dict(_registered)


def mixed_axes(layer: Any, rank: int) -> tuple[str, tuple[int, ...]]:
    """Name of a layer's activation and the axes along which it makes values depend on each other.

    Such channels have to stay: in a softmax, a removed channel would change all others.
    """
    inner, steps = core_layer(layer), step_axes(layer)
    if isinstance(inner, keras.layers.Softmax):
        axes = (inner.axis,) if isinstance(inner.axis, int) else inner.axis
        return "softmax", tuple(axis % (rank - steps) + (steps if axis % (rank - steps) else 0) for axis in axes)
    activation = getattr(inner, "activation", None)
    name = str(getattr(activation, "__name__", type(activation).__name__))
    if activation is None or type(activation) in _ELEMENTWISE_LAYERS:
        return name, ()
    # Keras's own, not a function of the same name.
    known = any(activation is getattr(room, name, None) for room in (keras.activations, keras.ops))
    return name, () if known and name in _ELEMENTWISE else (rank - 1,)
