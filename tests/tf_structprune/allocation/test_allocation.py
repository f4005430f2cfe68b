"""The result as data, text and JSON."""

import json
from dataclasses import replace

import pytest

import tf_structprune as sp
from tests.graphs import chain_graph

ALLOCATION = sp.Allocation(
    kept={"layer_1": 2, "a|b": 6},
    units={"layer_1": 4, "a|b": 6},
    budget=sp.Budget("macs", 0.6),
    cost_before=1000.0,
    cost_after=590.0,
    method="greedy",
    score=-0.25,
    score_before=-0.1,
    metric=sp.search.Metric("MCR", falls=True, percent=True),
)


def test_json_comes_back():
    assert sp.Allocation.from_json(ALLOCATION.to_json()) == ALLOCATION


def test_text_tells_costs_scores_and_counts():
    assert str(ALLOCATION) == (
        "greedy: 1,000 MACs -> 590 MACs, 59.0 % of at most 60 %. MCR before retraining: 25.00 %, without pruning "
        "10.00 %.\n"
        "| group | units | kept | share |\n| --- | ---: | ---: | ---: |\n"
        "| layer_1 | 4 | 2 | 50 % |\n| a\\|b | 6 | 6 | 100 % |"
    )


def test_text_of_another_score_has_its_name():
    assert "mse before retraining: 0.25, without pruning 0.1." in str(
        replace(ALLOCATION, metric=sp.search.Metric("mse", falls=True))
    )


GOOD = json.loads(ALLOCATION.to_json())
BAD = {
    "no json": "{",
    "list": "[]",
    "key missing": json.dumps({key: value for key, value in GOOD.items() if key != "kept"}),
    "budget missing": json.dumps({key: value for key, value in GOOD.items() if key != "budget"}),
    "key unknown": json.dumps(GOOD | {"colour": 1}),
    "budget out of range": json.dumps(GOOD | {"budget": {"kind": "macs", "fraction": 2}}),
    "count no number": json.dumps(GOOD | {"kept": {"layer_1": "2", "a|b": 6}}),
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_bad_json_is_refused(text):
    with pytest.raises(ValueError, match=r"That is no allocation\. Received: .*\. Write it with Allocation\.to_json"):
        sp.Allocation.from_json(text)


@pytest.mark.parametrize("kept", [0, -1, 5, 2.0, True])
def test_counts_that_no_group_can_keep_are_refused(kept):
    with pytest.raises(ValueError, match=r"Group 'layer_1': keeps a whole number of its units, at least one\. R"):
        replace(ALLOCATION, kept={"layer_1": kept, "a|b": 6})


def test_groups_that_differ_are_refused():
    with pytest.raises(ValueError, match=r"same groups in kept and units\. Received: kept=\['layer_1'\], units=\["):
        replace(ALLOCATION, kept={"layer_1": 2})


def test_another_model_is_refused():
    with pytest.raises(ValueError, match=r"Model 'made_up' has other channel groups than the allocation\. Received: "):
        ALLOCATION.check(chain_graph([2, 4, 4, 4, 3]))
