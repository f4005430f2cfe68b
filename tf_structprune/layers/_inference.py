"""A model for inference alone: batch normalizations done by the layers in front of them."""

from typing import Any

import keras

from tf_structprune.graph import LayerCall, inner_layer, list_calls, named_layers, readers_of
from tf_structprune.layers._clone import clone
from tf_structprune.layers._copy import copy_layer, copy_of
from tf_structprune.layers._fold import foldable_norms, normalized_weights
from tf_structprune.layers._weights import assign_weights, copy_weights

_L = keras.layers


def for_inference(model: keras.Model) -> keras.Model:
    """A copy of a plain model whose batch normalizations are folded where they follow a linear layer.

    Layers keep their names; a folded normalization becomes an `Identity`. Outputs are those of the model in
    inference, up to rounding.

    Args:
        model: a plain Sequential or functional model; it is not changed.
    """
    folded = _folded(model)
    norms = {norm.name for behind in folded.values() for norm in behind}

    def made(name: str, layer: Any) -> Any:
        if name in norms:
            return _L.Identity(name=layer.name, dtype="float32")
        return copy_of(layer, lambda config: config.update(use_bias=True)) if name in folded else copy_layer(layer)

    def called(name: str, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return layer(args[0]) if name in norms else layer(*args, **kwargs)

    result = clone(model, made, call=called)
    old, new = named_layers(model), named_layers(result)
    for name, layer in old.items():
        if name in folded:
            assign_weights(new[name], normalized_weights(layer, folded[name]))
        elif name not in norms and inner_layer(layer).weights:
            copy_weights(layer, new[name])
    return result


def _folded(model: keras.Model) -> dict[str, tuple[LayerCall, ...]]:
    """By layer, the normalizations behind it that it does; in 16 bits it would round where the model does not."""
    found = list_calls(model)
    readers, folded = readers_of(found), {}
    for call in found.calls:
        norms = foldable_norms(call, readers)
        if norms and all(each.layer.compute_dtype == "float32" for each in (call, *norms)):
            folded[call.name] = norms
    return folded
