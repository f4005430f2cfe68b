"""The space of allocations: every candidate meets the budget and keeps the most important units."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tf_structprune.allocation.planted import GRAPH, NAMES, importance_of, limited, problem_of
from tf_structprune.allocation import AllocationSpace, Budget, Choices, CostCap
from tf_structprune.masks import MaskSet, unit_mask

LAWS = settings(max_examples=100, deadline=None, derandomize=True)


def space_of(fraction=0.5, graph=GRAPH, base=None):
    problem = problem_of(budget=Budget("macs", fraction), graph=graph, base=base)
    choices = Choices.of(graph, base)
    return AllocationSpace(
        graph=graph,
        base=problem.base,
        limit=CostCap(choices, problem.limits[0].estimate, fraction * graph.macs),
        importance=importance_of(graph),
        starts=(choices.most, choices.most // 2),
    )


def candidates(space, rng):
    one, two = space.sample(rng), space.sample(rng)
    return [one, two, space.perturb(one, 0.3, rng), space.cross(one, two, rng)]


@LAWS
@given(st.integers(0, 10**6), st.sampled_from([0.2, 0.5, 0.9]), st.sampled_from([1, 3]), st.booleans())
def test_candidates_use_the_budget_up_and_keep_the_most_important(seed, fraction, round_to, some_gone):
    graph = limited(round_to=round_to)
    base = MaskSet({NAMES[1]: np.arange(16) % 4 > 0}) if some_gone else None
    space = space_of(fraction, graph, base)
    for masks in candidates(space, np.random.default_rng(seed)):
        steps = space.steps_of(masks)
        assert space.limit.met_by(steps)
        for at in np.flatnonzero(steps > 0):
            assert not space.limit.met_by(steps - (np.arange(len(steps)) == at))
        alive = unit_mask(graph, space.base)
        for group in graph.prunable_groups:
            living = np.flatnonzero(alive[group.units])
            kept = np.flatnonzero(masks.feature_map[group.name])
            assert kept.tolist() == living[len(living) - len(kept) :].tolist()  # importance grows with the index


def test_perturbation_reaches_other_allocations():
    space, rng = space_of(), np.random.default_rng(0)
    start = space.sample(rng)
    found = {tuple(space.steps_of(space.perturb(start, 0.3, rng)).tolist()) for _ in range(20)}
    assert len(found) > 5


def test_child_of_equals_is_the_same():
    space, rng = space_of(), np.random.default_rng(0)
    parent = space.sample(rng)
    assert space.cross(parent, parent, rng).equals(parent)


def test_top_and_removed_are_of_the_first_start():
    space = space_of()
    assert space.steps_of(space.top(space.importance)).tolist() == space.starts[0].tolist()
    assert list(space.removed.values()) == [group.size - 1 for group in GRAPH.prunable_groups]
    assert all(alive.all() for alive in space.alive.values())


@pytest.mark.parametrize("seed", [0, 1])
def test_same_draws_same_candidates(seed):
    one, two = (candidates(space_of(), np.random.default_rng(seed)) for _ in range(2))
    assert all(a.equals(b) for a, b in zip(one, two, strict=True))
