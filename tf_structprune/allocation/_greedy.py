"""The greedy path: take from the group that loses least of the score for the gain in cost, step by step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tf_structprune.allocation._choices import Choices, Steps, meets
from tf_structprune.allocation._cost import Cost

_LEAST_GAIN = 1e-12  # of the whole cost: a step that gains nothing is taken last, but not divided by zero
_LEAST_SHARE = 0.02  # of the score: what is below is lost, and how far below is noise


@dataclass(frozen=True)
class Sensitivity:
    """How much of the score is lost when one group alone loses units.

    An error rate ends at that of guessing, so rises of the error do not add up: a second group has nothing left to
    spoil where the first has spoiled all, and taking all from one group would look cheap. Shares of the score that
    are left multiply better: with the worst score that was measured as 0 and that of the whole model as 1, a group
    that leaves 0.8 of it and one that leaves 0.5 leave 0.4 together. Their logarithms add up.

    Attributes:
        losses: for each group and each number of its steps -log(share left), 0 for no loss: the largest convex
            curve below what was measured, so that it never falls and a group's next step is never cheaper.
    """

    losses: tuple[NDArray[np.float64], ...]

    @classmethod
    def of(cls, choices: Choices, score: float, scores: Sequence[Mapping[int, float]]) -> Self:
        """The sensitivity from scores at some steps of each group.

        Args:
            choices: what the groups may keep.
            score: of the model with all units, higher is better.
            scores: for each group, the score by the number of steps that it alone went down, all of them
                included. A gain counts as no loss.
        """
        rises = [np.maximum(0.0, score - np.array(list(row.values()), np.float64)) for row in scores]
        finite = [rise for row in rises for rise in row.tolist() if np.isfinite(rise)]
        worst = max(finite, default=0.0) or 1.0
        losses = []
        for counts, row, rise in zip(choices.counts, scores, rises, strict=True):
            share = np.maximum(_LEAST_SHARE, 1 - rise / worst)
            removed = counts[0] - counts
            losses.append(_convex(removed, removed[list(row)], -np.log(share)))
        return cls(tuple(losses))

    def between(self, low: Steps, high: Steps) -> NDArray[np.float64]:
        """What each group loses from some steps to others, shape (groups,)."""
        return np.array([loss[b] - loss[a] for loss, a, b in zip(self.losses, low, high, strict=True)])


def _convex(removed: NDArray[np.int64], places: NDArray[np.int64], losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """The largest convex curve through (0, 0) below the points, at the units removed."""
    hull = [(0.0, 0.0)]
    for point in sorted(zip(places.astype(float).tolist(), losses.tolist(), strict=True)):
        while len(hull) > 1 and _turns_right(hull[-2], hull[-1], point):
            hull.pop()
        hull.append(point)
    x, y = zip(*hull, strict=True)
    return np.asarray(np.interp(removed, x, y), np.float64)


def _turns_right(first: tuple[float, float], middle: tuple[float, float], last: tuple[float, float]) -> bool:
    """Whether the middle point lies on or above the line between the others."""
    return (middle[1] - first[1]) * (last[0] - first[0]) >= (last[1] - first[1]) * (middle[0] - first[0])


def greedy_path(choices: Choices, cost: Cost, sensitivity: Sensitivity, *, limit: float = -np.inf) -> NDArray[np.int64]:
    """The groups that go down a step, one after the other, until the limit is met or all are at their last.

    The next is the group that loses least of the score for its gain in cost; among equals, say several that lose
    nothing, the one that has lost the least share of its units.

    Args:
        choices: what the groups may keep.
        cost: what they cost.
        sensitivity: what they lose.
        limit: largest cost; by default the path goes to the end.
    """
    steps = np.zeros(len(choices.names), np.int64)
    path: list[int] = []
    whole = float(cost(choices.kept(steps)))
    while (steps < choices.most).any() and not meets(cost(choices.kept(steps)), limit):
        rates = _step_rates(choices, steps, cost, sensitivity, whole)
        path.append(int(np.lexsort((_lost_share(choices, steps), rates))[0]))
        steps[path[-1]] += 1
    return np.array(path, np.int64)


def _step_rates(
    choices: Choices, steps: Steps, cost: Cost, sensitivity: Sensitivity, whole: float
) -> NDArray[np.float64]:
    """Loss for the gain in cost of each group's next step, infinite behind the last, shape (groups,)."""
    down = np.minimum(steps + 1, choices.most)
    alone = np.where(np.eye(len(steps), dtype=bool), down, steps)
    gain = cost(choices.kept(steps)) - cost(choices.kept(alone))
    rates = sensitivity.between(steps, down) / np.maximum(gain, _LEAST_GAIN * whole)
    return np.asarray(np.where(steps < choices.most, rates, np.inf), np.float64)


def _lost_share(choices: Choices, steps: Steps) -> NDArray[np.float64]:
    first = np.array([counts[0] for counts in choices.counts])
    return np.asarray(1 - choices.kept(steps) / np.maximum(first, 1), np.float64)
