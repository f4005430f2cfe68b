"""What a set of candidates changes in a model, layer by layer: NumPy only."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tf_structprune.channels import LayerCut, PrunableGraph
from tf_structprune.masks import INTRA_KERNEL, KERNEL, WEIGHT, LayerMasks, MaskSet, masks_by_layer, unit_mask

_BY_LAYER = (KERNEL, INTRA_KERNEL, WEIGHT)  # granularities whose masks go by layer


@dataclass(frozen=True)
class Change:
    """One candidate, seen as what it leaves of each layer.

    Attributes:
        graph: the traced model.
        masks: the candidate, complete.
        polarity: meaning of intra-kernel patterns.
    """

    graph: PrunableGraph
    masks: MaskSet
    polarity: str

    @cached_property
    def keep(self) -> NDArray[np.bool_]:
        """Kept units, shape (graph.unit_count,)."""
        return unit_mask(self.graph, self.masks)

    @cached_property
    def layers(self) -> dict[str, LayerMasks]:
        """Masks of the layers with kernels, by name."""
        return masks_by_layer(self.graph, self.masks, self.polarity)

    @cached_property
    def key(self) -> bytes:
        """Equal for equal candidates only."""
        return b"|".join(
            name.encode() + np.packbits(array).tobytes() if array.dtype == bool else name.encode() + array.tobytes()
            for name, array in sorted(self.masks.to_arrays().items())
        )

    @cached_property
    def by_layer(self) -> dict[str, bytes]:
        """By layer that the graph knows, a key that is equal where it computes the same from the same inputs."""
        return {name: self._of_layer(name) for name in self.graph.channels}

    @property
    def sizes(self) -> tuple[tuple[int, ...], ...]:
        """Channels that are left around each layer: candidates of equal sizes fit the same network."""
        return tuple(
            tuple(
                int(self.keep[units].sum()) for units in (c.inputs, c.outputs, *(t.units for t in (*c.reads, *c.makes)))
            )
            for c in self.graph.channels.values()
        )

    def cuts(self, keep: NDArray[np.bool_] | None = None) -> dict[str, LayerCut]:
        """What stays of each layer, from the candidate's own units or others."""
        units = self.keep if keep is None else keep
        return {name: channels.cut(units) for name, channels in self.graph.channels.items()}

    def kept_view(self, name: str) -> NDArray[np.bool_]:
        """Kept weights of a layer, shape (positions, group inputs, outputs)."""
        return self.layers[name].kept

    def _of_layer(self, name: str) -> bytes:
        channels = self.graph.channels[name]
        tensors = (channels.inputs, channels.outputs, *(t.units for t in (*channels.reads, *channels.makes)))
        parts = [np.packbits(self.keep[units]).tobytes() for units in tensors]
        parts += [self.masks.of(kind)[name].tobytes() for kind in _BY_LAYER if name in self.masks.of(kind)]
        return b"|".join(parts)


def varied_layers(changes: Sequence[Change]) -> frozenset[str]:
    """The layers that some of these candidates treat otherwise than others do."""
    first, *others = (change.by_layer for change in changes)
    return frozenset(name for name in first if any(other[name] != first[name] for other in others))
