"""A masked model with what was traced of it."""

import keras

from tf_structprune.graph import trace
from tf_structprune.layers._wrap import get_masks, is_masked, polarity_of, set_masks
from tf_structprune.masks import MaskSet, kept_weights, sparsity_of


class MaskedModel:
    """A model from `wrap` and its graph, which is traced once: masks and weights do not change it.

    Args:
        model: the model.

    Raises:
        ValueError: a model without masks.
    """

    def __init__(self, model: keras.Model) -> None:
        if not is_masked(model):
            raise ValueError(f"Model '{model.name}' has no masks. Received: a plain model. Use wrap(model) first.")
        self.model = model
        self.graph = trace(model)
        self.polarity = polarity_of(model)

    @classmethod
    def of(cls, masked: "keras.Model | MaskedModel") -> "MaskedModel":
        """The handle itself, or one of a model."""
        return masked if isinstance(masked, MaskedModel) else cls(masked)

    @property
    def masks(self) -> MaskSet:
        """The masks that the model holds now."""
        return get_masks(self.model, graph=self.graph)

    def set_masks(self, masks: MaskSet) -> None:
        """Put masks in; see `set_masks`."""
        set_masks(self.model, masks, graph=self.graph)

    @property
    def sparsity(self) -> float:
        """Fraction of the prunable weights that the masks remove."""
        return self.sparsity_with(self.masks)

    def sparsity_with(self, masks: MaskSet) -> float:
        """Fraction that other masks would remove."""
        return sparsity_of(self.graph, masks, self.polarity)

    @property
    def kept(self) -> int:
        """Prunable weights that the masks keep."""
        kept = kept_weights(self.graph, self.masks, self.polarity)
        return sum(kept[layer.name] for layer in self.graph.prunable_layers)
