"""Which channels of which layer stay: data that prints, before any model is touched."""

from collections.abc import Mapping
from dataclasses import dataclass

from tf_structprune.graph import LayerCut, PrunableGraph
from tf_structprune.masks import MaskSet, unit_mask


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
    return ShrinkPlan({name: channels.cut(keep) for name, channels in graph.channels.items()})
