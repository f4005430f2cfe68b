"""What the masks of a stage have to be like."""

from typing import Literal, TypeVar

from absl import logging

from tf_structprune.channels import PrunableGraph
from tf_structprune.masks import (
    Granularity,
    IntraKernelStrided,
    Kernel,
    MaskSet,
    Weight,
    as_granularity,
    lowerable,
    mask_space,
)
from tflite_export.compress._checks import weight_demands
from tflite_export.compress._settings import CompressSettings

_T = TypeVar("_T")


def constrain(
    graph: PrunableGraph,
    granularity: str,
    sparsity: float,
    *,
    share: float,
    base: MaskSet,
    settings: CompressSettings,
) -> Granularity:
    """The granularity with the demands that the settings make of its masks.

    What they leave to "auto" is what `masks.lowerable` says, or nothing where files are not lowered. The
    blocks of kernels are then as few as reach the sparsity, which may be more than the share alone asks
    for: layers without kernels to remove, or with uneven blocks, leave more to the others. Where no blocks
    reach it, kernels go one by one, and a warning says so. Demands that were given are kept to.

    Args:
        graph: the model as it is now.
        granularity: what is pruned.
        sparsity: fraction of the prunable weights that is removed in the end.
        share: fraction that the masks remove of the weights that are there.
        base: the masks that are there.
        settings: what was asked for.
    """
    auto = lowerable(granularity, share) if settings.lower == "auto" else as_granularity(granularity)
    if isinstance(auto, Weight):
        return weight_demands(settings.weights)
    if isinstance(auto, IntraKernelStrided):
        return IntraKernelStrided(_given(settings.strides, auto.strides), _given(settings.patterns, auto.patterns))
    if not isinstance(auto, Kernel):
        return auto
    groups = _given(settings.kernel_groups, auto.groups)
    if settings.kernel_groups == "auto" and groups is not None:
        return Kernel(_reaching(graph, sparsity, groups, base))
    return Kernel(groups)


def _given(setting: _T | Literal["auto", "any"], auto: _T | None) -> _T | None:
    """The demand, None for none."""
    if setting == "auto":
        return auto
    return None if setting == "any" else setting


def _reaching(graph: PrunableGraph, sparsity: float, groups: int, base: MaskSet) -> int | None:
    """That many groups of kernels, or as many times twice as many as reach the sparsity; None if none do."""
    widest = max((max(layer.inputs, layer.outputs) for layer in graph.prunable_layers), default=0)
    tried = groups
    while tried <= widest:
        try:
            mask_space(graph, Kernel(tried), sparsity, base=base)
        except ValueError:  # out of reach
            tried *= 2
        else:
            return tried
    logging.warning(
        "Kernels go one by one: no blocks of them remove %.1f %% of the prunable weights in all. Such masks leave "
        "most layers as slow as they were; a lower sparsity, or feature maps first, leaves room for blocks.",
        100 * sparsity,
    )
    return None
