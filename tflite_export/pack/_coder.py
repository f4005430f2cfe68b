"""What a coder of weights takes and gives, so that one more kind is one more row in a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

_SYMBOLS = 256
LOWEST = -128
"""The least int8; `Weights.counts` begins with it."""


@dataclass(frozen=True)
class CodeSize:
    """Flash that an operator's code takes on a Cortex-M beside the kernels of the model.

    Attributes:
        least_bytes: built for size.
        most_bytes: built as TFLite Micro's makefile builds kernels.
    """

    least_bytes: int
    most_bytes: int


@dataclass(frozen=True)
class Form:
    """What a runtime knows of a tensor of weights before it is decoded.

    Attributes:
        shape: of the tensor.
        zero_points: one for the tensor or one for each channel; none where it has no scales.
        axis: the axis of the channels.
    """

    shape: tuple[int, ...]
    zero_points: tuple[int, ...] = (0,)
    axis: int = 0

    @property
    def elements(self) -> int:
        """Number of weights."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def channels(self) -> int:
        """For how many channels there are scales; 1 for the whole tensor."""
        return max(len(self.zero_points), 1)

    @property
    def along_channels(self) -> bool:
        """Whether TFLite Micro can go through the weights channel by channel: on the first axis or the last."""
        last = len(self.shape) - 1
        if self.channels == 1:
            return self.axis == 0
        return self.axis in (0, last) and self.shape[self.axis] == self.channels

    def by_channel(self, values: NDArray[np.int8]) -> NDArray[np.int8]:
        """Weights with the channels first, shape (channels, weights of each)."""
        return np.moveaxis(values.reshape(self.shape), self.axis, 0).reshape(self.channels, -1)


@dataclass(frozen=True, eq=False)
class Weights:
    """The weights of one tensor.

    Attributes:
        values: int8, shape as `form` has it.
        form: what the file says of them.
    """

    values: NDArray[np.int8]
    form: Form

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """How often each value from -128 to 127 occurs, shape (256,)."""
        return np.bincount(self.values.ravel().astype(np.int64) - LOWEST, minlength=_SYMBOLS)


def counts_of(group: Sequence[Weights]) -> NDArray[np.int64]:
    """How often each value occurs in all tensors of a group, shape (256,)."""
    counts: NDArray[np.int64] = np.stack([weights.counts for weights in group]).sum(axis=0)
    return counts


@dataclass(frozen=True)
class Coded:
    """Weights of a group of tensors, coded.

    Attributes:
        encoded: the bytes of each tensor.
        ancillary: the bytes that they share: header, tables.
    """

    encoded: tuple[bytes, ...]
    ancillary: bytes

    @property
    def size_bytes(self) -> int:
        """All of them."""
        return sum(map(len, self.encoded)) + len(self.ancillary)


@dataclass(frozen=True)
class Group:
    """Tensors that are coded together.

    Attributes:
        coder: name of the coder.
        tensors: indices of the tensors.
    """

    coder: str
    tensors: tuple[int, ...]


class Coder(Protocol):
    """Turns the weights of tensors into bytes, and back.

    Tensors of one group share tables; a coder that shares nothing codes groups of one alone.
    """

    @property
    def operator(self) -> str:
        """Custom code of the operator that decodes in TFLite Micro."""

    @property
    def weights_a_byte(self) -> int:
        """So many weights, at most, are in a coded byte: what a damaged shape asks for is bounded by it."""

    def size_bytes(self, group: Sequence[Weights]) -> int | None:
        """What `encode` gives for a group, to a few bytes a tensor; None where it cannot."""

    def encode(self, group: Sequence[Weights]) -> Coded | None:
        """The coded group; None where the coder cannot, such as a table for too many values."""

    def reads(self, ancillary: bytes) -> bool:
        """Whether the shared bytes are this coder's."""

    def decode(self, encoded: bytes, ancillary: bytes, form: Form) -> NDArray[np.int8]:
        """The weights, flat, of a tensor of this form.

        Raises:
            ValueError: bytes that no `encode` gives.
        """
