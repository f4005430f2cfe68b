"""Moments of what the layers of one model read, all in one pass."""

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
        walk = Walk(found, found, batches, shelf)
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
