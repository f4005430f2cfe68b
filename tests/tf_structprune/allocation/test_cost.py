"""Counts are those of the layers with the channels that stay; estimates follow measurements."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.graphs import chain_graph, graphs
from tf_structprune.allocation import Budget, Choices, CountedCost, FittedCost
from tf_structprune.channels import WeightShape
from tf_structprune.masks import kept_space, unit_mask

LAWS = settings(max_examples=100, deadline=None, derandomize=True)

MACS = Budget("macs", 1)


def count_of(graph, budget=MACS, weights=()):
    return CountedCost.of(budget, graph, weights)


def layer_maps(graph, layer, keep):
    channels = graph.channels[layer.name]
    return int(keep[channels.inputs].sum()), int(keep[channels.outputs].sum())


def weights_left(graph, layer, keep):
    inputs, outputs = layer_maps(graph, layer, keep)
    return layer.positions * (layer.group_inputs if layer.groups > 1 else inputs) * outputs


@st.composite
def allocated(draw):
    """A graph, numbers of kept units and the units that a mask with these numbers keeps."""
    graph = draw(graphs())
    if not graph.prunable_groups:
        return graph, np.zeros(0, np.int64), np.ones(graph.unit_count, bool)
    choices = Choices.of(graph)
    steps = np.array([draw(st.integers(0, int(most))) for most in choices.most])
    space = kept_space(graph, choices.by_name(steps))
    keep = unit_mask(graph, space.sample(np.random.default_rng(draw(st.integers(0, 99)))))
    return graph, choices.kept(steps), keep


@LAWS
@given(allocated())
def test_macs_are_those_of_the_layers_that_are_left(case):
    graph, kept, keep = case
    expected = sum(weights_left(graph, layer, keep) * layer.pixels for layer in graph.layers)
    assert count_of(graph)(kept) == expected


@LAWS
@given(graphs())
def test_macs_of_all_units_are_those_of_the_graph(graph):
    assert count_of(graph)(np.array([group.size for group in graph.prunable_groups], np.int64)) == graph.macs


@LAWS
@given(allocated(), st.integers(2, 32))
def test_bytes_are_packed_kernels_and_biases(case, bits):
    graph, kept, keep = case
    expected = sum(
        math.ceil(weights_left(graph, layer, keep) * bits / 8) + 4 * layer_maps(graph, layer, keep)[1]
        for layer in graph.layers
    )
    assert count_of(graph, Budget("bytes", 1, weight_bits=bits))(kept) == expected


@LAWS
@given(allocated())
def test_parameters_follow_their_maps(case):
    graph, kept, keep = case
    weights, expected = [], 5
    for layer in graph.layers:
        inputs, outputs = layer_maps(graph, layer, keep)
        weights += [WeightShape(layer.name, 3, True, True), WeightShape(layer.name, 4, False, True)]
        weights += [WeightShape(layer.name, 2, True, False)]
        expected += 3 * inputs * outputs + 4 * outputs + 2 * inputs
    weights.append(WeightShape("a layer without a rule", 5, False, False))
    assert count_of(graph, Budget("parameters", 1), weights)(kept) == expected


def test_many_allocations_are_counted_at_once():
    count, kept = count_of(chain_graph([2, 4, 6, 5, 3])), np.array([[[6, 5], [1, 5]], [[2, 3], [6, 1]]])
    assert count(kept).shape == (2, 2)
    assert count(kept)[1, 0] == count(kept[1, 0])
    assert count.terms(kept).sum(axis=-1).tolist() == count(kept).tolist()


def test_estimate_gives_back_costs_that_are_prices_of_macs():
    count = count_of(chain_graph([2, 4, 6, 5, 3]))
    kept = np.array([[6, 5], [3, 5], [1, 5], [6, 2], [6, 1], [3, 2]])
    prices = np.array([0.0, 1e-3, 5e-3, 2e-4])
    costs = 7 + count.terms(kept) @ prices
    estimate = FittedCost.of(count, kept, costs)
    assert estimate(kept) == pytest.approx(costs)
    assert estimate(np.array([2, 4])) == pytest.approx(7 + count.terms(np.array([2, 4])) @ prices)


def test_estimate_has_no_negative_price():
    count = count_of(chain_graph([2, 4, 6, 5, 3]))
    kept = np.array([[6, 5], [3, 5], [1, 5], [6, 2], [6, 1]])
    estimate = FittedCost.of(count, kept, np.array([10.0, 11, 12, 8, 7]))  # fewer units of the first cost more
    assert estimate.fixed >= 0 and (estimate.prices >= 0).all()
    assert estimate(np.array([6, 5])) >= estimate(np.array([3, 5]))
