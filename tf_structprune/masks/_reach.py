"""What a sparsity is reached with: options, the masks that are there, and the refusal where it cannot be."""

from dataclasses import dataclass
from typing import Literal

from tf_structprune.channels import PrunableGraph
from tf_structprune.masks._counting import LayerMasks, masks_by_layer
from tf_structprune.masks._granularity import IntraKernelStrided
from tf_structprune.masks._mask_set import MaskSet
from tf_structprune.masks._patterns import KEEP_ON_GRID

ROUNDING = 1e-9  # so that 0.7 * 10 units are 7 units


@dataclass(frozen=True)
class PatternOptions:
    """Which intra-kernel patterns may be drawn.

    Attributes:
        strides: strides allowed, see `IntraKernelStrided`.
        polarity: "keep_on_grid" or "prune_on_grid".
        patterns: largest number of different patterns in one layer; None for any number.
    """

    strides: tuple[int, ...] | Literal["columns"] | None = None
    polarity: str = KEEP_ON_GRID
    patterns: int | None = None

    def __post_init__(self) -> None:
        IntraKernelStrided(self.strides, self.patterns)  # checks them


def prunable_masks(graph: PrunableGraph, masks: MaskSet, options: PatternOptions) -> dict[str, LayerMasks]:
    """All masks of the prunable layers, by name."""
    by_layer = masks_by_layer(graph, masks, options.polarity)
    return {layer.name: by_layer[layer.name] for layer in graph.prunable_layers}


def unreachable(granularity: str, sparsity: float, most: float) -> ValueError:
    """The refusal of a sparsity beyond the most that the granularity can remove."""
    return ValueError(
        f"Granularity '{granularity}' cannot remove that much here. Received: sparsity={sparsity:.4f}. "
        f"Use at most {most:.4f}, or combine granularities."
    )
