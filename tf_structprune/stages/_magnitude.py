"""Masks from the weights alone: the smallest go, or those that trained to zero and then any."""

import keras
import numpy as np

from tf_structprune.layers import MaskedModel, quantizer_of
from tf_structprune.masks import (
    Granularity,
    MaskSet,
    PatternOptions,
    Weight,
    as_granularity,
    check_sparsity,
    mask_space,
)
from tf_structprune.measure import sum_of_units
from tf_structprune.stages._admm import Constraint, Views, kernels_of, masked_layers


def magnitude_masks(
    masked: MaskedModel, granularity: Granularity, sparsity: float, *, given: MaskSet | None = None
) -> MaskSet:
    """The masks that keep the largest weights, of those that the model's masks keep.

    Units are ranked by the squares of their weights, over all layers for `Weight(across="model")`; a feature map also
    has those of the layers that read it.

    Args:
        masked: the model.
        granularity: what goes together.
        sparsity: fraction of all prunable weights that is gone in the end, in [0, 1).
        given: masks to begin with in the place of those that the model holds, which are left on it: what was removed
            since may come back.

    Raises:
        ValueError: see `mask_space`.
    """
    if given is not None:
        masked.set_masks(given)
    return Constraint(granularity, sparsity).masks(masked, _kernels(masked))


def _kernels(masked: MaskedModel) -> Views:
    """The kernels with the masks that the model holds; in fixed point times what their variables are divided by."""
    layers = masked_layers(masked)
    gains = {name: quantizer.gain_value() for name, layer in layers.items() if (quantizer := quantizer_of(layer))}
    return {name: kernel * gains.get(name, 1.0) for name, kernel in kernels_of(layers).items()}


def random_after_zeros(
    masked: keras.Model,
    sparsity: float,
    *,
    threshold: float = 1e-3,
    granularity: Granularity | None = None,
    seed: int = 0,
) -> MaskSet:
    """Random masks of a trained model, in which what training made zero goes first.

    A network that trains with weight decay or ReLUs has zeros of its own, which any masks by magnitude find and random
    ones do not: they are the fair random masks to compare with (Caron et al., arXiv 2001.03554, section 4). Units of
    which every weight is zero go first, in a random order, then any.

    Args:
        masked: a trained model from `wrap`; it is not changed.
        sparsity: fraction of all prunable weights that is gone in the end, in [0, 1).
        threshold: largest magnitude that counts as zero, 0 or more.
        granularity: what goes together; None for single weights of all layers in one draw.
        seed: seed of the draw.

    Returns:
        Masks for `set_masks` or `transfer_masks`.

    Raises:
        ValueError: a model without masks, an unknown granularity, or a sparsity or threshold out of range or reach.
    """
    if not 0 <= threshold < np.inf:
        raise ValueError(f"threshold must be 0 or more. Received: threshold={threshold}. Use e.g. 1e-3.")
    check_sparsity(sparsity, "random_after_zeros: ")
    handle = MaskedModel(masked)
    kind = as_granularity(Weight(across="model") if granularity is None else granularity)
    rng = np.random.default_rng(seed)
    alive = {name: (np.abs(kernel) > threshold).astype(np.float64) for name, kernel in _kernels(handle).items()}
    units = sum_of_units(handle.graph, kind.name, alive)
    drawn = {name: (counts > 0) + rng.random(counts.shape) / 2 for name, counts in units.items()}
    patterns = PatternOptions(polarity=handle.polarity)
    return mask_space(handle.graph, kind, sparsity, base=handle.masks, patterns=patterns).top(drawn)
