"""The result: how many units each group keeps, and what that costs."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from tf_structprune.allocation._budget import Budget
from tf_structprune.channels import PrunableGraph
from tf_structprune.search import Metric


@dataclass(frozen=True)
class Spent:
    """What a budget allowed and what was used of it.

    Attributes:
        budget: what was asked for.
        before: cost of the model without masks, in what the budget counts.
        after: cost with the units that stay; as measured where it is measured.
    """

    budget: Budget
    before: float
    after: float

    def __str__(self) -> str:
        before, after = (self.budget.text(cost) for cost in (self.before, self.after))
        joint = "," if self.budget.fraction is None else " of"
        return f"{before} -> {after}, {100 * self.after / self.before:.1f} %{joint} at most {self.budget.asked}"


@dataclass(frozen=True)
class Allocation:
    """How many units each prunable group keeps.

    Attributes:
        kept: units that stay, by group name; a unit is one channel, or several that only go together.
        units: units that the group has in all, by group name.
        budget: what was asked for, the first of several.
        cost_before: cost of the model without masks, in what the budget counts, microseconds for a latency.
        cost_after: cost with these units; as measured where it is measured.
        method: how it was found: "uniform", "greedy", "evolutionary" or "least_squares".
        score: score of the masks by importance with these units, before retraining; higher is better.
        score_before: score of the model with the masks that it had.
        metric: how the scores are told.
        others: what else was asked for and used.
        floor: share of its units that each group had to keep, 0 for none; less than was asked for where the budget
            could not be met with that.

    Raises:
        ValueError: groups or counts that do not fit together.
    """

    kept: Mapping[str, int]
    units: Mapping[str, int]
    budget: Budget
    cost_before: float
    cost_after: float
    method: str
    score: float
    score_before: float
    metric: Metric
    others: tuple[Spent, ...] = ()
    floor: float = 0.0

    def __post_init__(self) -> None:
        if list(self.kept) != list(self.units):
            raise ValueError(
                f"An allocation has the same groups in kept and units. Received: kept={list(self.kept)}, "
                f"units={list(self.units)}. Name each group in both."
            )
        for name, count in self.kept.items():
            if type(count) is not int or type(self.units[name]) is not int or not 0 < count <= self.units[name]:
                raise ValueError(
                    f"Group '{name}': keeps a whole number of its units, at least one. Received: kept={count!r}, "
                    f"units={self.units[name]!r}. Use 1 to the number of units."
                )

    @property
    def fraction(self) -> float:
        """Share of the cost that stays."""
        return self.cost_after / self.cost_before

    @property
    def spent(self) -> tuple[Spent, ...]:
        """All that was asked for and used."""
        return (Spent(self.budget, self.cost_before, self.cost_after), *self.others)

    def check(self, graph: PrunableGraph) -> None:
        """Refuse a graph with other groups.

        Raises:
            ValueError: the allocation was made for another model.
        """
        units = {group.name: group.size for group in graph.prunable_groups}
        if units != dict(self.units):
            raise ValueError(
                f"Model '{graph.model_name}' has other channel groups than the allocation. Received: "
                f"{_counts(self.units)}, for a model with {_counts(units)}. Allocate for this model."
            )

    def table(self) -> str:
        """The counts as Markdown, a row for each group."""
        rows = [
            f"| {_escaped(name)} | {self.units[name]} | {count} | {100 * count / self.units[name]:.0f} % |"
            for name, count in self.kept.items()
        ]
        return "\n".join(["| group | units | kept | share |", "| --- | ---: | ---: | ---: |", *rows])

    def __str__(self) -> str:
        return (
            f"{self.method}: {'; '.join(map(str, self.spent))}. {self.metric.name} before retraining: "
            f"{self.metric.text(self.score)}, without pruning {self.metric.text(self.score_before)}.\n{self.table()}"
        )

    def to_json(self) -> str:
        """The allocation as JSON text; `from_json` reads it."""
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The allocation of a JSON text.

        Raises:
            ValueError: not such a text.
        """
        try:
            values: dict[str, Any] = json.loads(text)
            budget, metric = Budget(**values.pop("budget")), Metric(**values.pop("metric"))
            others = tuple(
                Spent(**(spent | {"budget": Budget(**spent["budget"])})) for spent in values.pop("others", ())
            )
            return cls(budget=budget, metric=metric, others=others, **values)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(
                f"That is no allocation. Received: {type(error).__name__}: {error}. Write it with Allocation.to_json."
            ) from error


def _escaped(name: str) -> str:
    return name.replace("|", "\\|")


def _counts(units: Mapping[str, int]) -> str:
    return ", ".join(f"{name} of {count}" for name, count in units.items()) or "no groups"
