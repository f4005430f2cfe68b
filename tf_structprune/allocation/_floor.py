"""The least share of its units that each group keeps, as far as the budgets allow."""

from collections.abc import Sequence

from tf_structprune.allocation._choices import Choices
from tf_structprune.allocation._limits import Bound
from tf_structprune.channels import PrunableGraph
from tf_structprune.masks import MaskSet

FLOOR = 0.25
"""Share of its units that each group keeps by default: what is left of a layer that is all but gone makes up for
little, and no retraining widens it again."""


def check_floor(floor: float) -> float:
    """The floor itself.

    Raises:
        ValueError: it is out of its range.
    """
    if not 0 <= floor < 1:  # also refuses NaN
        raise ValueError(
            f"floor must be in [0, 1). Received: floor={floor}. It is the share of its units that each group keeps; "
            f"use e.g. {FLOOR}, or 0 for none."
        )
    return floor


def choices_above(floor: float, graph: PrunableGraph, base: MaskSet, bounds: Sequence[Bound]) -> tuple[Choices, float]:
    """What the groups may keep, and the floor that is kept to: halved until the budgets are in reach, 0 at last.

    Args:
        floor: what was asked for, in [0, 1).
        graph: the traced model.
        base: masks that are there.
        bounds: the budgets.

    Raises:
        OutOfReachError: the budgets are not met by the fewest units either.
        ValueError: a floor out of its range, or no group that may be pruned.
    """
    free, share = Choices.of(graph, base), check_floor(floor)
    while share * max(group.size for group in graph.prunable_groups) > 1:  # else it is one unit, which stays anyway
        choices = Choices.of(graph, base, floor=share)
        if all(bound.fits(choices.kept(choices.most)) for bound in bounds):
            return choices, share
        share /= 2
    for bound in bounds:
        bound.check_reach(free.kept(free.most))
    return free, share if share == floor else 0.0


def told_floor(asked: float, kept: float) -> str:
    """That a floor gave way, in one line for people."""
    instead = f"{100 * kept:.3g} % is" if kept else "none is"
    return f"The budget is not met where every group keeps {100 * asked:.3g} % of its units: {instead} the floor here."
