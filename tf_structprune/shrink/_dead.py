"""Maps that kernel masks have killed: nothing reads them, or they read nothing and are constant."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from tf_structprune.channels import Group, PrunableGraph
from tf_structprune.masks import LayerMasks

Units = NDArray[np.bool_]  # which units, shape (graph.unit_count,)


def unread_units(graph: PrunableGraph, masks: Mapping[str, LayerMasks], keep: Units, fixed: Units) -> Units:
    """Prunable units that influence no unit but others of the kind.

    The largest such set: all that are free are taken for unread until a kernel is found by which
    one reaches a unit that is read.

    Args:
        graph: the traced model.
        masks: the masks of each layer, by name.
        keep: units that are there.
        fixed: units that may not go for other reasons.
    """

    def read(unread: Units) -> Units:
        reached = np.zeros_like(unread)
        for name, layer in masks.items():
            channels = graph.channels[name]
            rows = layer.input_of_kernel[_alive(layer) & ~unread[channels.outputs][None, :]]
            reached[channels.inputs[rows]] = True
        return reached

    return _largest_without(read, _free(graph) & keep & ~fixed)


def constant_units(graph: PrunableGraph, masks: Mapping[str, LayerMasks], keep: Units, fixed: Units) -> Units:
    """Prunable units whose maps are the same for every input: no kernel reaches them but from others of the kind.

    By induction along the model, for the largest such set: a map of which every kernel reads a constant
    map is constant.

    Args:
        graph: the traced model.
        masks: the masks of each layer, by name.
        keep: units that are there.
        fixed: units that may not go for other reasons.
    """

    def fed(constant: Units) -> Units:
        reached = np.zeros_like(constant)
        for name, layer in masks.items():
            channels = graph.channels[name]
            live = _alive(layer) & ~constant[channels.inputs][layer.input_of_kernel]
            reached[channels.outputs[live.any(axis=0)]] = True
        return reached

    return _largest_without(fed, _free(graph) & keep & ~fixed)


def _largest_without(reached: Callable[[Units], Units], units: Units) -> Units:
    """The largest subset of the units of which none is reached from outside of it."""
    while (lost := reached(units) & units).any():
        units = units & ~lost
    return units


def gated_units(graph: PrunableGraph) -> Units:
    """Units that meet another tensor without going together with it: one channel that is broadcast over them.

    Such a gate varies with the input, so what passes it does, whatever kernels reach it.
    """
    gated = np.zeros(graph.unit_count, np.bool_)
    for channels in graph.channels.values():
        widths = [len(read.units) for read in channels.reads]
        if len(widths) > 1 and min(widths) == 1 < max(widths) == len(channels.outputs):  # not a concatenation
            gated[channels.outputs] = True
    return gated


def within_limits(graph: PrunableGraph, dead: Units, keep: Units) -> Units:
    """Those of the dead units that can go while every group keeps to its limits and to one unit at least."""
    going = np.zeros_like(dead)
    for group in graph.prunable_groups:
        mine = group.units[dead[group.units]]
        present = int(keep[group.units].sum())
        going[mine[: most_removed(group, present, len(mine))]] = True
    return going


def most_removed(group: Group, present: int, dead: int) -> int:
    """How many of so many dead units may go when so many units are present."""
    for removed in range(min(dead, present - 1), 0, -1):
        channels = (present - removed) * group.unit_channels
        if channels % group.round_to == 0 and channels >= group.min_channels:
            return removed
    return 0


def _free(graph: PrunableGraph) -> Units:
    free = np.zeros(graph.unit_count, np.bool_)
    for group in graph.prunable_groups:
        free[group.units] = True
    return free


def _alive(layer: LayerMasks) -> NDArray[np.bool_]:
    """Kernels with a weight left, shape (group inputs, outputs)."""
    alive: NDArray[np.bool_] = layer.alive & (layer.kernel_weights > 0)
    return alive
