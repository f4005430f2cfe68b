"""Which channels of which layer stay: data that prints, before any model is touched."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tf_structprune.graph import PrunableGraph
from tf_structprune.masks import MaskSet, unit_mask


@dataclass(frozen=True)
class LayerCut:
    """The channels of one layer that stay.

    Attributes:
        inputs: indices of the kept input channels.
        outputs: indices of the kept output channels.
        input_channels: number of input channels before.
        output_channels: number of output channels before.
        positions: features that stand for one input channel, see `graph.Channels`.
    """

    inputs: NDArray[np.int64]
    outputs: NDArray[np.int64]
    input_channels: int
    output_channels: int
    positions: int

    def features(self, side: str) -> NDArray[np.int64]:
        """Indices along a weight axis of role "in" or "out"; each position repeats the channels."""
        if side == "out":
            return self.outputs
        return np.concatenate([p * self.input_channels + self.inputs for p in range(self.positions)])


@dataclass(frozen=True)
class ShrinkPlan:
    """The cut of every layer, by name in topological order."""

    cuts: Mapping[str, LayerCut]

    def __str__(self) -> str:
        return "\n".join(
            f"{name}: {cut.input_channels} -> {cut.output_channels} channels becomes "
            f"{len(cut.inputs)} -> {len(cut.outputs)}"
            for name, cut in self.cuts.items()
        )


def plan_shrink(graph: PrunableGraph, masks: MaskSet) -> ShrinkPlan:
    """The cut of every layer when the channels that the feature map masks remove are taken out.

    Args:
        graph: the traced model.
        masks: masks of that model; only `feature_map` counts.

    Raises:
        ValueError: masks that do not fit the graph.
    """
    keep = unit_mask(graph, masks)
    return ShrinkPlan(
        {
            name: LayerCut(
                inputs=np.flatnonzero(keep[channels.inputs]),
                outputs=np.flatnonzero(keep[channels.outputs]),
                input_channels=len(channels.inputs),
                output_channels=len(channels.outputs),
                positions=channels.positions,
            )
            for name, channels in graph.channels.items()
        }
    )
