"""Masks of single weights: percentiles, n of m, all layers in one ranking."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.graphs import chain_graph, graphs
from tf_structprune.masks import (
    INTRA_KERNEL,
    KERNEL,
    WEIGHT,
    MaskSet,
    Weight,
    as_granularity,
    lowerable,
    mask_space,
    sparsity_of,
)
from tf_structprune.masks._weight_spaces import shares_of

MANY = settings(max_examples=40, deadline=None, derandomize=True)
seeds = st.integers(0, 2**16)
WIDTHS = [2, 8, 12, 16, 3]


def numbers_for(space, seed):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=alive.shape) for name, alive in space.alive.items()}


def candidates(space, seed):
    """One candidate by each way of making one."""
    rng = np.random.default_rng(seed)
    first, second = space.sample(rng), space.sample(rng)
    moved = space.perturb(first, rng.random(), rng)
    return [first, second, moved, space.cross(first, moved, rng), space.top(numbers_for(space, seed))]


@pytest.mark.parametrize("p", [0, 30, 50, 80, 90, 97])
def test_the_top_weights_are_those_above_the_percentile(p):
    graph = chain_graph(WIDTHS)
    space = mask_space(graph, WEIGHT, p / 100)
    values = {name: np.abs(numbers) for name, numbers in numbers_for(space, p).items()}
    masks = space.top(values)
    for name, mask in masks.weight.items():
        wanted = values[name] > np.percentile(values[name], p) if p else np.ones(mask.shape, bool)
        assert abs(int(mask.sum()) - int(wanted.sum())) <= 1
        assert values[name][mask].min() >= values[name][~mask].max(initial=0)


@pytest.mark.parametrize("n, m", [(1, 2), (2, 4), (1, 4), (3, 8), (2, 5)])
@MANY
@given(graph=graphs(), share=st.floats(0, 1), seed=seeds)
def test_n_of_m_stay_in_every_run(n, m, graph, share, seed):
    most = _most(graph, n, m)
    space = mask_space(graph, Weight(n, m), most * share)
    for masks in candidates(space, seed):
        assert sparsity_of(graph, masks) >= most * share - 1e-9
        for mask in masks.weight.values():
            for run in _runs(mask, m):
                assert (run.sum(axis=0) >= min(n, len(run))).all()
                if share == 1:
                    assert (run.sum(axis=0) == min(n, len(run))).all()


def _runs(mask, m):
    flat = mask.reshape(-1, mask.shape[2])
    return [flat[start : start + m] for start in range(0, len(flat), m)]


def _most(graph, n, m):
    """The sparsity of exactly n of m in every run, counted run by run."""
    lost = 0
    for layer in graph.prunable_layers:
        runs = _runs(np.ones((layer.positions, layer.group_inputs, layer.outputs)), m)
        lost += sum(max(0, len(run) - n) for run in runs) * layer.outputs
    return lost / graph.prunable_weights


@MANY
@given(graph=graphs(), seed=seeds)
def test_the_share_of_n_of_m_is_met_but_for_short_runs(graph, seed):
    masks = mask_space(graph, Weight(1, 4), 0.75).sample(np.random.default_rng(seed))
    assert sparsity_of(graph, masks) == pytest.approx(_most(graph, 1, 4))


def test_more_than_n_of_m_is_out_of_reach():
    with pytest.raises(ValueError, match=r"Granularity 'weight' cannot remove that much here\..*Use at most 0\.5000"):
        mask_space(chain_graph([2, 4, 8, 16, 3]), Weight(2, 4), 0.51)


@MANY
@given(graph=graphs(), sparsity=st.floats(0, 0.9), seed=seeds)
def test_one_ranking_removes_as_much_and_leaves_every_layer_a_weight(graph, sparsity, seed):
    try:
        space = mask_space(graph, Weight(across="model"), sparsity)
    except ValueError as error:
        assert "cannot remove that much" in str(error)
        return
    found = {sparsity_of(graph, masks) for masks in candidates(space, seed)}
    assert len(found) == 1
    assert sparsity - 1e-9 <= found.pop() <= sparsity + 1 / graph.prunable_weights + 1e-9
    for masks in candidates(space, seed):
        assert all(mask.any() for mask in masks.weight.values())


def test_one_ranking_takes_from_the_layer_of_small_weights():
    graph = chain_graph(WIDTHS)
    space = mask_space(graph, Weight(across="model"), 0.5)
    values = numbers_for(space, 0)
    first, *others = values
    masks = space.top({first: np.abs(values[first]) / 1e3, **{name: np.abs(values[name]) for name in others}})
    assert masks.weight[first].sum() == 1
    assert masks.weight[others[-1]].mean() > 0.5


@MANY
@given(data=st.data(), blocks=st.integers(1, 6))
def test_shares_are_exact_even_and_within_their_limits(data, blocks):
    counts = np.array(data.draw(st.lists(st.integers(1, 500), min_size=blocks, max_size=blocks)))
    most = np.array([data.draw(st.integers(0, int(count))) for count in counts])
    needed = data.draw(st.integers(0, int(most.sum())))
    lost = shares_of(needed, counts, most)
    assert lost.sum() == needed
    assert (lost >= 0).all() and (lost <= most).all()
    open_ = lost < most
    if open_.any():
        highest = (lost[open_] + 1) / counts[open_]  # who could give more gives as large a share as anybody
        assert (lost / counts <= highest.min() + 1 / counts + 1e-9).all()


def test_weights_on_top_of_kernels_find_what_is_left():
    graph = chain_graph(WIDTHS)
    base = mask_space(graph, KERNEL, 0.5).sample(np.random.default_rng(0))
    masks = mask_space(graph, WEIGHT, 0.75, base=base).sample(np.random.default_rng(1))
    assert sparsity_of(graph, masks) == pytest.approx(0.75, abs=0.01)
    for name, mask in masks.weight.items():
        assert not (mask & ~base.kernel[name][None]).any()


def test_patterns_come_before_single_weights():
    graph = chain_graph(WIDTHS)
    base = mask_space(graph, WEIGHT, 0.2).sample(np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"before single weights.*Use \('intra_kernel', 'weight'\)"):
        mask_space(graph, INTRA_KERNEL, 0.5, base=base)


def test_masks_of_weights_become_arrays_and_back():
    masks = mask_space(chain_graph(WIDTHS), Weight(2, 4), 0.3).sample(np.random.default_rng(0))
    assert MaskSet.from_arrays(masks.to_arrays()).equals(masks)


def test_lowering_demands_nothing_of_single_weights():
    assert lowerable("weight", 0.5) == as_granularity("weight") == Weight()


@pytest.mark.parametrize(
    "demands, told",
    [
        ({"n": 2}, r"n of m needs both\. Received: n=2, m=None"),
        ({"m": 2}, r"n of m needs both\. Received: n=None, m=2"),
        ({"n": 4, "m": 4}, r"keeps 1 to m - 1\. Received: n=4, m=4"),
        ({"n": 0, "m": 4}, r"keeps 1 to m - 1\. Received: n=0, m=4"),
        ({"across": "layers"}, r"unknown scope\. Received: across='layers'\. Use 'layer' or 'model'"),
        ({"n": 2, "m": 4, "across": "model"}, r"demand on every layer\. Received: Weight\(n=2"),
    ],
    ids=str,
)
def test_weight_refuses_demands_that_are_none(demands, told):
    with pytest.raises(ValueError, match=told):
        Weight(**demands)
