"""A model of other layers: each cut to the channels that stay, in their new order."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.graph import LayerCut, cut_arguments, inner_layer, kernel_variable, named_layers, rule_for
from tf_structprune.layers import assign_weights, clone, folded_weights, quantized_like, quantizer_of, take_state
from tflite_export.shrink._fold import Folding


def rebuild(model: keras.Model, cuts: Mapping[str, LayerCut], folding: Folding | None = None) -> keras.Model:
    """A plain copy of a model, masked or not, with each layer cut.

    Args:
        model: the model; it is not changed.
        cuts: what stays of each layer, by name, and in which order; other layers stay as they are.
        folding: what removed dead maps leave in their readers.

    Raises:
        ValueError: a weight whose shape the layer's rule does not explain.
    """
    folding = Folding(np.zeros(0, np.bool_)) if folding is None else folding
    result = clone(
        model,
        lambda name, layer: _smaller(layer, cuts.get(name), biased=name in folding.bias),
        call=lambda name, layer, args, kwargs: _called(layer, args, kwargs, cuts.get(name)),
        input_channels={name: (cut.makes[0].axis, len(cut.makes[0].kept)) for name, cut in cuts.items()},
    )
    new = named_layers(result)
    for name, layer in named_layers(model).items():
        if inner_layer(layer).weights:
            weights = _cut_weights(name, layer, cuts.get(name), folding)
            assign_weights(new[name], weights)
            _assign_grids(new[name], layer, cuts.get(name))
    return result


def _assign_grids(new: Any, old: Any, cut: LayerCut | None) -> None:
    """Fixed-point grids of a layer that has them, for the kernel that was assigned."""
    quantizer = quantizer_of(old)
    if quantizer is not None:
        kernel = keras.ops.convert_to_numpy(kernel_variable(new))
        take_state(new, quantizer, kernel, None if cut is None else cut.outputs)


def _smaller(layer: Any, cut: LayerCut | None, *, biased: bool) -> Any:
    """A layer without masks, with the number of channels that stays."""
    inner = inner_layer(layer)
    config = dict(inner.get_config())
    rule = rule_for(layer)
    if rule is not None and cut is not None:
        if rule.size_argument:
            config[rule.size_argument] = len(cut.outputs)
        rule.resize(config, cut)
    if biased:
        config["use_bias"] = True
    smaller, quantizer = inner.__class__.from_config(config), quantizer_of(layer)
    return smaller if quantizer is None else quantized_like(quantizer, smaller)


def _called(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any], cut: LayerCut | None) -> Any:
    if cut is not None:
        args, kwargs = cut_arguments(layer, args, kwargs, cut)
    return layer(*args, **kwargs)


def _cut_weights(name: str, layer: Any, cut: LayerCut | None, folding: Folding) -> list[NDArray[Any]]:
    """The kept part of each weight of a layer, masks and constants folded in."""
    rule = rule_for(layer)
    if rule is None or cut is None:
        return folded_weights(layer)
    grouped = int(getattr(inner_layer(layer), "groups", 1) or 1) > 1
    cut_ones = []
    for weight, value in _folded(name, layer, folding):
        roles = rule.weight_axes.get(weight)
        if roles is None:
            cut_ones.append(_cut_vector(name, weight, value, cut))
            continue
        for axis, role in enumerate(roles):
            if role and not (grouped and role == "in"):  # whole groups go, within them all inputs stay
                value = np.take(value, cut.features(role, value.shape[axis]), axis=axis)
        cut_ones.append(value)
    return cut_ones


def _folded(name: str, layer: Any, folding: Folding) -> list[tuple[str, NDArray[Any]]]:
    """Names and values of a layer's weights, with what dead maps leave in them."""
    rule, added = rule_for(layer), folding.bias.get(name)
    weights = []
    for variable, value in zip(inner_layer(layer).weights, folded_weights(layer), strict=True):
        if rule is not None and variable.name == rule.kernel:
            value = folding.kernels.get(name, value)
        if added is not None and variable.name == "bias":
            value, added = (value + added).astype(value.dtype), None
        weights.append((variable.name, value))
    return weights if added is None else [*weights, ("bias", added.astype(weights[0][1].dtype))]


def _cut_vector(name: str, weight: str, value: NDArray[Any], cut: LayerCut) -> NDArray[Any]:
    """The kept part of a weight with one value an output channel, and maybe one a position too."""
    (made,) = cut.makes
    axis = made.axis - 1 if value.ndim == len(made.shape) - 1 else value.ndim - 1
    if value.ndim == 0 or value.shape[axis] == 1:
        return value
    if value.shape[axis] != cut.output_channels:
        raise ValueError(
            f"Layer '{name}': weight '{weight}' has no axis of one value a channel. Received: shape={value.shape} "
            f"for {cut.output_channels} channels. Name its axes in the layer's rule (register_rule, weight_axes)."
        )
    return np.take(value, cut.outputs, axis=axis)
