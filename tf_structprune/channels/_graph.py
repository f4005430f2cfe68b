"""What tracing a model yields: plain data, no Keras."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tf_structprune.channels._cut import LayerCut, TensorCut
from tf_structprune.channels._limits import ChannelLimits

FIRST = "it is the first convolution"
LAST = "it is the last layer with a kernel"
PRUNE_FIRST = "Use keep_first=False (--prune-first on the command line) to prune it"


@dataclass(frozen=True)
class TensorChannels:
    """Which removable units the channels of one tensor belong to.

    Attributes:
        units: unit of each channel, shape (channels,).
        axis: the channel axis, batch axis counted.
        shape: shape of the tensor, None where open.
    """

    units: NDArray[np.int64]
    axis: int
    shape: tuple[int | None, ...]

    def cut(self, keep: NDArray[np.bool_]) -> TensorCut:
        """What stays of it, from the kept units, shape (unit count,)."""
        return TensorCut(np.flatnonzero(keep[self.units]), self.axis, self.shape)

    def reordered(self, source: NDArray[np.int64]) -> TensorCut:
        """Its channels when each unit makes place for another, see `Channels.reordered`."""
        return TensorCut(_places(self.units, source), self.axis, self.shape)


@dataclass(frozen=True)
class Channels:
    """Which removable units the channels of one layer belong to.

    Attributes:
        inputs: unit of each input map, shape (input maps,).
        outputs: unit of each output map, shape (output maps,).
        positions: input features a map stands for: 1, or height x width behind a `Flatten`,
            where feature `p * maps + c` is position `p` of map `c`.
        reads: the tensors that the layer reads.
        makes: the tensors that it makes.
    """

    inputs: NDArray[np.int64]
    outputs: NDArray[np.int64]
    positions: int = 1
    reads: tuple[TensorChannels, ...] = ()
    makes: tuple[TensorChannels, ...] = ()

    def cut(self, keep: NDArray[np.bool_]) -> LayerCut:
        """What stays of the layer, from the kept units, shape (unit count,)."""
        return LayerCut(
            inputs=np.flatnonzero(keep[self.inputs]),
            outputs=np.flatnonzero(keep[self.outputs]),
            input_channels=len(self.inputs),
            output_channels=len(self.outputs),
            positions=self.positions,
            reads=tuple(tensor.cut(keep) for tensor in self.reads),
            makes=tuple(tensor.cut(keep) for tensor in self.makes),
        )

    def reordered(self, source: NDArray[np.int64]) -> LayerCut:
        """The layer when each unit makes place for another that is alike.

        Args:
            source: the unit that comes in the place of each unit, a permutation within groups,
                shape (unit count,).
        """
        return LayerCut(
            inputs=_places(self.inputs, source),
            outputs=_places(self.outputs, source),
            input_channels=len(self.inputs),
            output_channels=len(self.outputs),
            positions=self.positions,
            reads=tuple(tensor.reordered(source) for tensor in self.reads),
            makes=tuple(tensor.reordered(source) for tensor in self.makes),
        )


def _places(units: NDArray[np.int64], source: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where the channel that comes to each place was before: the k-th of a unit for the k-th of another."""
    order = np.argsort(units, kind="stable")
    sorted_units = units[order]
    count = np.empty(len(units), np.int64)  # how often the unit occurred before
    count[order] = np.arange(len(units)) - np.searchsorted(sorted_units, sorted_units)
    places: NDArray[np.int64] = order[np.searchsorted(sorted_units, source[units]) + count]
    return places


def input_of_kernel(inputs: int, outputs: int, groups: int) -> NDArray[np.int64]:
    """Which input map each kernel reads, shape (inputs // groups, outputs).

    Output o of a grouped convolution lies in group o // (outputs / groups) and reads that group's
    inputs only.
    """
    size = inputs // groups
    if groups == 1:
        return np.broadcast_to(np.arange(inputs)[:, None], (inputs, outputs))
    group = np.arange(outputs) // (outputs // groups)
    return np.arange(size)[:, None] + group[None, :] * size


