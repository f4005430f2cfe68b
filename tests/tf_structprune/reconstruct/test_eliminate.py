"""Each unit goes at the price that the others leave; the order is the greedy one."""

import numpy as np
import pytest

from tests import zoo
from tests.tf_structprune.reconstruct.rows import moments_of
from tf_structprune.allocation import Budget, Choices, CountedCost
from tf_structprune.graph import trace
from tf_structprune.layers import wrap
from tf_structprune.measure import layer_inputs_of
from tf_structprune.reconstruct import eliminate, solve

RIDGE = 1e-6


def case(name, **limits):
    """Graph, layers with moments, choices and MACs of a zoo model."""
    model = zoo.build(name)
    graph = trace(wrap(model, granularity="feature_map", **limits))
    layers = layer_inputs_of(model, graph, [layer.name for layer in graph.layers], zoo.batch(60))
    return graph, layers, Choices.of(graph), CountedCost.of(Budget("macs", 1.0), graph, ())


def price(graph, layers, keep):
    """What the layers lose in all when the units that are kept make up for the others, each layer solved anew."""
    total = 0.0
    for layer in graph.layers:
        known, channels = layers[layer.name], graph.channels[layer.name]
        kept = np.broadcast_to(keep[channels.inputs][layer.input_of_kernel], known.kernel.shape)
        kept = kept & keep[channels.outputs]
        moments = known.moments.of_weights(known.kernel)
        found = solve(moments, known.kernel, kept, ridge=RIDGE)
        live = kept.any(axis=(0, 1))
        share = moments.variance.ravel()[live].sum() / moments.variance.sum()
        total += found.after * share
    return total


@pytest.mark.parametrize("name", ["chain", "flatten_head", "residual_projection", "grouped_convolution"])
def test_losses_are_what_new_solutions_lose(name):
    graph, layers, choices, cost = case(name)
    found = eliminate(graph, layers, choices, cost, np.ones(graph.unit_count, bool), ridge=RIDGE)
    order = {group.name: group.units[np.argsort(found.importance[group.name])] for group in graph.prunable_groups}
    keep, steps, spent = np.ones(graph.unit_count, bool), np.zeros(len(choices.names), int), 0.0
    for at, loss in zip(found.path[:4], found.losses[:4], strict=True):
        before = price(graph, layers, keep)
        gone = int(choices.counts[at][0] - choices.counts[at][steps[at]])
        count = int(choices.counts[at][steps[at]] - choices.counts[at][steps[at] + 1])
        units = order[choices.names[at]][gone : gone + count]
        produced = own_loss(graph, layers, keep, units)
        keep[units] = False
        steps[at] += 1
        np.testing.assert_allclose(price(graph, layers, keep) - before + produced, loss, rtol=0.02, atol=2e-4)
        spent += loss
    assert spent > 0


def own_loss(graph, layers, keep, units):
    """What the outputs that go with some units had lost before, which counts no longer."""
    gone = keep.copy()
    gone[units] = False
    total = 0.0
    for layer in graph.layers:
        known, channels = layers[layer.name], graph.channels[layer.name]
        inputs = np.broadcast_to(keep[channels.inputs][layer.input_of_kernel], known.kernel.shape)
        moments = known.moments.of_weights(known.kernel)
        both = []
        for outputs in (keep, gone):
            kept = inputs & outputs[channels.outputs]
            live = kept.any(axis=(0, 1))
            share = moments.variance.ravel()[live].sum() / moments.variance.sum()
            both.append(solve(moments, known.kernel, kept, ridge=RIDGE).after * share)
        total += both[0] - both[1]
    return total


def test_twins_go_first_and_for_nothing():
    graph, layers, choices, cost = case("chain")
    group = graph.prunable_groups[-1]
    (consumer,) = group.consumers
    known = layers[consumer]
    rng = np.random.default_rng(0)
    maps = len(graph.channels[consumer].inputs)
    rows = rng.normal(size=(500, known.kernel.shape[0], maps))
    rows[:, :, 1] = rows[:, :, 0] * 3
    layers = {**layers, consumer: type(known)(known.kernel, moments_of(rows.reshape(500, 1, -1)))}
    found = eliminate(graph, layers, choices, cost, np.ones(graph.unit_count, bool), ridge=1e-9)
    first = int(np.argmin(found.importance[group.name]))
    assert first in (0, 1)
    assert found.losses[list(found.path).index(len(choices.names) - 1)] < 1e-6


def test_floor_is_kept_while_others_have_more():
    graph, layers, choices, cost = case("chain")
    found = eliminate(graph, layers, choices, cost, np.ones(graph.unit_count, bool), floor=0.5)
    steps = np.zeros(len(choices.names), int)
    below = False
    for at in found.path:
        steps[at] += 1
        share = choices.kept(steps) / np.array([counts[0] for counts in choices.counts])
        low = share[at] < 0.5
        assert low or not below
        below |= bool(low)
    assert (steps == choices.most).all()


def test_units_that_are_gone_go_no_more():
    graph, layers, _, cost = case("chain")
    alive = np.ones(graph.unit_count, bool)
    group = graph.prunable_groups[0]
    alive[group.units[:2]] = False
    from tf_structprune.masks import MaskSet

    base = MaskSet({group.name: alive[group.units]})
    found = eliminate(graph, layers, Choices.of(graph, base), cost, alive)
    assert (found.importance[group.name][:2] == -1).all()
    assert (found.importance[group.name][2:] >= 0).all()


def test_demands_on_channels_are_met_by_every_step():
    graph, layers, choices, cost = case("chain", round_to=2)
    found = eliminate(graph, layers, choices, cost, np.ones(graph.unit_count, bool))
    assert len(found.path) == choices.most.sum()
    steps = np.bincount(found.path, minlength=len(choices.names))
    assert (steps == choices.most).all()


def test_layer_of_unknown_inputs_counts_by_its_weights():
    graph, layers, choices, cost = case("chain")
    blind = {name: type(layer)(layer.kernel, None) for name, layer in layers.items()}
    found = eliminate(graph, blind, choices, cost, np.ones(graph.unit_count, bool))
    group = graph.prunable_groups[-1]
    (consumer,) = group.consumers
    norms = (layers[consumer].kernel.astype(float) ** 2).sum(axis=(0, 2))
    order = np.argsort(found.importance[group.name])
    assert order[0] == norms.argmin()
