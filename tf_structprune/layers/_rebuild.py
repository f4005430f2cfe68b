"""A model of other layers: each cut to the channels that stay, in their new order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.channels import LayerCut
from tf_structprune.graph import (
    core_layer,
    cut_arguments,
    inner_layer,
    kernel_variable,
    named_layers,
    rule_for,
    step_axes,
    vector_axis,
)
from tf_structprune.layers._clone import clone
from tf_structprune.layers._copy import copy_core, copy_layer
from tf_structprune.layers._quantized_layer import quantized_like, quantizer_of, take_state
from tf_structprune.layers._weights import assign_weights, folded_weights

NamedWeight = tuple[str, NDArray[Any]]


@dataclass(frozen=True)
class FoldedIn:
    """What goes into the weights of some layers before they are cut.

    Attributes:
        bias: by layer, what is added to its bias, which it gets if it has none, shape (outputs,).
        kernels: by layer, the kernel that takes the place of the old one, shape as Keras holds it.
    """

    bias: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    kernels: Mapping[str, NDArray[Any]] = field(default_factory=dict)


def rebuild(model: keras.Model, cuts: Mapping[str, LayerCut], folded: FoldedIn | None = None) -> keras.Model:
    """A plain copy of a model, masked or not, with each layer cut.

    Args:
        model: the model; it is not changed.
        cuts: what stays of each layer, by name, and in which order; other layers stay as they are.
        folded: what goes into the weights before.

    Raises:
        ValueError: a weight whose shape the layer's rule does not explain.
    """
    folded = FoldedIn() if folded is None else folded
    result = clone(
        model,
        lambda name, layer: _smaller(layer, cuts.get(name), biased=name in folded.bias),
        call=lambda name, layer, args, kwargs: _called(layer, args, kwargs, cuts.get(name)),
        input_channels={name: (cut.makes[0].axis, len(cut.makes[0].kept)) for name, cut in cuts.items()},
    )
    new = named_layers(result)
    for name, layer in named_layers(model).items():
        if inner_layer(layer).weights:
            assign_cut(new[name], name, layer, cuts.get(name), _with_folded(name, layer, folded))
    return result


def _smaller(layer: Any, cut: LayerCut | None, *, biased: bool) -> Any:
    """A layer without masks, with the number of channels that stays."""
    inner, rule, quantizer = inner_layer(layer), rule_for(layer), quantizer_of(layer)

    def change(config: dict[str, Any]) -> None:
        if rule is not None and cut is not None:
            if rule.size_argument:
                config[rule.size_argument] = len(cut.outputs)
            rule.resize(config, cut.without_steps(step_axes(layer)))
        if biased:
            config["use_bias"] = True

    smaller = copy_layer(inner) if cut is None else copy_core(inner, change)
    return smaller if quantizer is None else quantized_like(quantizer, smaller)


def _called(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any], cut: LayerCut | None) -> Any:
    if cut is not None:
        args, kwargs = cut_arguments(layer, args, kwargs, cut)
    return layer(*args, **kwargs)


def assign_cut(new: Any, name: str, layer: Any, cut: LayerCut | None, weights: Sequence[NamedWeight]) -> None:
    """Give a layer of a rebuilt model the part of some weights that stays, and fixed-point grids for them.

    Args:
        new: layer of a model from `rebuild`, with as many channels as `cut` leaves.
        name: path of the layer.
        layer: the layer that it was made of.
        cut: what stays of it.
        weights: weights of that layer, uncut, as `folded_weights` gives them.

    Raises:
        ValueError: a weight whose shape the layer's rule does not explain.
    """
    assign_weights(new, [_cut_weight(name, layer, cut, weight) for weight in weights])
    quantizer = quantizer_of(layer)
    if quantizer is not None:
        kernel = keras.ops.convert_to_numpy(kernel_variable(new))
        take_state(new, quantizer, kernel, None if cut is None else cut.outputs)


def named_weights(layer: Any) -> list[NamedWeight]:
    """Names and values of the weights of the layer inside the wrappers, masks folded in."""
    return [(v.name, value) for v, value in zip(inner_layer(layer).weights, folded_weights(layer), strict=True)]


def _cut_weight(name: str, layer: Any, cut: LayerCut | None, weight: NamedWeight) -> NDArray[Any]:
    """The kept part of a weight of a layer."""
    (kind, value), rule = weight, rule_for(layer)
    if rule is None or cut is None:
        return value
    roles = rule.weight_axes.get(kind)
    if roles is None:
        return _cut_vector(name, kind, value, cut, vector_axis(layer, value.ndim, cut.makes[0]))
    grouped = int(getattr(core_layer(layer), "groups", 1) or 1) > 1
    for axis, role in enumerate(roles):
        if role and not (grouped and role == "in"):  # whole groups go, within them all inputs stay
            value = np.take(value, cut.features(role, value.shape[axis]), axis=axis)
    return value


def _with_folded(name: str, layer: Any, folded: FoldedIn) -> list[NamedWeight]:
    """Names and values of a layer's weights, with what is folded into them."""
    rule, added = rule_for(layer), folded.bias.get(name)
    weights = []
    for kind, value in named_weights(layer):
        if rule is not None and kind == rule.kernel:
            value = folded.kernels.get(name, value)
        if added is not None and kind == "bias":
            value, added = (value + added).astype(value.dtype), None
        weights.append((kind, value))
    return weights if added is None else [*weights, ("bias", added.astype(weights[0][1].dtype))]


def _cut_vector(name: str, weight: str, value: NDArray[Any], cut: LayerCut, axis: int) -> NDArray[Any]:
    """The kept part of a weight with one value an output channel, and maybe one a position too."""
    if value.ndim == 0 or value.shape[axis] == 1:
        return value
    if value.shape[axis] != cut.output_channels:
        raise ValueError(
            f"Layer '{name}': weight '{weight}' has no axis of one value a channel. Received: shape={value.shape} "
            f"for {cut.output_channels} channels. Name its axes in the layer's rule (register_rule, weight_axes)."
        )
    return np.take(value, cut.outputs, axis=axis)
