"""A problem whose score is known: every group has a price for each unit that it loses."""

from dataclasses import dataclass, field, replace

import numpy as np

from tests.graphs import chain_graph
from tf_structprune.allocation import Budget, CountedCost, Limit, Order, Problem
from tf_structprune.masks import MaskSet

GRAPH = chain_graph([2, 6, 12, 16, 10, 3])
NAMES = tuple(group.name for group in GRAPH.prunable_groups)


def limited(graph=GRAPH, **limits):
    """The graph with limits on all groups."""
    return replace(graph, groups=tuple(replace(group, **limits) for group in graph.groups))


@dataclass
class Planted:
    """Scores masks, and remembers what it scored.

    Attributes:
        prices: what each lost unit costs, by group.
        seen: number of kept units of all that were scored.
    """

    prices: dict[str, float]
    seen: list[dict[str, int]] = field(default_factory=list)

    def __call__(self, candidates):
        scores = []
        for masks in candidates:
            kept = {name: int(mask.sum()) for name, mask in masks.feature_map.items()}
            self.seen.append(kept)
            lost = [self.prices[name] * (len(mask) - kept[name]) for name, mask in masks.feature_map.items()]
            scores.append(-float(sum(lost)))
        return scores


def importance_of(graph=GRAPH):
    """Later units are more important."""
    return {group.name: np.arange(group.size, dtype=float) for group in graph.prunable_groups}


def problem_of(prices=(1.0, 1.0, 1.0), budget=None, *, graph=GRAPH, base=None, measure=None, others=()):
    """A problem over the graph, with one price a group in order."""
    budget = Budget("macs", 0.5) if budget is None else budget
    score = Planted(dict(zip(NAMES, prices, strict=True)))
    importance = importance_of(graph)
    count = CountedCost.of(budget, graph, ())
    return Problem(
        graph=graph,
        base=MaskSet() if base is None else base,
        limits=(Limit(budget, count, measure), *others),
        order=lambda choices, cost: Order(importance, choices.even_path()[::-1]),
        score=score,
    )