@dataclass(frozen=True)
class PrunableLayer:
    """A convolution or dense layer, seen as `positions x inputs / groups x outputs` weights.

    A dense layer behind a `Flatten` is the convolution that it computes: one kernel position for
    each pixel of the map that was flattened. A depthwise convolution has as many groups as inputs.
    A separable convolution is its pointwise part.

    Attributes:
        name: layer name, its path if it is in a nested model.
        kind: Keras class name.
        kernel_shape: shape of the kernel as Keras holds it.
        positions: weights of one kernel, the slice of an (input, output) pair of maps.
        inputs: number of input maps.
        outputs: number of output maps.
        pixels: places that the kernel is applied at, over all calls of the layer: the pixels of the output maps, of a
            transposed convolution those of the input maps; open sizes count as 1.
        prunable: whether its weights may be masked and count towards the sparsity.
        reason: why not, empty if prunable.
        groups: convolution groups; output maps read the input maps of their own group only.
        other_weights: weights that each input map has besides, with as many multiplications: the
            depthwise part of a separable convolution.
    """

    name: str
    kind: str
    kernel_shape: tuple[int, ...]
    positions: int
    inputs: int
    outputs: int
    pixels: int
    prunable: bool
    reason: str = ""
    groups: int = 1
    other_weights: int = 0

    @property
    def group_inputs(self) -> int:
        """Input maps that one output map reads."""
        return self.inputs // self.groups

    @property
    def is_depthwise(self) -> bool:
        """Whether every output map has one kernel, so that no kernel can go without the map."""
        return self.groups > 1 and self.group_inputs == 1

    @property
    def input_of_kernel(self) -> NDArray[np.int64]:
        """Which input map each kernel reads, shape (group_inputs, outputs)."""
        return input_of_kernel(self.inputs, self.outputs, self.groups)

    @property
    def weights(self) -> int:
        """Weights of the kernel, biases not counted."""
        return self.positions * self.group_inputs * self.outputs

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference of one sample."""
        return (self.weights + self.other_weights * self.inputs) * self.pixels


@dataclass(frozen=True)
class Group:
    """Channels that several layers hold in common; unit i goes from all of them or from none.

    All units of a group are alike: each has as many channels in every layer as any other.

    Attributes:
        name: name of its first producer; further groups of the same producer have a suffix "/2", "/3".
        units: the removable units, shape (units,).
        producers: layers whose output channels these are.
        consumers: layers that read them.
        prunable: whether its channels may be removed.
        reason: why not, empty if prunable.
        unit_channels: output channels of the first producer that one unit stands for.
        round_to: the channels that stay are a multiple of this, or all of them.
        min_channels: least number of channels that stays.
    """

    name: str
    units: NDArray[np.int64]
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    prunable: bool
    reason: str = ""
    unit_channels: int = 1
    round_to: int = 1
    min_channels: int = 1

    @property
    def size(self) -> int:
        """Number of units."""
        return len(self.units)


@dataclass(frozen=True)
class Skipped:
    """A layer or group that stays whole, why, and what would make it prunable."""

    name: str
    reason: str
    remedy: str


@dataclass(frozen=True)
class PrunableGraph:
    """Which channels of a model go together, and which may go.

    Attributes:
        model_name: name of the traced model.
        layers: convolutions and dense layers in topological order.
        groups: channel groups in topological order of their first producer.
        channels: units of every layer that the rules know, by layer name.
        unit_count: number of units; `Group.units` and `Channels` index 0..unit_count-1.
        skipped: what is not pruned and why.
        parameters: parameters of the model.
        limits: demands on the channel counts of the layers that make channels, by name.
    """

    model_name: str
    layers: tuple[PrunableLayer, ...]
    groups: tuple[Group, ...]
    channels: Mapping[str, Channels]
    unit_count: int
    skipped: tuple[Skipped, ...]
    parameters: int
    limits: Mapping[str, ChannelLimits] = field(default_factory=dict)

    @property
    def prunable_layers(self) -> tuple[PrunableLayer, ...]:
        """The layers over whose weights a sparsity is counted."""
        return tuple(layer for layer in self.layers if layer.prunable)

    @property
    def prunable_groups(self) -> tuple[Group, ...]:
        """The groups whose channels may be removed."""
        return tuple(group for group in self.groups if group.prunable)

    @property
    def prunable_weights(self) -> int:
        """Weights of the prunable layers."""
        return sum(layer.weights for layer in self.prunable_layers)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all convolutions and dense layers for one sample."""
        return sum(layer.macs for layer in self.layers)

    def check_prunable(self) -> None:
        """Refuse a model of which everything stays.

        Raises:
            ValueError: no layer may lose anything.
        """
        if self.prunable_layers:
            return
        kept = "; ".join(f"{layer.name}: {layer.reason}" for layer in self.layers)
        remedy = "Use a deeper model, or keep fewer layers"
        if any(layer.reason == FIRST for layer in self.layers):
            remedy = PRUNE_FIRST
        raise ValueError(
            f"Model '{self.model_name}' has nothing to prune: all its convolutions and dense layers are kept. "
            f"Received: {kept or 'none'}. {remedy}."
        )

    def layer(self, name: str) -> PrunableLayer:
        """The layer of that name.

        Raises:
            ValueError: no convolution or dense layer has it.
        """
        for layer in self.layers:
            if layer.name == name:
                return layer
        known = ", ".join(layer.name for layer in self.layers)
        raise ValueError(
            f"Model '{self.model_name}' has no convolution or dense layer of that name. "
            f"Received: name={name!r}. Use one of: {known}."
        )

    def __str__(self) -> str:
        lines = [
            f"{self.model_name}: {self.parameters:,} parameters, {self.macs:,} MACs, "
            f"{self.prunable_weights:,} prunable weights"
        ]
        lines += [_group_line(group) for group in self.groups]
        if self.skipped:
            lines.append("not pruned:")
            lines += [f"  {item.name}: {item.reason}. {item.remedy}" for item in self.skipped]
        return "\n".join(lines)


def _group_line(group: Group) -> str:
    state = "may go" if group.prunable else f"kept: {group.reason}"
    size = f"{group.size} channels" if group.unit_channels == 1 else f"{group.size} x {group.unit_channels} channels"
    return (
        f"  group {group.name}: {size} of {', '.join(group.producers)} "
        f"-> {', '.join(group.consumers) or 'no kernel'} ({state})"
    )
