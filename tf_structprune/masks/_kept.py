"""Feature map masks that keep so many units of each group."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tf_structprune.channels import Group, PrunableGraph
from tf_structprune.masks._counting import unit_mask
from tf_structprune.masks._mask_set import FEATURE_MAP, MaskSet
from tf_structprune.masks._spaces import SubsetSpace
from tf_structprune.masks._subsets import counted


def unit_counts(group: Group, alive: int) -> NDArray[np.int64]:
    """Numbers of units that a group may keep of those that are alive, from all of them down, shape (counts,)."""
    fewer = np.arange(alive - 1, 0, -1)
    channels = fewer * group.unit_channels
    allowed = (channels % group.round_to == 0) & (channels >= group.min_channels)
    return np.concatenate([[alive], fewer[allowed]])


def kept_space(graph: PrunableGraph, kept: Mapping[str, int], *, base: MaskSet | None = None) -> SubsetSpace:
    """All feature map masks that keep exactly so many units of each group, on top of the masks that are there.

    Args:
        graph: the traced model.
        kept: number of units that stay, by group name; other groups keep what they have.
        base: masks that are there already; none by default.

    Raises:
        ValueError: an unknown group, one that may not be pruned, or a number that it cannot or may not keep.
    """
    base = MaskSet() if base is None else base
    unit_keep = unit_mask(graph, base)
    groups = {group.name: group for group in graph.prunable_groups}
    _check_names(graph, kept)
    blocks = {}
    for name, group in groups.items():
        alive = unit_keep[group.units]
        count = kept.get(name, int(alive.sum()))
        _check_count(group, int(alive.sum()), count)
        blocks[name] = counted(alive, int(count))
    return SubsetSpace(FEATURE_MAP, base, blocks)


def _check_names(graph: PrunableGraph, kept: Mapping[str, int]) -> None:
    known = [group.name for group in graph.prunable_groups]
    for name in kept:
        if name not in known:
            raise ValueError(
                f"Model '{graph.model_name}' has no channel group of that name that may be pruned. Received: "
                f"group={name!r}. Use one of: {', '.join(known) or 'none'}."
            )


def _check_count(group: Group, alive: int, count: int) -> None:
    if isinstance(count, bool) or not isinstance(count, int | np.integer):
        raise ValueError(f"Group '{group.name}': keeps a whole number of units. Received: {count!r}. Use e.g. {alive}.")
    allowed = unit_counts(group, alive)
    if count not in allowed:
        raise ValueError(
            f"Group '{group.name}': cannot keep that many of its {alive} units. Received: {count}. Use 1 to {alive}"
            f"{_limits(group)}, e.g. {int(allowed[np.abs(allowed - count).argmin()])}."
        )


def _limits(group: Group) -> str:
    """The demands on a group's channels in words, "" without any."""
    demands = [
        *([f"channels that are a multiple of {group.round_to}"] if group.round_to > 1 else []),
        *([f"at least {group.min_channels} channels"] if group.min_channels > 1 else []),
    ]
    return f", with {' and '.join(demands)}" if demands else ""
