"""What a callback was asked to prune, stage by stage, checked."""

import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tf_structprune.allocation import Allocation
from tf_structprune.masks import Demands, check_sparsity, stage_shares
from tf_structprune.schedule import OneShot, Schedule, StepSchedule
from tf_structprune.stages._find_masks import check_allocated

Sparsity = float | Allocation | Mapping[str, float | Allocation] | None
"""What all granularities remove together, or each by name; None where a schedule says it."""


@dataclass(frozen=True)
class Goal:
    """One granularity, the demands on its masks, and the fraction that it removes of the weights it finds, or how
    many units it leaves in each group."""

    demands: Demands
    share: float | Allocation


def goals_of(
    demands: tuple[Demands, ...],
    sparsity: Sparsity,
    present: float,
) -> tuple[Goal, ...]:
    """The goals of a run, one a stage; a plain sparsity counts what is gone when training begins.

    Args:
        demands: the granularities in order.
        sparsity: what was asked for, from `check_sparsities`.
        present: sparsity of the model when training begins.
    """
    granularity = tuple(kind.name for kind in demands)
    if sparsity is None:
        shares: Sequence[float | Allocation] = (1.0,)  # the schedule names every sparsity
    elif isinstance(sparsity, Allocation):
        shares = (sparsity,)
    elif isinstance(sparsity, Mapping):
        shares = [sparsity[kind] for kind in granularity]
    else:
        shares = stage_shares(1 - (1 - max(sparsity, present)) / (1 - present), granularity)
    return tuple(Goal(kind, share) for kind, share in zip(demands, shares, strict=True))


def check_sparsities(sparsity: Sparsity, granularity: tuple[str, ...], schedule: Schedule) -> Sparsity:
    """The sparsity itself, as an own copy.

    Raises:
        ValueError: one that does not fit the granularities and the schedule, or is out of range.
    """
    own = isinstance(schedule, StepSchedule)
    if own != (sparsity is None):
        raise ValueError(
            "sparsity is needed, except with a tfmot schedule, which names its own. Received: "
            f"sparsity={sparsity}, schedule={schedule}. Give exactly one of them."
        )
    if own and len(granularity) != 1:
        raise ValueError(
            f"A tfmot schedule names the sparsity of one granularity. Received: granularity={granularity}. "
            "Use one callback for each granularity."
        )
    if isinstance(sparsity, Mapping):
        if set(sparsity) != set(granularity):
            raise ValueError(
                f"sparsity must name every granularity once. Received: sparsity={dict(sparsity)}, "
                f"granularity={granularity}. Use the same names."
            )
        return {kind: _check_share(value, kind, schedule) for kind, value in sparsity.items()}
    if isinstance(sparsity, Allocation):
        if len(granularity) != 1:
            raise ValueError(
                f"An allocation is for feature maps alone. Received: granularity={granularity}. Give each granularity "
                'its own in a mapping, e.g. sparsity={"feature_map": allocation, "kernel": 0.5}.'
            )
        return _check_share(sparsity, granularity[0], schedule)
    return None if sparsity is None else check_sparsity(sparsity)


def _check_share(share: float | Allocation, granularity: str, schedule: Schedule) -> float | Allocation:
    """What one granularity is to remove."""
    if not isinstance(share, Allocation):
        return check_sparsity(share, f"Granularity '{granularity}': ")
    check_allocated(granularity)
    if not isinstance(schedule, OneShot):
        raise ValueError(
            f"An allocation is reached at once. Received: schedule={schedule}. Use OneShot, or a sparsity for "
            "feature maps."
        )
    return share


def check_whole(name: str, value: Any, least: int) -> int:
    """The value itself, a count such as of epochs.

    Raises:
        ValueError: it is smaller, or not a whole number.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise ValueError(f"{name} must be a whole number. Received: {name}={value!r}. Use e.g. {max(least, 1)}.")
    return int(check_at_least(name, int(value), least))


def check_at_least(name: str, value: float, least: float) -> float:
    """The value itself.

    Raises:
        ValueError: it is smaller, or not a number.
    """
    if not isinstance(value, numbers.Real):
        raise ValueError(f"{name} must be a number. Received: {name}={value!r}. Use e.g. {max(least, 1)}.")
    if not value >= least:
        raise ValueError(f"{name} must be at least {least}. Received: {name}={value}. Use e.g. {max(least, 1)}.")
    return value
