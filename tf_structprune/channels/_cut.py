"""What stays of the tensors around one layer when channels are removed: plain data, no Keras."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class TensorCut:
    """The part of a tensor that stays, or its channels in another order.

    Attributes:
        kept: indices along `axis` that stay, in their new order.
        axis: the channel axis, batch axis counted.
        shape: shape before, None where open.
    """

    kept: NDArray[np.int64]
    axis: int
    shape: tuple[int | None, ...]

    @property
    def new_shape(self) -> tuple[int | None, ...]:
        """Shape afterwards."""
        return (*self.shape[: self.axis], len(self.kept), *self.shape[self.axis + 1 :])

    def without_steps(self, steps: int) -> "TensorCut":
        """The same without so many axes behind the batch axis."""
        return replace(self, axis=self.axis - steps, shape=(self.shape[0], *self.shape[1 + steps :]))


@dataclass(frozen=True)
class LayerCut:
    """The channels of one layer that stay.

    Attributes:
        inputs: indices of the kept input maps, in their new order.
        outputs: indices of the kept output maps, in their new order.
        input_channels: number of input maps before.
        output_channels: number of output maps before.
        positions: features that stand for one input map, see `Channels`.
        reads: the tensors that the layer reads.
        makes: the tensors that it makes.
    """

    inputs: NDArray[np.int64]
    outputs: NDArray[np.int64]
    input_channels: int
    output_channels: int
    positions: int = 1
    reads: tuple[TensorCut, ...] = ()
    makes: tuple[TensorCut, ...] = ()

    def without_steps(self, steps: int) -> "LayerCut":
        """As a layer sees it that is called for each step: without so many axes behind the batch axis."""
        if not steps:
            return self
        reads, makes = (tuple(cut.without_steps(steps) for cut in cuts) for cuts in (self.reads, self.makes))
        return replace(self, reads=reads, makes=makes)

    def features(self, role: str, size: int) -> NDArray[np.int64]:
        """Indices that stay along a weight axis of that size and role, "in" or "out".

        An input axis may have `positions` features a map, map by map within a position (a dense
        layer behind `Flatten`), or less features than there are inputs, of which each stands for
        several that go together (the depthwise kernel of a separable convolution).
        """
        if role == "out":
            return self.outputs
        if size < self.input_channels:
            repeat = self.input_channels // size
            return self.inputs[::repeat] // repeat
        return np.concatenate([p * self.input_channels + self.inputs for p in range(self.positions)])
