"""What is known while the calls of a model are walked."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tf_structprune.channels import ChannelLimits, PrunableLayer, Skipped
from tf_structprune.graph._calls import LayerCall, Shape, TensorKey
from tf_structprune.graph._units import Atoms

BY_DESIGN = "Kept by design"


class Barrier(Exception):  # noqa: N818  # not an error: the tracer goes on around the layer
    """A layer that stops channel removal, why, and what would help."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy


@dataclass(frozen=True)
class Layout:
    """The channels of a tensor.

    Attributes:
        atoms: atom of each channel, shape (channels,).
        axis: the channel axis, batch axis counted.
        shape: shape of the tensor.
    """

    atoms: NDArray[np.int64]
    axis: int
    shape: Shape


@dataclass(frozen=True)
class Record:
    """What the first call of a layer saw, and how its maps are made of channels.

    Attributes:
        reads: layouts of its inputs.
        makes: layouts of its outputs.
        inputs: atom of each input map.
        outputs: atom of each output map.
        positions: input features that one input map stands for.
    """

    reads: tuple[Layout, ...]
    makes: tuple[Layout, ...]
    inputs: NDArray[np.int64]
    outputs: NDArray[np.int64]
    positions: int = 1


@dataclass
class Tracing:
    """The state of a trace.

    Attributes:
        kept: reason by name of the layers that stay whole by choice.
        limits: demands on the channel counts by layer name.
        atoms: channels, and what was said of them.
        layouts: the tensors met so far.
        records: the layers met so far.
        layers: the convolutions and dense layers met so far, by name.
        parts: pieces of tensors of which some channel has to stay.
        skipped: the barriers met so far.
    """

    kept: Mapping[str, str]
    limits: Mapping[str, ChannelLimits]
    atoms: Atoms = field(default_factory=Atoms)
    layouts: dict[TensorKey, Layout] = field(default_factory=dict)
    records: dict[str, Record] = field(default_factory=dict)
    layers: dict[str, PrunableLayer] = field(default_factory=dict)
    parts: list[NDArray[np.int64]] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)

    def layout_of(self, key: TensorKey, shape: Shape) -> Layout:
        """The layout of a tensor; what a barrier made gets channels that stay."""
        if key not in self.layouts:
            self.layouts[key] = self.fixed(shape, f"it comes from {key.call}")
        return self.layouts[key]

    def fixed(self, shape: Shape, reason: str, axis: int = -1) -> Layout:
        """A layout of new channels that stay, along that axis."""
        size = shape[axis] if len(shape) > 1 and shape[axis] else 1
        atoms = self.atoms.take(int(size or 1))
        self.atoms.hold(atoms, reason, BY_DESIGN)
        return Layout(atoms, axis % max(1, len(shape)), shape)

    def link_rows(self, atoms: NDArray[np.int64]) -> None:
        """All atoms of a row go together, shape (rows, atoms)."""
        first = np.broadcast_to(atoms[:, :1], atoms.shape)
        self.atoms.link(first[:, 1:].ravel(), atoms[:, 1:].ravel())


def made_shape(call: LayerCall, layout: Layout) -> Shape:
    """Shape of a call's first output; that of `layout` where nobody reads it."""
    return call.output_shapes.get(0, layout.shape)
