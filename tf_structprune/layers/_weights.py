"""Weights of layers, set so that the layer computes with them."""

from collections.abc import Sequence
from typing import Any

import keras
from numpy.typing import NDArray

from tf_structprune.graph import inner_layer, named_layers


def assign_weights(layer: Any, weights: Sequence[NDArray[Any]]) -> None:
    """Set the weights of a layer, inside its wrapper if it has one.

    A `Normalization` computes with copies of its weights, which Keras renews when a file is loaded
    but not in `set_weights`.
    """
    inner = inner_layer(layer)
    inner.set_weights(list(weights))
    if isinstance(inner, keras.layers.Normalization):
        inner.finalize_state()


def renew_copies(model: keras.Model) -> None:
    """Let the layers of a model compute with weights that were set by other means."""
    for layer in named_layers(model).values():
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()
