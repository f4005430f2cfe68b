"""No group keeps less than the floor; where a budget is out of reach with it, it gives way no further than it must."""

import logging
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tf_structprune.allocation.planted import GRAPH, NAMES, limited, problem_of
from tf_structprune.allocation import FLOOR, METHODS, Budget, Choices, OutOfReachError, check_floor, find_allocation
from tf_structprune.masks import MaskSet

LAWS = settings(max_examples=100, deadline=None, derandomize=True)
SIZES = {group.name: group.size for group in GRAPH.prunable_groups}
every_method = pytest.mark.parametrize("method", METHODS)


def least_of(floor):
    """What each group may not go below."""
    return {name: max(1, math.ceil(floor * size - 1e-6)) for name, size in SIZES.items()}


def macs_of(problem, kept):
    return float(problem.limits[0].estimate(np.array([kept[name] for name in NAMES])))


@LAWS
@given(st.floats(0, 0.999), st.integers(1, 4), st.integers(1, 6), st.integers(1, 16))
def test_choices_are_those_without_a_floor_that_lie_above_it(floor, round_to, min_channels, alive):
    graph = limited(round_to=round_to, min_channels=min_channels)
    base = MaskSet({NAMES[1]: np.arange(16) < alive})
    free, above = Choices.of(graph, base), Choices.of(graph, base, floor=floor)
    for name, all_counts, counts in zip(NAMES, free.counts, above.counts, strict=True):
        wanted = [all_counts[0], *(count for count in all_counts[1:] if count / SIZES[name] >= floor - 1e-9)]
        assert counts.tolist() == wanted


def test_share_that_is_a_whole_number_is_not_rounded_up():
    assert [int(counts[-1]) for counts in Choices.of(GRAPH, floor=0.3).counts] == [4, 5, 3]  # of 12, 16 and 10


@pytest.mark.parametrize("fraction", [0.35, 0.6])
@pytest.mark.parametrize("free", range(3))
@every_method
def test_no_group_keeps_less_however_little_it_matters(method, free, fraction, caplog):
    prices = tuple(0.0 if at == free else 9.0 for at in range(3))
    problem = replace(problem_of(prices, Budget("macs", fraction)), floor=0.4)
    found = find_allocation(problem, method)
    assert all(found.kept[name] >= count for name, count in least_of(0.4).items())
    assert found.cost_after <= fraction * GRAPH.macs and found.floor == 0.4
    assert not caplog.records


def test_without_a_floor_one_unit_may_be_left():
    found = find_allocation(problem_of((9.0, 0.0, 9.0), Budget("macs", 0.35)), "greedy")
    assert found.kept[NAMES[1]] < least_of(0.4)[NAMES[1]] and found.floor == 0


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.4])
@every_method
def test_floor_gives_way_as_far_as_the_budget_needs(method, fraction, caplog):
    problem = replace(problem_of(budget=Budget("macs", fraction)), floor=0.7)
    with caplog.at_level(logging.WARNING, logger="absl"):
        found = find_allocation(problem, method)
    limit = fraction * GRAPH.macs
    assert found.cost_after <= limit
    assert found.floor in [0.7 / 2**halved for halved in range(1, 5)]
    assert all(found.kept[name] >= count for name, count in least_of(found.floor).items())
    assert macs_of(problem, least_of(found.floor)) <= limit < macs_of(problem, least_of(2 * found.floor))
    (told,) = [record.getMessage() for record in caplog.records]
    assert told == (
        f"The budget is not met where every group keeps 70 % of its units: {100 * found.floor:.3g} % is the floor here."
    )


@every_method
def test_last_the_floor_is_none_and_the_budget_is_met(method, caplog):
    fraction = macs_of(problem_of(), dict.fromkeys(NAMES, 1)) / GRAPH.macs
    with caplog.at_level(logging.WARNING, logger="absl"):
        found = find_allocation(replace(problem_of(budget=Budget("macs", fraction)), floor=FLOOR), method)
    assert set(found.kept.values()) == {1} and found.floor == 0
    assert "keeps 25 % of its units: none is the floor here." in caplog.text


def test_budget_out_of_reach_names_the_least_without_a_floor():
    problem = problem_of(budget=Budget("macs", 0.001))
    with pytest.raises(OutOfReachError) as free:
        find_allocation(problem)
    with pytest.raises(OutOfReachError) as floored:
        find_allocation(replace(problem, floor=0.5))
    assert str(floored.value) == str(free.value)


def test_floor_below_one_unit_is_met_by_all(caplog):
    problem = problem_of(budget=Budget("macs", 0.1))
    found = find_allocation(replace(problem, floor=0.05))
    assert found == replace(find_allocation(problem), floor=0.05)
    assert not caplog.records


def test_measured_cost_of_the_fewest_units_is_measured_once():
    seen = []

    def seconds(kept):
        seen.append(tuple(kept.values()))
        return 1.0 + sum(kept.values())

    found = find_allocation(replace(problem_of(budget=Budget("latency", 0.3), measure=seconds), floor=0.5))
    assert found.floor == 0.25 and found.cost_after <= 0.3 * found.cost_before
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize("floor", [-0.1, 1, 25, float("nan")])
def test_floor_out_of_range_is_refused(floor):
    message = rf"floor must be in \[0, 1\)\. Received: floor={floor}\. It is the share of its units .* use e\.g\. 0\.25"
    with pytest.raises(ValueError, match=message):
        check_floor(floor)
    with pytest.raises(ValueError, match=message):
        find_allocation(replace(problem_of(), floor=floor))
