"""What tracing a model yields: plain data, no Keras."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Channels:
    """Which removable units the input and output channels of one layer belong to.

    Attributes:
        inputs: unit of each input channel, shape (input channels,). Empty for layers without weights.
        outputs: unit of each output channel, shape (output channels,).
        positions: input features a channel stands for: 1, or height x width behind a `Flatten`,
            where feature `p * channels + c` is position `p` of channel `c`.
    """

    inputs: NDArray[np.int64]
    outputs: NDArray[np.int64]
    positions: int = 1


@dataclass(frozen=True)
class PrunableLayer:
    """A convolution or dense layer, seen as `positions x inputs x outputs` weights.

    A dense layer behind a `Flatten` is the convolution that it computes: one kernel position for
    each pixel of the map that was flattened.

    Attributes:
        name: layer name.
        kind: Keras class name.
        kernel_shape: shape of the kernel as Keras holds it.
        positions: weights of one kernel, the slice of an (input, output) pair of maps.
        inputs: number of input maps.
        outputs: number of output maps.
        output_positions: pixels of the output map.
        prunable: whether its weights may be masked and count towards the sparsity.
        reason: why not, empty if prunable.
    """

    name: str
    kind: str
    kernel_shape: tuple[int, ...]
    positions: int
    inputs: int
    outputs: int
    output_positions: int
    prunable: bool
    reason: str = ""

    @property
    def weights(self) -> int:
        """Weights of the kernel, biases not counted."""
        return self.positions * self.inputs * self.outputs

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference of one sample."""
        return self.weights * self.output_positions


@dataclass(frozen=True)
class Group:
    """Channels that several layers hold in common; channel i goes in all of them or in none.

    Attributes:
        name: name of its first producer.
        units: the removable unit behind each channel, shape (channels,).
        producers: layers whose output channels these are.
        consumers: layers that read them.
        prunable: whether its channels may be removed.
        reason: why not, empty if prunable.
    """

    name: str
    units: NDArray[np.int64]
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    prunable: bool
    reason: str = ""

    @property
    def size(self) -> int:
        """Number of channels."""
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
    """

    model_name: str
    layers: tuple[PrunableLayer, ...]
    groups: tuple[Group, ...]
    channels: Mapping[str, Channels]
    unit_count: int
    skipped: tuple[Skipped, ...]
    parameters: int

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
    return (
        f"  group {group.name}: {group.size} channels of {', '.join(group.producers)} "
        f"-> {', '.join(group.consumers) or 'no kernel'} ({state})"
    )
