"""Channels of tensors as numbered atoms; atoms that must go together become one unit."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Hold:
    """Atoms that must stay, and why."""

    atoms: NDArray[np.int64]
    reason: str
    remedy: str


@dataclass
class Atoms:
    """The atoms handed out while a model is traced, and what was said of them."""

    count: int = 0
    links: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = field(default_factory=list)
    holds: list[Hold] = field(default_factory=list)

    def take(self, number: int) -> NDArray[np.int64]:
        """New atoms, one a channel."""
        first, self.count = self.count, self.count + number
        return np.arange(first, self.count, dtype=np.int64)

    def link(self, first: NDArray[np.int64], second: NDArray[np.int64]) -> None:
        """Channel i of both must go together."""
        self.links.append((first, second))

    def hold(self, atoms: NDArray[np.int64], reason: str, remedy: str) -> None:
        """These channels must stay."""
        self.holds.append(Hold(atoms, reason, remedy))

    def units(self) -> NDArray[np.int64]:
        """The unit of each atom, numbered by first appearance, shape (count,).

        Connected components by label propagation with pointer jumping: each round halves the
        depth of the label trees, so a chain of n links takes about log2(n) rounds.
        """
        label = np.arange(self.count, dtype=np.int64)
        if self.links:
            first = np.concatenate([a for a, _ in self.links])
            second = np.concatenate([b for _, b in self.links])
            while not np.array_equal(label[first], label[second]):
                low = np.minimum(label[first], label[second])
                np.minimum.at(label, label[first], low)
                np.minimum.at(label, label[second], low)
                while not np.array_equal(label, label[label]):
                    label = label[label]
        return np.unique(label, return_inverse=True)[1].astype(np.int64)
