"""Several budgets at once: what each costs, whole and with some units, and how much of it is used up."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tf_structprune.allocation._budget import MEASURED, Budget
from tf_structprune.allocation._choices import meets
from tf_structprune.allocation._cost import Cost
from tf_structprune.channels import PrunableGraph

CostFunction = Callable[[Mapping[str, int]], float]
"""A measured cost, from the units that each prunable group keeps, by name."""


class OutOfReachError(ValueError):
    """A budget that the fewest units do not meet."""


@dataclass(frozen=True)
class Limit:
    """A budget and how its cost is found out.

    Attributes:
        budget: what the network may cost.
        estimate: its cost at once: exact where the budget is counted, near where it is measured. A `CountedCost` of
            a measured budget, say MACs by layer for a latency, tells the parts of it, whose prices are fitted.
        measure: the measured cost, for the kinds that are measured only.
        why: what decides the cost of some units, in a sentence; None where there is nothing to say.
    """

    budget: Budget
    estimate: Cost
    measure: CostFunction | None = None
    why: Callable[[Mapping[str, int]], str] | None = None

    def __post_init__(self) -> None:
        if (self.budget.kind in MEASURED) != (self.measure is not None):
            maker = "latency_cost(masked)" if self.budget.kind == "latency" else "file_costs(masked, ...)"
            raise ValueError(
                f"A cost function measures {', '.join(MEASURED)}, and nothing else. Received: "
                f"kind={self.budget.kind!r} {'without' if self.measure is None else 'with'} cost. Use "
                f"cost=tflite_export.{maker} with Budget('{self.budget.kind}', ...)."
            )


@dataclass(frozen=True)
class Bound:
    """A limit of one network.

    Attributes:
        limit: the budget and its cost.
        sizes: units of each prunable group, by name.
        known: costs that were found out, by kept units: a second measurement would not be the same.
    """

    limit: Limit
    sizes: Mapping[str, int]
    known: dict[tuple[int, ...], float] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, limit: Limit, graph: PrunableGraph) -> "Bound":
        """A limit of the network of a graph."""
        return cls(limit, {group.name: group.size for group in graph.prunable_groups})

    def cost(self, kept: Sequence[int] | NDArray[np.int64]) -> float:
        """Cost of the units that stay, in the order of the graph; measured if the budget is."""
        key = tuple(int(count) for count in kept)
        if key not in self.known:
            if self.limit.measure is None:
                self.known[key] = float(self.limit.estimate(np.array(key, np.int64)))
            else:
                self.known[key] = _checked(float(self.limit.measure(dict(zip(self.sizes, key, strict=True)))))
        return self.known[key]

    @property
    def whole(self) -> float:
        """Cost without masks."""
        return self.cost(tuple(self.sizes.values()))

    @property
    def most(self) -> float:
        """Largest cost."""
        return self.limit.budget.most(self.whole)

    @property
    def scaled_most(self) -> float:
        """Largest cost, in what the estimate counts."""
        if not self.measured:
            return self.most
        return self.most / self.whole * float(self.limit.estimate(np.array(list(self.sizes.values()), np.int64)))

    @property
    def measured(self) -> bool:
        """Whether the cost is measured."""
        return self.limit.measure is not None

    def fits(self, kept: Sequence[int] | NDArray[np.int64]) -> bool:
        """Whether units are within the limit."""
        return bool(meets(self.cost(kept), self.most))

    def check_reach(self, least: Sequence[int] | NDArray[np.int64]) -> None:
        """Refuse a budget that the fewest units do not meet.

        Args:
            least: the fewest units that each group may keep.

        Raises:
            OutOfReachError: they cost too much; names the least that is possible.
        """
        if self.fits(least):
            return
        budget, cost = self.limit.budget, self.cost(least)
        kept = dict(zip(self.sizes, (int(count) for count in least), strict=True))
        why = "" if self.limit.why is None else f" {self.limit.why(kept)}"
        if budget.limit is None:
            asked, possible = f"fraction={budget.fraction:g}", f"{math.ceil(1e4 * cost / self.whole) / 1e4:.4f}"
        else:
            asked, possible = f"at most {budget.asked}", budget.text(math.ceil(cost))
        raise OutOfReachError(
            f"Budget '{budget.kind}': removing feature maps does not make the network that cheap. Received: {asked}."
            f"{why} Use at least {possible}, or smaller min_channels."
        )


def _checked(cost: float) -> float:
    if not 0 < cost < np.inf:  # also refuses NaN
        raise ValueError(f"A measured cost must be positive and finite. Received: {cost}. Check the cost function.")
    return cost


@dataclass(frozen=True)
class ShareCost:
    """Of several limits the largest share that is used up: 1 is where the first of them is reached.

    Attributes:
        costs: of the limits.
        most: largest cost of each.
    """

    costs: tuple[Cost, ...]
    most: tuple[float, ...]

    @classmethod
    def of(cls, bounds: Sequence[Bound], estimates: Sequence[Cost]) -> "ShareCost":
        """The shares of some bounds, by estimates.

        What the estimate of a limit itself gives for the whole network is taken for what was measured of it.
        """
        most = (
            bound.scaled_most if estimate is bound.limit.estimate else bound.most
            for bound, estimate in zip(bounds, estimates, strict=True)
        )
        return cls(tuple(estimates), tuple(most))

    @classmethod
    def near(cls, bounds: Sequence[Bound], estimates: Sequence[Cost], kept: NDArray[np.int64]) -> "ShareCost":
        """The shares of some bounds by estimates that are set right by the cost, measured where it is, of some units.

        Args:
            bounds: what the network may cost.
            estimates: one for each.
            kept: units by prunable group, shape (groups,), near which the shares will be asked for.
        """
        right = (
            bound.most * float(estimate(kept)) / bound.cost(kept)
            for bound, estimate in zip(bounds, estimates, strict=True)
        )
        return cls(tuple(estimates), tuple(right))

    def __call__(self, kept: NDArray[np.int64]) -> NDArray[np.float64]:
        """The largest share, shape (...), of kept units by prunable group, shape (..., groups)."""
        shares = [np.asarray(cost(kept)) / most for cost, most in zip(self.costs, self.most, strict=True)]
        return np.asarray(np.max(shares, axis=0), np.float64)
