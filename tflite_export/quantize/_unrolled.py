"""Recurrent layers step by step, so that no file needs TFLite's own recurrent operators."""

from typing import Any

import keras

from tf_structprune.graph import named_layers
from tf_structprune.layers import clone, copy_layer, copy_of

_L = keras.layers
_RECURRENT = (_L.LSTM, _L.GRU, _L.SimpleRNN)


def unrolled(model: keras.Model) -> keras.Model:
    """A copy whose recurrent layers run step by step, with the same weights; the model itself where there are none.

    LiteRT's interpreter crashes on the fused operator that the converter makes of an LSTM in int8, and TFLite Micro has
    none for a GRU. Steps are operators that every runtime has, one set for each step, so the length must be fixed.

    Args:
        model: a built Sequential or functional model; it is not changed.
    """
    if not any(_is_rolled(layer) for layer in named_layers(model).values()):
        return model
    copy = clone(model, lambda _, layer: copy_of(layer, _unroll) if _is_rolled(layer) else copy_layer(layer))
    copy.set_weights(model.get_weights())
    return copy


def _is_rolled(layer: Any) -> bool:
    if type(layer) is _L.Bidirectional:
        return any(_is_rolled(each) for each in (layer.forward_layer, layer.backward_layer))
    return type(layer) in _RECURRENT and not layer.unroll


def _unroll(config: dict[str, Any]) -> None:
    """Change the configuration of a recurrent layer, or of the two in a `Bidirectional`."""
    inner = {name: config[name] for name in ("layer", "backward_layer") if config.get(name) is not None}
    for name, layer in inner.items():
        if isinstance(layer, keras.layers.Layer):
            config[name] = copy_of(layer, _unroll)
        else:
            layer["config"]["unroll"] = True
    if not inner:
        config["unroll"] = True
