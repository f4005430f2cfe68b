"""A model for inference alone: batch normalizations done by the layers in front of them."""

from collections import Counter
from typing import Any

import keras

from tf_structprune.graph import LayerCall, inner_layer, list_calls, named_layers
from tf_structprune.layers._clone import clone
from tf_structprune.layers._copy import copy_layer, copy_of
from tf_structprune.layers._normalization import normalized_weights
from tf_structprune.layers._weights import assign_weights, copy_weights

_L = keras.layers
_FOLDING = (_L.Conv1D, _L.Conv2D, _L.Conv3D, _L.DepthwiseConv1D, _L.DepthwiseConv2D, _L.Dense)


def for_inference(model: keras.Model) -> keras.Model:
    """A copy of a plain model whose batch normalizations are folded where they follow a linear layer.

    Layers keep their names; a folded normalization becomes an `Identity`. Outputs are those of the model in
    inference, up to rounding.

    Args:
        model: a plain Sequential or functional model; it is not changed.
    """
    pairs = _folded_pairs(model)
    norms = set(pairs.values())

    def made(name: str, layer: Any) -> Any:
        if name in norms:
            return _L.Identity(name=layer.name, dtype="float32")
        return copy_of(layer, lambda config: config.update(use_bias=True)) if name in pairs else copy_layer(layer)

    def called(name: str, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return layer(args[0]) if name in norms else layer(*args, **kwargs)

    result = clone(model, made, call=called)
    old, new = named_layers(model), named_layers(result)
    for name, layer in old.items():
        if name in pairs:
            kernel, *bias = layer.get_weights()
            assign_weights(new[name], normalized_weights(kernel, bias[0] if bias else None, old[pairs[name]]))
        elif name not in norms and inner_layer(layer).weights:
            copy_weights(layer, new[name])
    return result


def _folded_pairs(model: keras.Model) -> dict[str, str]:
    """By linear layer, the normalization that is the only one to read it, both called once."""
    found = list_calls(model)
    times = Counter(call.name for call in found.calls)
    uses = Counter([*found.outputs, *(key for call in found.calls for key in call.inputs)])
    makers = {call.output: call for call in found.calls}
    pairs = {}
    for call in found.calls:
        maker = makers.get(call.inputs[0]) if _is_normalization(call) else None
        if maker is not None and _is_linear(maker) and uses[maker.output] == times[maker.name] == times[call.name] == 1:
            pairs[maker.name] = call.name
    return pairs


def _is_normalization(call: LayerCall) -> bool:
    """Whether a call normalizes the last axis with fixed numbers."""
    layer = call.layer
    if type(layer) is not _L.BatchNormalization or call.kwargs.get("training") or len(call.args) > 1:
        return False
    last = layer.axis in (-1, len(call.input_shapes[0]) - 1)
    return len(call.inputs) == 1 and last and layer.compute_dtype == "float32"


def _is_linear(call: LayerCall) -> bool:
    layer = call.layer
    if type(layer) not in _FOLDING or getattr(layer, "data_format", "channels_last") == "channels_first":
        return False
    return layer.activation is keras.activations.linear and layer.compute_dtype == "float32"
