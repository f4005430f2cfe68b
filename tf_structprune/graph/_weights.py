"""How the weights of a model shrink with its channels."""

import math
from typing import Any

import keras

from tf_structprune.channels import Channels, PrunableGraph, WeightShape
from tf_structprune.graph._calls import named_layers
from tf_structprune.graph._lookup import rule_for
from tf_structprune.graph._rules import LayerRule, core_layer, inner_layer, vector_axis


def weight_shapes(model: keras.Model, graph: PrunableGraph) -> tuple[WeightShape, ...]:
    """How every weight of a model follows the maps of its layer; masks are no weights.

    Args:
        model: the traced model, masked or not.
        graph: its graph.
    """
    return tuple(
        _weight_shape(name, layer, weight, graph.channels.get(name))
        for name, layer in named_layers(model).items()
        for weight in getattr(inner_layer(layer), "weights", ())
    )


def _weight_shape(name: str, layer: Any, weight: Any, channels: Channels | None) -> WeightShape:
    shape, rule = tuple(int(size) for size in weight.shape), rule_for(layer)
    by_input = by_output = False
    if rule is not None and channels is not None:
        by_input, by_output = _followed(layer, rule, weight.name, shape, channels)
    divisor = 1
    if channels is not None:
        divisor = (len(channels.inputs) if by_input else 1) * (len(channels.outputs) if by_output else 1)
    return WeightShape(name, math.prod(shape) // divisor, by_input, by_output)


def _followed(
    layer: Any, rule: LayerRule, weight: str, shape: tuple[int, ...], channels: Channels
) -> tuple[bool, bool]:
    """Whether a weight has an axis of input maps and one of output maps, as far as they are cut."""
    roles = rule.weight_axes.get(weight)
    if roles is not None:
        grouped = int(getattr(core_layer(layer), "groups", 1) or 1) > 1
        return "in" in roles and not grouped, "out" in roles
    axis = vector_axis(layer, len(shape), channels.makes[0])
    return False, bool(shape) and shape[axis] == len(channels.outputs) > 1
