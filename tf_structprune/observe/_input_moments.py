"""Moments of what the layers of one model read, in one pass or in as few as the memory allows."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tf_structprune.graph import CallList
from tf_structprune.observe._patches import Patches
from tf_structprune.observe._pixels import Pixels, taken
from tf_structprune.observe._shelf import Shelf
from tf_structprune.observe._walk import Walk
from tf_structprune.reconstruct import InputMoments, MomentSum


def input_moments(
    found: CallList,
    patches: Mapping[str, Patches],
    batches: Sequence[Sequence[NDArray[Any]]],
    rng: np.random.Generator,
) -> dict[str, InputMoments]:
    """Moments of what some layers read, over all their calls.

    Args:
        found: calls of the model.
        patches: what the outputs of the layers read, by name.
        batches: samples, batch by batch, one array an input.
        rng: chooses pixels where there are more than are needed.
    """
    if not patches:
        return {}
    sums = {name: MomentSum(known.view.groups, known.size, 0) for name, known in patches.items()}
    samples = sum(len(batch[0]) for batch in batches)
    with Shelf() as shelf:
        walk = Walk(found, found, batches, shelf, passing=lambda call: call.name not in patches)
        for call, _ in walk:
            if call.name not in patches:
                continue
            pixels = Pixels(samples, patches[call.name].size, rng)
            for batch in walk.batches:
                read = walk.reference(call.inputs[0], batch)
                for part, chosen in patches[call.name].parts(read, pixels):
                    rows = taken(patches[call.name].of(read[part], chosen))
                    sums[call.name].add(rows, np.zeros((*rows.shape[:2], 0), np.float32))
    return {name: total.moments().inputs for name, total in sums.items()}


class MomentsInTurn:
    """Moments of layers that are asked for one after the other; a pass takes those of as many as fit the memory.

    Args:
        found, patches, batches, rng: as for `input_moments`, the layers in the order in which they are asked for.
        most_bytes: of covariances at once; a single one may be larger.
    """

    def __init__(
        self,
        found: CallList,
        patches: Mapping[str, Patches],
        batches: Sequence[Sequence[NDArray[Any]]],
        rng: np.random.Generator,
        *,
        most_bytes: int = 2**27,
    ) -> None:
        self._found, self._left, self._batches, self._rng = found, dict(patches), batches, rng
        self._most = most_bytes
        self._held: dict[str, InputMoments] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._left or name in self._held

    def take(self, name: str) -> InputMoments:
        """The moments of what a layer reads, which are then let go of: once for each layer."""
        if name not in self._held:
            self._held |= input_moments(self._found, self._next(name), self._batches, self._rng)
        return self._held.pop(name)

    def _next(self, name: str) -> dict[str, Patches]:
        """The layer and, of those that are left, the first that fit beside it."""
        group = {name: self._left.pop(name)}
        free = self._most - group[name].covariance_bytes
        for other, known in list(self._left.items()):
            free -= known.covariance_bytes
            if free < 0:
                break
            group[other] = self._left.pop(other)
        return group
