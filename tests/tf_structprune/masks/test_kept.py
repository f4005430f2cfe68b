"""Spaces of masks that keep given numbers of units."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.graphs import chain_graph, graphs
from tf_structprune.masks import FEATURE_MAP, MaskSet, kept_space, unit_counts

LAWS = settings(max_examples=100, deadline=None, derandomize=True)

GRAPH = chain_graph([2, 4, 6, 8, 3])


@LAWS
@given(graphs(), st.data())
def test_every_candidate_keeps_the_counts(graph, data):
    kept = {group.name: data.draw(st.integers(1, group.size)) for group in graph.prunable_groups}
    space, rng = kept_space(graph, kept), np.random.default_rng(0)
    one, two = space.sample(rng), space.sample(rng)
    top = space.top({group.name: np.arange(group.size) for group in graph.prunable_groups})
    for masks in (one, space.perturb(one, 0.5, rng), space.cross(one, two, rng), top):
        assert {name: int(mask.sum()) for name, mask in masks.feature_map.items()} == kept
    assert space.granularity == FEATURE_MAP


def test_groups_that_are_not_named_keep_what_they_have():
    base = MaskSet({"layer_2": np.arange(8) < 5})
    masks = kept_space(GRAPH, {"layer_1": 2}, base=base).sample(np.random.default_rng(0))
    assert masks.feature_map["layer_1"].sum() == 2
    assert masks.feature_map["layer_2"].tolist() == base.feature_map["layer_2"].tolist()


def test_units_that_are_gone_stay_gone():
    base = MaskSet({"layer_2": np.arange(8) < 5})
    masks = kept_space(GRAPH, {"layer_2": 3}, base=base).sample(np.random.default_rng(0))
    assert masks.feature_map["layer_2"].sum() == 3
    assert not masks.feature_map["layer_2"][5:].any()


def limited(**limits):
    return replace(GRAPH, groups=tuple(replace(group, **limits) for group in GRAPH.groups))


def test_counts_respect_the_limits_of_a_group():
    group = limited(round_to=2, min_channels=4).prunable_groups[1]
    assert unit_counts(group, 8).tolist() == [8, 6, 4]
    assert unit_counts(group, 7).tolist() == [7, 6, 4]
    assert unit_counts(replace(group, unit_channels=2), 8).tolist() == [8, 7, 6, 5, 4, 3, 2]


@pytest.mark.parametrize(
    "limits, kept, message",
    [
        ({}, {"layer_9": 2}, r"no channel group of that name that may be pruned\. Received: group='layer_9'\. Use one"),
        ({}, {"layer_0": 2}, r"may be pruned\. Received: group='layer_0'\. Use one of: layer_1, layer_2"),
        ({}, {"layer_1": 0}, r"Group 'layer_1': cannot keep that many of its 6 units\. Received: 0\. Use 1 to 6, e\.g"),
        ({}, {"layer_1": 7}, r"cannot keep that many of its 6 units\. Received: 7\. Use 1 to 6, e\.g\. 6"),
        ({}, {"layer_1": 2.5}, r"Group 'layer_1': keeps a whole number of units\. Received: 2\.5\. Use e\.g\. 6"),
        ({}, {"layer_1": True}, r"keeps a whole number of units\. Received: True"),
        (
            {"round_to": 4},
            {"layer_2": 7},
            r"Received: 7\. Use 1 to 8, with channels that are a multiple of 4, e\.g\.",
        ),
        ({"min_channels": 4}, {"layer_2": 3}, r"Received: 3\. Use 1 to 8, with at least 4 channels, e\.g\. 4"),
    ],
)
def test_counts_that_no_group_can_keep_are_refused(limits, kept, message):
    with pytest.raises(ValueError, match=message):
        kept_space(limited(**limits), kept)
