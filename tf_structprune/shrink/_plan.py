"""Which channels of which layer stay: data that prints, before any model is touched."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tf_structprune.channels import LayerCut, PrunableGraph
from tf_structprune.masks import MaskSet, unit_mask


@dataclass(frozen=True)
class ShrinkPlan:
    """What stays of every layer.

    Attributes:
        cuts: the cut of every layer, by name in topological order.
        dead: number of units that go because kernel masks have killed them, by group.
    """

    cuts: Mapping[str, LayerCut]
    dead: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [
            f"{name}: {cut.input_channels} -> {cut.output_channels} channels becomes "
            f"{len(cut.inputs)} -> {len(cut.outputs)}"
            for name, cut in self.cuts.items()
        ]
        lines += [f"group {name}: {count} dead units removed" for name, count in self.dead.items()]
        return "\n".join(lines)


def plan_shrink(graph: PrunableGraph, masks: MaskSet, dead: NDArray[np.bool_] | None = None) -> ShrinkPlan:
    """The cut of every layer when the channels that the feature map masks remove are taken out.

    Args:
        graph: the traced model.
        masks: masks of that model; only `feature_map` counts.
        dead: further units that go, shape (unit count,).

    Raises:
        ValueError: masks that do not fit the graph.
    """
    keep = unit_mask(graph, masks)
    gone = {group.name: int(dead[group.units].sum()) for group in graph.groups} if dead is not None else {}
    if dead is not None:
        keep = keep & ~dead
    cuts = {name: channels.cut(keep) for name, channels in graph.channels.items()}
    return ShrinkPlan(cuts, {name: count for name, count in gone.items() if count})
