"""How many weights a set of masks keeps."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tf_structprune.channels import PrunableGraph, PrunableLayer
from tf_structprune.masks._mask_set import MaskSet
from tf_structprune.masks._patterns import KEEP_ON_GRID, positions_kept


@dataclass(frozen=True)
class LayerMasks:
    """The masks of one layer, all in its own channel order.

    Attributes:
        inputs: kept input maps, shape (inputs,).
        outputs: kept output maps, shape (outputs,).
        kernels: kept kernels, shape (group inputs, outputs), dead maps not yet taken out.
        positions: kept positions of each input map's kernels, shape (positions, inputs).
        input_of_kernel: input map that each kernel reads, shape (group inputs, outputs).
        singles: kept single weights, shape (positions, group inputs, outputs); None for all.
    """

    inputs: NDArray[np.bool_]
    outputs: NDArray[np.bool_]
    kernels: NDArray[np.bool_]
    positions: NDArray[np.bool_]
    input_of_kernel: NDArray[np.int64]
    singles: NDArray[np.bool_] | None = None

    @property
    def alive(self) -> NDArray[np.bool_]:
        """Kernels that are kept, join two kept maps and have single weights left, shape (group inputs, outputs)."""
        alive: NDArray[np.bool_] = self.kernels & self.inputs[self.input_of_kernel] & self.outputs[None, :]
        return alive if self.singles is None else alive & (self.kernel_weights > 0)

    @property
    def kernel_weights(self) -> NDArray[np.int64]:
        """Weights that each kernel has after masks within kernels, shape (group inputs, outputs)."""
        within: NDArray[np.int64] = self.positions.sum(axis=0)[self.input_of_kernel]
        if self.singles is None:
            return within
        single: NDArray[np.int64] = (self.positions[:, self.input_of_kernel] & self.singles).sum(axis=0)
        return single

    @property
    def kept(self) -> NDArray[np.bool_]:
        """Kept weights, shape (positions, group inputs, outputs)."""
        kept: NDArray[np.bool_] = self.positions[:, self.input_of_kernel] & self.alive[None]
        return kept if self.singles is None else kept & self.singles

    @property
    def kernels_of_input(self) -> NDArray[np.int64]:
        """Number of alive kernels that leave each input map, shape (inputs,)."""
        return np.bincount(self.input_of_kernel[self.alive], minlength=len(self.inputs))

    @property
    def weights(self) -> int:
        """Number of kept weights."""
        return int(self.kernel_weights[self.alive].sum())


def unit_mask(graph: PrunableGraph, masks: MaskSet) -> NDArray[np.bool_]:
    """Kept units of the whole graph, shape (graph.unit_count,).

    Raises:
        ValueError: a mask of an unknown or kept group, or of the wrong shape.
    """
    keep = np.ones(graph.unit_count, np.bool_)
    groups = {group.name: group for group in graph.groups}
    for name, mask in masks.feature_map.items():
        if name not in groups:
            raise ValueError(
                f"Model '{graph.model_name}' has no channel group of that name. Received: group={name!r}. "
                f"Use one of: {', '.join(groups)}."
            )
        group = groups[name]
        if mask.shape != (group.size,):
            raise ValueError(
                f"Group '{name}': a feature map mask has one entry a channel. Received: shape={mask.shape}. "
                f"Use shape ({group.size},)."
            )
        if not group.prunable and not mask.all():
            raise ValueError(
                f"Group '{name}': its channels may not be removed, because {group.reason}. "
                f"Received: {int((~mask).sum())} removed channels. Leave the group out of the masks."
            )
        keep[group.units] = mask
    return keep


def masks_by_layer(graph: PrunableGraph, masks: MaskSet, polarity: str = KEEP_ON_GRID) -> dict[str, LayerMasks]:
    """All masks of every layer in its own channel order, by name.

    Raises:
        ValueError: feature map masks that do not fit the graph.
    """
    keep = unit_mask(graph, masks)
    return {layer.name: _layer_masks(graph, layer, masks, keep, polarity) for layer in graph.layers}


def _layer_masks(
    graph: PrunableGraph, layer: PrunableLayer, masks: MaskSet, keep: NDArray[np.bool_], polarity: str
) -> LayerMasks:
    channels = graph.channels[layer.name]
    dense = np.tile(np.array([[1, 0]], np.int32), (layer.inputs, 1))
    return LayerMasks(
        inputs=keep[channels.inputs],
        outputs=keep[channels.outputs],
        kernels=masks.kernel.get(layer.name, np.ones((layer.group_inputs, layer.outputs), np.bool_)),
        positions=positions_kept(masks.intra_kernel.get(layer.name, dense), layer.positions, polarity),
        input_of_kernel=layer.input_of_kernel,
        singles=masks.weight.get(layer.name),
    )


def kept_weights(graph: PrunableGraph, masks: MaskSet, polarity: str = KEEP_ON_GRID) -> dict[str, int]:
    """Kept kernel weights of every layer, by name; biases are not counted."""
    return {name: layer.weights for name, layer in masks_by_layer(graph, masks, polarity).items()}


def sparsity_of(graph: PrunableGraph, masks: MaskSet, polarity: str = KEEP_ON_GRID) -> float:
    """Fraction of the weights of the prunable layers that the masks remove, in [0, 1)."""
    kept_by_layer = kept_weights(graph, masks, polarity)
    kept = sum(kept_by_layer[layer.name] for layer in graph.prunable_layers)
    total = graph.prunable_weights
    return (total - kept) / total if total else 0.0  # exact for 0.1, which 1 - 0.9 is not
