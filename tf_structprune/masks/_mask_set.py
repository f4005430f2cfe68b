"""One complete set of masks: the papers' candidate."""

import numbers
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]  # masks of one granularity by block name

FEATURE_MAP = "feature_map"
KERNEL = "kernel"
INTRA_KERNEL = "intra_kernel"
WEIGHT = "weight"
STRUCTURED = (FEATURE_MAP, KERNEL, INTRA_KERNEL)
"""What makes a network faster once it is shrunk and lowered."""
GRANULARITIES = (*STRUCTURED, WEIGHT)
"""With single weights, whose zeros make a stored network smaller and nothing faster."""


def check_granularity(granularity: str) -> str:
    """The granularity itself.

    Raises:
        ValueError: it is none of `GRANULARITIES`.
    """
    if granularity not in GRANULARITIES:
        raise ValueError(
            f"Unknown granularity. Received: granularity={granularity!r}. Use one of: {', '.join(GRANULARITIES)}."
        )
    return granularity


def check_sparsity(sparsity: float, where: str = "") -> float:
    """The sparsity itself.

    Raises:
        ValueError: it is not a number in [0, 1).
    """
    if not isinstance(sparsity, numbers.Real) or not 0 <= sparsity < 1:  # also refuses NaN
        raise ValueError(
            f"{where}sparsity must be in [0, 1). Received: sparsity={sparsity}. "
            "It is the fraction of the prunable weights that goes; something has to stay."
        )
    return float(sparsity)


@dataclass(frozen=True)
class MaskSet:
    """Masks of all granularities; an entry that is absent keeps everything.

    Attributes:
        feature_map: kept units by group name, bool, shape (group.size,); a unit is one channel, or several
            that only go together.
        kernel: kept kernels by layer name, bool, shape (inputs / groups, outputs).
        intra_kernel: (stride, offset) of each input map by layer name, int32, shape (inputs, 2).
            The pattern is shared by all kernels that leave the map; (1, 0) keeps everything.
        weight: kept single weights by layer name, bool, shape (positions, inputs / groups, outputs).
    """

    feature_map: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    kernel: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    intra_kernel: Mapping[str, NDArray[np.int32]] = field(default_factory=dict)
    weight: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)

    def of(self, granularity: str) -> Arrays:
        """The masks of one granularity by block name."""
        masks: Arrays = getattr(self, check_granularity(granularity))
        return masks

    def updated(self, granularity: str, masks: Arrays) -> Self:
        """A copy in which these masks of one granularity take the place of the old ones."""
        merged: dict[str, Any] = {granularity: {**self.of(granularity), **masks}}
        return replace(self, **merged)

    def equals(self, other: "MaskSet") -> bool:
        """Whether both have the same entries with the same values."""
        mine, theirs = self.to_arrays(), other.to_arrays()
        return mine.keys() == theirs.keys() and all(np.array_equal(mine[key], theirs[key]) for key in mine)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Plain arrays under keys `granularity/name`, as `numpy.savez` takes them."""
        return {f"{kind}/{name}": mask for kind in GRANULARITIES for name, mask in self.of(kind).items()}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """What `to_arrays` wrote.

        Raises:
            ValueError: a key that is not `granularity/name`.
        """
        masks: dict[str, dict[str, NDArray[Any]]] = {kind: {} for kind in GRANULARITIES}
        for key, array in arrays.items():
            kind, _, name = key.partition("/")
            masks[check_granularity(kind)][name] = np.array(array, np.int32 if kind == INTRA_KERNEL else np.bool_)
        return cls(**masks)
