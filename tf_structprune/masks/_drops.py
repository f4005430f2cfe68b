"""In which order the blocks of a model lose their units."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Drops:
    """Steps by which blocks lose units, in an order such that all lose about the same fraction.

    Attributes:
        owners: index of the block that loses units next, shape (steps,).
        amounts: how many it loses, shape (steps,).
        blocks: number of blocks.
    """

    owners: NDArray[np.int64]
    amounts: NDArray[np.int64]
    blocks: int

    @classmethod
    def of(cls, counts: Sequence[NDArray[np.int64]]) -> "Drops":
        """The steps of blocks that may keep those numbers of units, each from all of them down."""
        moments = np.concatenate([np.zeros(0), *(1 - (kept[:-1] + kept[1:]) / (2 * kept[0]) for kept in counts)])
        owners = np.repeat(np.arange(len(counts)), [len(kept) - 1 for kept in counts])
        amounts = np.concatenate([np.zeros(0, np.int64), *(kept[:-1] - kept[1:] for kept in counts)])
        order = np.argsort(moments, kind="stable")
        return cls(owners[order], amounts[order], len(counts))

    def after(self, steps: int) -> NDArray[np.int64]:
        """Units that each block has lost after so many steps, shape (blocks,)."""
        lost = np.bincount(self.owners[:steps], weights=self.amounts[:steps], minlength=self.blocks)
        return lost.astype(np.int64)
