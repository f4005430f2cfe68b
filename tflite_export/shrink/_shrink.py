"""Rebuild a masked model without its removed channels."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.graph import LayerCut, PrunableGraph, cut_arguments, inner_layer, named_layers, rule_for, trace
from tf_structprune.layers import clone, folded_weights, get_masks
from tf_structprune.masks import MaskSet
from tflite_export.shrink._fold import Folding, fold_dead_maps
from tflite_export.shrink._plan import ShrinkPlan, plan_shrink


@dataclass(frozen=True)
class ShrunkModel:
    """A smaller model and what is left of its masks.

    Attributes:
        model: a plain Keras model without the removed channels; weights that kernel and
            intra-kernel masks remove are zero in it.
        masks: kernel and intra-kernel masks in the channel order of `model`, for layers where they
            remove something.
        plan: the channels that were kept.
    """

    model: keras.Model
    masks: MaskSet
    plan: ShrinkPlan


def shrink(masked: keras.Model) -> ShrunkModel:
    """Take the removed channels out of a masked model.

    The result gives the outputs of the masked model, because a removed channel is masked on both
    sides: nothing that reads it sees it. Maps that kernel masks have killed, because nothing reads
    them or they read nothing, are taken out too; the constant that such a map leaves is folded into
    its readers, which may get a bias for it. The masked model is not changed. Layer names, nested
    models, dtype policies, regularizers, constraints and the compile configuration (with a fresh
    optimizer) are kept.

    Args:
        masked: a model from `tf_structprune.wrap`.

    Raises:
        ValueError: a model without masks, or a weight whose shape the layer's rule does not explain.
    """
    graph = trace(masked)
    masks = get_masks(masked, graph=graph)
    folding = fold_dead_maps(masked, graph, masks)
    plan = plan_shrink(graph, masks, folding.removed)
    model = clone(
        masked,
        lambda name, layer: _smaller(layer, plan.cuts.get(name), biased=name in folding.bias),
        call=lambda name, layer, args, kwargs: _called(layer, args, kwargs, plan.cuts.get(name)),
        input_shapes={name: cut.makes[0].new_shape for name, cut in plan.cuts.items() if cut.makes},
    )
    new = named_layers(model)
    for name, layer in named_layers(masked).items():
        if inner_layer(layer).weights:
            new[name].set_weights(_cut_weights(name, layer, plan.cuts.get(name), folding))
    return ShrunkModel(model, _left_over(graph, masks, plan, folding), plan)


def _smaller(layer: Any, cut: LayerCut | None, *, biased: bool) -> Any:
    """A plain layer with the number of channels that stays."""
    inner = inner_layer(layer)
    config = dict(inner.get_config())
    rule = rule_for(layer)
    if rule is not None and cut is not None:
        if rule.size_argument:
            config[rule.size_argument] = len(cut.outputs)
        rule.resize(config, cut)
    if biased:
        config["use_bias"] = True
    return inner.__class__.from_config(config)


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


def _left_over(graph: PrunableGraph, masks: MaskSet, plan: ShrinkPlan, folding: Folding) -> MaskSet:
    kernel = {}
    for name, mask in masks.kernel.items():
        mask = mask.copy()
        for kept, gone in folding.merged.get(name, ()):
            mask[kept] |= mask[gone]
        mask = mask[:, plan.cuts[name].outputs]
        kernel[name] = mask[plan.cuts[name].inputs] if graph.layer(name).groups == 1 else mask
    patterns = {}
    for name, pattern in masks.intra_kernel.items():
        pattern = pattern.copy()
        pattern[[kept for kept, _ in folding.merged.get(name, ())]] = (1, 0)
        patterns[name] = pattern[plan.cuts[name].inputs]
    return MaskSet(
        kernel={name: mask for name, mask in kernel.items() if not mask.all()},
        intra_kernel={name: p for name, p in patterns.items() if (p != np.array([1, 0])).any()},
    )
