"""Rebuild a masked model without its removed channels."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.graph import Flow, inner_layer, rule_for, trace
from tf_structprune.layers import folded_weights, get_masks
from tf_structprune.masks import MaskSet
from tflite_export.shrink._plan import LayerCut, ShrinkPlan, plan_shrink


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
    sides: nothing that reads it sees it. The masked model is not changed. Layer names, dtype
    policies and the compile configuration (with a fresh optimizer) are kept.

    Args:
        masked: a model from `tf_structprune.wrap`.

    Raises:
        ValueError: a model without masks.
    """
    masks = get_masks(masked)
    plan = plan_shrink(trace(masked), masks)

    def smaller(layer: keras.layers.Layer) -> keras.layers.Layer:
        inner = inner_layer(layer)
        config = dict(inner.get_config())
        rule = rule_for(layer)
        if rule is not None and rule.size_argument and layer.name in plan.cuts:
            config[rule.size_argument] = len(plan.cuts[layer.name].outputs)
        return inner.__class__.from_config(config)

    model = keras.models.clone_model(masked, clone_function=smaller)
    for layer in masked.layers:
        if layer.weights:
            cut = plan.cuts.get(layer.name)
            weights = folded_weights(layer)
            model.get_layer(layer.name).set_weights(weights if cut is None else _cut_weights(layer, weights, cut))
    return ShrunkModel(model, _left_over(masks, plan), plan)


def _cut_weights(layer: Any, weights: list[NDArray[Any]], cut: LayerCut) -> list[NDArray[Any]]:
    """The kept part of each weight, by the axes of the layer's rule."""
    rule = rule_for(layer)
    if rule is None or not weights:
        return weights
    if rule.flow is not Flow.PRODUCE:
        return [vector[cut.features("in")] for vector in weights]
    kernel = weights[0]
    for axis, role in enumerate(rule.kernel_axes):
        if role:
            kernel = np.take(kernel, cut.features(role), axis=axis)
    return [kernel, *(vector[cut.outputs] for vector in weights[1:])]


def _left_over(masks: MaskSet, plan: ShrinkPlan) -> MaskSet:
    kernel = {
        name: mask[np.ix_(plan.cuts[name].inputs, plan.cuts[name].outputs)] for name, mask in masks.kernel.items()
    }
    patterns = {name: pattern[plan.cuts[name].inputs] for name, pattern in masks.intra_kernel.items()}
    return MaskSet(
        kernel={name: mask for name, mask in kernel.items() if not mask.all()},
        intra_kernel={name: p for name, p in patterns.items() if (p != np.array([1, 0])).any()},
    )
