"""Weights of layers, set so that the layer computes with them."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.graph import core_layer, inner_layer, kernel_variable, named_layers
from tf_structprune.layers._masked_layer import MaskedLayer
from tf_structprune.layers._quantized_layer import quantizer_of, take_state


def assign_weights(layer: Any, weights: Sequence[NDArray[Any]]) -> None:
    """Set the weights of a layer, inside its wrapper if it has one.

    A `Normalization` computes with copies of its weights, which Keras renews when a file is loaded
    but not in `set_weights`.
    """
    inner_layer(layer).set_weights(list(weights))
    _renew(layer)


def renew_copies(model: keras.Model) -> None:
    """Let the layers of a model compute with weights that were set by other means."""
    for layer in named_layers(model).values():
        _renew(layer)


def _renew(layer: Any) -> None:
    core = core_layer(layer)
    if isinstance(core, keras.layers.Normalization):
        core.finalize_state()


def agree_on_weights(model: keras.Model) -> None:
    """Give all replicas of a `tf.distribute` strategy the weights of the first one, which are those that are saved.

    Keras updates the statistics of a batch normalization on each replica by itself, from its share of the batch.
    """
    strategy = getattr(model, "distribute_strategy", None)  # of the TensorFlow backend alone
    if strategy is not None and strategy.num_replicas_in_sync > 1:
        model.set_weights(model.get_weights())


def copy_weights(source: keras.layers.Layer, target: keras.layers.Layer) -> None:
    """Give a layer, inside its wrappers, the weights of another one with masks folded in, and its fixed-point grids."""
    weights = folded_weights(source)
    assign_weights(target, weights)
    old, new = quantizer_of(source), quantizer_of(target)
    if old is not None and new is not None:
        take_state(new, old, weights[_kernel_at(source)])


def folded_weights(layer: keras.layers.Layer) -> list[NDArray[Any]]:
    """Weights of the layer inside the wrappers, masks folded in; those that are rounded as they are in float."""
    weights = list(inner_layer(layer).get_weights())
    quantizer = quantizer_of(layer)
    if isinstance(layer, MaskedLayer):
        weights[_kernel_at(layer)] = keras.ops.convert_to_numpy(layer.masked_variable())
    if quantizer is not None:
        weights[_kernel_at(layer)] = weights[_kernel_at(layer)] * np.float32(quantizer.gain_value())
    return weights


def _kernel_at(layer: keras.layers.Layer) -> int:
    """Index of the kernel among the weights of the layer inside the wrappers."""
    kernel = kernel_variable(layer)
    (at,) = (i for i, weight in enumerate(inner_layer(layer).weights) if weight is kernel)
    return at
