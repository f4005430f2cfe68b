"""Rounded, bounded and blocked channel counts: demands that a masked model remembers."""

import keras
import numpy as np
import pytest

from tests import zoo
from tf_structprune.graph import trace
from tf_structprune.layers import get_masks, set_masks, wrap
from tf_structprune.masks import FEATURE_MAP, mask_space, sparsity_of

_L = keras.layers
WIDTHS = (12, 20, 16, 9)


def model(widths=WIDTHS):
    inputs = keras.Input((8, 8, 2))
    x = zoo.conv(inputs, 4, name="stem")
    for index, width in enumerate(widths):
        x = zoo.conv(x, width, name=f"conv_{index}")
    return keras.Model(inputs, _L.Dense(3, name="classifier")(_L.GlobalAveragePooling2D()(x)))


def kept_channels(masked, sparsity, seed=0):
    """Channels that one candidate keeps of each group, and its sparsity."""
    graph = trace(masked)
    masks = mask_space(graph, FEATURE_MAP, sparsity, base=get_masks(masked)).sample(np.random.default_rng(seed))
    kept = {g.name: int(masks.feature_map[g.name].sum()) * g.unit_channels for g in graph.prunable_groups}
    return kept, sparsity_of(graph, masks)


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.3, 0.5, 0.7])
@pytest.mark.parametrize("round_to", [2, 4, 8])
def test_counts_are_multiples_or_all(round_to, sparsity):
    kept, reached = kept_channels(wrap(model(), round_to=round_to), sparsity)
    sizes = dict(zip(kept, WIDTHS, strict=True))
    assert all(count % round_to == 0 or count == sizes[name] for name, count in kept.items())
    assert reached >= sparsity - 1e-9


@pytest.mark.parametrize("sparsity", [0.2, 0.4])
def test_no_layer_gets_thinner_than_allowed(sparsity):
    kept, _ = kept_channels(wrap(model(), min_channels=9), sparsity)
    assert min(kept.values()) >= 9
    assert kept["conv_3"] == 9  # it has no more


def test_sparsity_beyond_the_limits_is_refused_with_what_is_in_reach():
    with pytest.raises(
        ValueError, match=r"cannot remove that much here\. Received: sparsity=0\.9000\. Use at most 0\.7"
    ):
        kept_channels(wrap(model(), min_channels=8), 0.9)


def test_limits_by_name_and_pattern():
    masked = wrap(model(), round_to={"conv_*": 4, "conv_1": 10}, min_channels={"conv_0": 8})
    groups = {group.name: (group.round_to, group.min_channels) for group in trace(masked).prunable_groups}
    assert groups == {"conv_0": (4, 8), "conv_1": (10, 1), "conv_2": (4, 1), "conv_3": (4, 1)}


def test_blocks_go_as_one():
    masked = wrap(model(), channel_block={"conv_1": 5})
    (group,) = (group for group in trace(masked).prunable_groups if group.name == "conv_1")
    assert (group.size, group.unit_channels) == (4, 5)
    graph = trace(masked)
    set_masks(masked, mask_space(graph, FEATURE_MAP, 0.5).sample(np.random.default_rng(0)), graph=graph)
    keep = keras.ops.convert_to_numpy(masked.get_layer("conv_1").output_keep).reshape(4, 5)
    assert (keep == keep[:, :1]).all()
    assert 0 < keep.sum() < 20


def test_block_that_does_not_divide_the_channels_has_a_shorter_last_one():
    groups = trace(model(), channel_block={"conv_3": 4}).prunable_groups
    assert [(g.size, g.unit_channels) for g in groups if g.name.startswith("conv_3")] == [(2, 4)]
    assert [g.reason for g in trace(model(), channel_block={"conv_3": 4}).groups if g.name == "conv_3/2"] == [
        "its channels go together, and some have to stay"
    ]


def test_groups_of_several_producers_heed_all_of_them():
    inputs = keras.Input((8, 8, 2))
    x = zoo.conv(inputs, 4, name="stem")
    x = _L.Add()([zoo.conv(x, 24, name="a"), zoo.conv(x, 24, name="b")])
    net = keras.Model(inputs, _L.Dense(3)(_L.GlobalAveragePooling2D()(x)))
    (group,) = trace(net, round_to={"a": 4, "b": 6}, min_channels={"b": 7}).prunable_groups
    assert (group.round_to, group.min_channels) == (12, 7)


def test_limits_survive_saving(tmp_path):
    masked = wrap(model(), round_to=8, min_channels=4, channel_block={"conv_1": 2})
    masked.save(tmp_path / "masked.keras")
    reloaded = keras.models.load_model(tmp_path / "masked.keras")
    assert trace(reloaded).limits == trace(masked).limits
    assert {limit.round_to for limit in trace(reloaded).limits.values()} == {8}


WRONG = {
    "zero": ({"round_to": 0}, ValueError, r"round_to must be at least 1\. Received: round_to=0"),
    "negative": ({"min_channels": {"conv_0": -1}}, ValueError, r"min_channels must be at least 1\. Received"),
    "fraction": ({"round_to": 0.5}, TypeError, r"round_to must be a whole number of channels\. Received: 0\.5"),
    "boolean": ({"min_channels": True}, TypeError, r"min_channels must be a whole number of channels\. Received: True"),
    "unknown name": (
        {"channel_block": {"nothing": 2}},
        ValueError,
        r"channel_block names no convolution or dense layer\. Received: 'nothing'\. Use one of: stem, conv_0",
    ),
}


@pytest.mark.parametrize("limits, error, message", WRONG.values(), ids=WRONG)
def test_wrong_limits_are_refused(limits, error, message):
    with pytest.raises(error, match=message):
        wrap(model(), **limits)
