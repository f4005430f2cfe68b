"""Rebuild a masked model without its removed channels."""

from dataclasses import dataclass

import keras
import numpy as np

from tf_structprune.channels import PrunableGraph
from tf_structprune.graph import trace
from tf_structprune.layers import get_masks, rebuild
from tf_structprune.masks import MaskSet
from tf_structprune.shrink._fold import Folding, fold_dead_maps
from tf_structprune.shrink._plan import ShrinkPlan, plan_shrink


@dataclass(frozen=True, repr=False)
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

    def __repr__(self) -> str:
        masked = len(self.masks.to_arrays())
        return f"ShrunkModel('{self.model.name}', {self.model.count_params():,} parameters, {masked} masks left)"


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
    model = rebuild(masked, plan.cuts, folding.folded)
    return ShrunkModel(model, _left_over(graph, masks, plan, folding), plan)


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
    weights = {}
    for name, mask in masks.weight.items():
        mask = mask.copy()
        for kept, gone in folding.merged.get(name, ()):
            mask[:, kept] |= mask[:, gone]
        mask = mask[:, :, plan.cuts[name].outputs]
        weights[name] = mask[:, plan.cuts[name].inputs] if graph.layer(name).groups == 1 else mask
    return MaskSet(
        kernel={name: mask for name, mask in kernel.items() if not mask.all()},
        intra_kernel={name: p for name, p in patterns.items() if (p != np.array([1, 0])).any()},
        weight={name: mask for name, mask in weights.items() if not mask.all()},
    )
