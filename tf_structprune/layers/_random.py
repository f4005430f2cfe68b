"""Random masks for a masked model."""

from collections.abc import Mapping

import keras
import numpy as np

from tf_structprune.graph import trace
from tf_structprune.layers._wrap import get_masks, polarity_of
from tf_structprune.masks import (
    Granularity,
    MaskSet,
    PatternOptions,
    as_granularity,
    check_sparsity,
    mask_space,
    sparsity_of,
)


def random_masks(
    masked: keras.Model,
    sparsity: Mapping[Granularity, float],
    *,
    strides: tuple[int, ...] | None = None,
    seed: int = 0,
) -> MaskSet:
    """Draw masks at random at the given sparsities, as `MaskSpace.sample` does, on top of those that the model holds.

    Args:
        masked: a model from `wrap`; it is not changed.
        sparsity: by granularity (a name, or e.g. `masks.Kernel(groups=4)`), in the order they are applied, the
            fraction in [0, 1) of the prunable weights still there that this granularity removes.
        strides: intra-kernel strides that may be drawn; None allows 1 to k + 1.
        seed: seed of the draw.

    Returns:
        Masks for `set_masks`.

    Raises:
        ValueError: an unknown granularity, or a sparsity out of range or reach.
    """
    graph, options = trace(masked), PatternOptions(strides, polarity_of(masked))
    rng = np.random.default_rng(seed)
    masks = get_masks(masked, graph=graph)
    for granularity, fraction in sparsity.items():
        check_sparsity(fraction, f"Granularity '{as_granularity(granularity).name}': ")
        present = sparsity_of(graph, masks, options.polarity)
        target = 1 - (1 - present) * (1 - fraction)
        masks = mask_space(graph, granularity, target, base=masks, patterns=options).sample(rng)
    return masks
