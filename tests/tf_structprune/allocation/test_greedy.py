"""Sensitivities are convex, and the greedy path takes what costs least of the score."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.graphs import chain_graph
from tf_structprune.allocation import Budget, Choices, CountedCost, Sensitivity, greedy_path

LAWS = settings(max_examples=100, deadline=None, derandomize=True)

GRAPH = chain_graph([2, 4, 8, 8, 8, 3])
CHOICES = Choices.of(GRAPH)
COUNT = CountedCost.of(Budget("macs", 0.5), GRAPH, ())
LINEAR = {1: -0.1, 4: -0.4, 7: -0.7}
FREE = {1: 0.0, 4: 0.0, 7: 0.0}
SCORES = st.tuples(st.dictionaries(st.integers(1, 6), st.floats(-1, 0.5)), st.floats(-1, 0.5)).map(
    lambda drawn: drawn[0] | {7: drawn[1]}
)


@LAWS
@given(st.lists(SCORES, min_size=3, max_size=3))
def test_losses_are_convex_and_below_what_was_measured(scores):
    sensitivity = Sensitivity.of(CHOICES, 0.0, scores)
    worst = max([-value for row in scores for value in row.values()] + [0]) or 1.0
    for losses, row in zip(sensitivity.losses, scores, strict=True):
        slopes = np.diff(losses)
        assert losses[0] == 0 and (slopes >= -1e-12).all() and (np.diff(slopes) >= -1e-9).all()
        for step, score in row.items():
            share = max(0.02, 1 - max(0.0, -score) / worst)
            assert losses[step] <= -np.log(share) + 1e-9


def test_shares_of_the_score_multiply():
    rows = [{7: -0.5}, {7: -1.0}, {7: -0.2}]
    losses = [float(loss[-1]) for loss in Sensitivity.of(CHOICES, 0.0, rows).losses]
    assert np.exp(-np.array(losses)) == pytest.approx([0.5, 0.02, 0.8])


def test_score_of_minus_infinity_counts_as_the_worst():
    losses = Sensitivity.of(CHOICES, 0.0, [{7: -np.inf}, {7: -0.5}, {7: -0.25}]).losses
    assert losses[0][-1] == losses[1][-1] > losses[2][-1] > 0


def test_path_ends_where_the_budget_is_met():
    sensitivity = Sensitivity.of(CHOICES, 0.0, [LINEAR] * 3)
    limit = 0.5 * GRAPH.macs
    path = greedy_path(CHOICES, COUNT, sensitivity, limit=limit)
    assert COUNT(CHOICES.kept(CHOICES.after(path, len(path)))) <= limit
    assert COUNT(CHOICES.kept(CHOICES.after(path, len(path) - 1))) > limit


def test_path_without_a_limit_takes_every_step():
    path = greedy_path(CHOICES, COUNT, Sensitivity.of(CHOICES, 0.0, [LINEAR] * 3))
    assert CHOICES.after(path, len(path)).tolist() == CHOICES.most.tolist()


def test_path_takes_all_of_an_insensitive_group_first():
    path = greedy_path(CHOICES, COUNT, Sensitivity.of(CHOICES, 0.0, [LINEAR, FREE, LINEAR]))
    assert path[:7].tolist() == [1] * 7


def test_path_takes_from_insensitive_groups_in_turns():
    path = greedy_path(CHOICES, COUNT, Sensitivity.of(CHOICES, 0.0, [FREE] * 3))
    assert sorted(path[:3].tolist()) == [0, 1, 2]


def test_path_weighs_the_loss_by_the_gain():
    uneven = chain_graph([2, 4, 8, 32, 3])  # a unit of the group of 8 has three times the MACs of one of the other
    choices = Choices.of(uneven)
    same_a_unit = [{int(most): -0.02 * int(most)} for most in choices.most]
    sensitivity = Sensitivity.of(choices, 0.0, same_a_unit)
    count = CountedCost.of(Budget("macs", 0.5), uneven, ())
    assert greedy_path(choices, count, sensitivity)[0] == 0
