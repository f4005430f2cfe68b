"""Masks by the magnitude of the weights, chosen anew however the model is masked."""

from tf_structprune.graph import named_layers
from tf_structprune.layers import MaskedLayer, MaskedModel, quantizer_of
from tf_structprune.masks import Granularity, MaskSet
from tf_structprune.stages._admm import Constraint, view_of


def masks_by_magnitude(masked: MaskedModel, granularity: Granularity, sparsity: float, given: MaskSet) -> MaskSet:
    """The masks that keep the most of the squares of the weights; what was removed may come back.

    Args:
        masked: the model, in fixed point or not; it is left with the masks `given`.
        granularity: what goes together.
        sparsity: fraction of all prunable weights that is removed then, in [0, 1).
        given: masks, of all its granularities, that hold in any case.

    Raises:
        ValueError: see `mask_space`.
    """
    masked.set_masks(given)
    layers = {name: layer for name, layer in named_layers(masked.model).items() if isinstance(layer, MaskedLayer)}
    values = {name: view_of(layer, layer.masked_variable()) * _gain(layer) for name, layer in layers.items()}
    return Constraint(granularity, sparsity).masks(masked, values)


def _gain(layer: MaskedLayer) -> float:
    quantizer = quantizer_of(layer)
    return 1.0 if quantizer is None else quantizer.gain_value()
