"""Models with random allocations, and what these are counted to cost."""

import numpy as np

import tf_structprune as sp
from tf_structprune.allocation import Budget, Choices, CountedCost
from tf_structprune.graph import trace, weight_shapes
from tf_structprune.masks import kept_space


def counts(masked, graph, kept):
    weights = weight_shapes(masked, graph)
    return {
        kind: int(CountedCost.of(Budget(kind, 1), graph, weights)(kept)) for kind in ("macs", "parameters", "bytes")
    }


def allocated(model, seed):
    """A masked model with random numbers of units in each group, its graph and these numbers."""
    masked = sp.wrap(model, granularity="feature_map")
    graph, rng = trace(masked), np.random.default_rng(seed)
    choices = Choices.of(graph)
    steps = rng.integers(0, choices.most + 1)
    sp.set_masks(masked, kept_space(graph, choices.by_name(steps)).sample(rng), graph=graph)
    return masked, graph, choices.kept(steps)
