"""Layers and models in the forms that were chosen."""

from collections.abc import Mapping
from typing import Any

import keras

from tf_structprune.graph import named_layers
from tf_structprune.layers import assign_weights, clone, copy_layer, copy_of
from tflite_export.lower._around import Weighted
from tflite_export.lower._dense import LoweredDense
from tflite_export.lower._forms import Form
from tflite_export.lower._layer import LoweredConv2D


def alone(each: Weighted, layer: Any) -> keras.Model:
    """A model of that one layer, with the input of the layer that it stands for."""
    inputs = keras.Input(each.input_shape[1:])
    return keras.Model(inputs, layer(inputs))


def dense_layer(each: Weighted) -> Any:
    """The layer with what was drawn into it, zeros and all."""
    layer = copy_of(each.layer, lambda config: config.update(use_bias=True, activation=each.activation))
    layer.build(each.input_shape)
    layer.set_weights([each.kernel.reshape(layer.kernel.shape), each.bias])
    return layer


def lowered_layer(each: Weighted, form: Form, *, name: str) -> LoweredConv2D | LoweredDense:
    """The layer in a form."""
    layer: LoweredConv2D | LoweredDense
    if each.is_dense:
        layer = LoweredDense(
            positions=each.kernel.shape[1],
            blocks=form.blocks,
            activation=each.activation,
            name=name,
            dtype=each.layer.dtype_policy,
        )
    else:
        layer = LoweredConv2D(
            kernel_size=each.layer.kernel_size,
            strides=each.layer.strides,
            padding=each.layer.padding,
            dilation_rate=each.layer.dilation_rate,
            sums=form.sums,
            grouped=form.grouped,
            activation=each.activation,
            name=name,
            dtype=each.layer.dtype_policy,
        )
    layer.build(each.input_shape)
    layer.take(each.kernel, each.bias)
    return layer


def lowered_model(model: keras.Model, found: Mapping[str, Weighted], chosen: Mapping[str, Form]) -> keras.Model:
    """The model with layers replaced by what was chosen for them, by path."""
    absorbed = {name for each in chosen for name in found[each].absorbed}

    def made(name: str, layer: Any) -> Any:
        if name in chosen:
            return lowered_layer(found[name], chosen[name], name=layer.name)
        if name in absorbed:
            return keras.layers.Identity(name=layer.name)
        return copy_layer(layer)

    def called(name: str, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        # A normalization was called with a mask, which what takes its place does not know.
        return layer(*args, **({} if name in absorbed else kwargs))

    result = clone(model, made, call=called)
    new = named_layers(result)
    for name, layer in named_layers(model).items():
        if name not in chosen and name not in absorbed and layer.weights:
            assign_weights(new[name], layer.get_weights())
    return result
