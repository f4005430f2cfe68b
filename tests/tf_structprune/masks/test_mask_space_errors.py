"""Targets of stages, and sparsities that no space can give."""

import numpy as np
import pytest

from tests.graphs import chain_graph
from tf_structprune.masks import (
    FEATURE_MAP,
    GRANULARITIES,
    INTRA_KERNEL,
    KERNEL,
    STRUCTURED,
    MaskSet,
    PatternOptions,
    mask_space,
    stage_shares,
)

each_granularity = pytest.mark.parametrize("granularity", GRANULARITIES)


@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.75, 0.9])
@pytest.mark.parametrize(
    "kinds", [(FEATURE_MAP,), (KERNEL, INTRA_KERNEL), (KERNEL, FEATURE_MAP), GRANULARITIES], ids=len
)
def test_stage_shares_reach_the_total(kinds, sparsity):
    shares = stage_shares(sparsity, kinds)
    assert np.prod(1 - np.array(shares)) == pytest.approx(1 - sparsity)
    assert len({share for share, kind in zip(shares, kinds, strict=True) if kind != FEATURE_MAP}) <= 1


def test_feature_maps_take_half_of_the_work():
    assert stage_shares(0.75, STRUCTURED) == pytest.approx((0.5, 1 - 0.25**0.25, 1 - 0.25**0.25))


def test_stage_shares_refuse_a_sparsity_out_of_range():
    with pytest.raises(ValueError, match=r"sparsity must be in \[0, 1\)\. Received: sparsity=1\.0"):
        stage_shares(1.0, GRANULARITIES)


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, 1.5, float("nan")])
@each_granularity
def test_space_refuses_a_sparsity_out_of_range(granularity, sparsity):
    with pytest.raises(ValueError, match=rf"Granularity '{granularity}': sparsity must be in \[0, 1\). Received"):
        mask_space(chain_graph([2, 4, 4, 4, 3]), granularity, sparsity)


def test_space_refuses_an_unknown_granularity():
    with pytest.raises(ValueError, match=r"Unknown granularity\. Received: granularity='map'\. Use one of: feature"):
        mask_space(chain_graph([2, 4, 4, 4, 3]), "map", 0.5)


@each_granularity
def test_space_refuses_less_than_what_is_gone(granularity):
    graph = chain_graph([2, 4, 4, 4, 3])
    base = MaskSet(kernel={"layer_1": np.eye(4, dtype=bool)})
    with pytest.raises(ValueError, match=r"remove more already\. Received: sparsity=0\.1000\. Use at least 0\.3750"):
        mask_space(graph, granularity, 0.1, base=base)


@each_granularity
def test_space_refuses_what_cannot_be_reached(granularity):
    with pytest.raises(ValueError, match=r"cannot remove that much here\. Received: sparsity=0\.9990\. Use at most 0"):
        mask_space(chain_graph([2, 4, 4, 4, 3]), granularity, 0.999)


def test_space_refuses_patterns_without_room():
    with pytest.raises(
        ValueError, match=r"'intra_kernel' cannot remove that much here.*Use at most 0\.0000, or combine"
    ):
        mask_space(chain_graph([2, 4, 4, 4, 3], positions=1), INTRA_KERNEL, 0.5)


@each_granularity
def test_space_refuses_a_graph_with_nothing_to_prune(granularity):
    with pytest.raises(
        ValueError, match=r"Model 'made_up' has nothing to prune: all its .* are kept\. Received: layer_0: .*Use "
    ):
        mask_space(chain_graph([2, 4, 3]), granularity, 0.5)


def test_feature_map_space_refuses_a_graph_without_free_groups():
    with pytest.raises(ValueError, match=r"no channel group that may be pruned.*or use granularity='kernel'"):
        graph = chain_graph([2, 4, 4, 3])
        groups = tuple(g for g in graph.groups if not g.prunable)
        mask_space(type(graph)(**{**vars(graph), "groups": groups}), FEATURE_MAP, 0.1)


@pytest.mark.parametrize("strides", [(), (0, 1), (2, -1)])
def test_pattern_options_refuse_bad_strides(strides):
    with pytest.raises(ValueError, match=r"Intra-kernel strides must be positive\. Received: strides=\("):
        PatternOptions(strides)
