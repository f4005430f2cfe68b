"""What masked models refuse, and that nothing is written then."""

import keras
import numpy as np
import pytest

import tf_structprune as sp
from tests import zoo
from tf_structprune.layers import MaskedLayer, polarity_of

KEEP = np.ones((6, 5), bool)
DENSE = np.tile(np.array([[1, 0]], np.int32), (6, 1))


@pytest.mark.parametrize(
    "masks, message",
    [
        (sp.MaskSet({"z": np.ones(3, bool)}), r"'chain' has no channel group of that name\. Received: group='z'\. Use"),
        (sp.MaskSet({"b": np.ones(5, bool)}), r"Group 'b': .* Received: shape=\(5,\)\. Use shape \(6,\)"),
        (sp.MaskSet({"a": np.zeros(4, bool)}), r"Group 'a': its channels may not be removed, because .*kept when"),
        (sp.MaskSet(kernel={"z": KEEP}), r"no layer of that name\. Received: layer='z'\. Use one of: a, b, c, class"),
        (sp.MaskSet(kernel={"a": KEEP}), r"Layer 'a' holds no kernel masks: .* Use wrap\(model, granularity="),
        (
            sp.MaskSet(kernel={"c": KEEP.T}),
            r"Layer 'c': kernel masks of .* Received: shape=\(5, 6\)\. Use shape \(6, 5",
        ),
        (sp.MaskSet(intra_kernel={"classifier": DENSE}), r"Layer 'classifier' holds no intra_kernel masks"),
        (
            sp.MaskSet(intra_kernel={"c": DENSE[:3]}),
            r"Layer 'c': intra_kernel masks of the .* Received: shape=\(3, 2\)",
        ),
        (sp.MaskSet(intra_kernel={"c": DENSE * 0}), r"Layer 'c': .*stride >= 1, offset >= 0.*least stride=0"),
        (sp.MaskSet(intra_kernel={"c": DENSE - [0, 1]}), r"Layer 'c': .*least offset=-1\. Use \(1, 0\) to keep all"),
    ],
)
def test_set_masks_refuses_and_writes_nothing(masks, message):
    masked = sp.wrap(zoo.build("chain"))
    before = sp.get_masks(masked)
    good = sp.MaskSet({"c": np.array([True, False] * 2 + [True])}, {"b": np.zeros((4, 6), bool)})
    mixed = sp.MaskSet(*({**good.of(kind), **masks.of(kind)} for kind in ("feature_map", "kernel", "intra_kernel")))
    with pytest.raises(ValueError, match=message):
        sp.set_masks(masked, mixed)
    assert sp.get_masks(masked).equals(before)


@pytest.mark.parametrize("granularity", ["kernel", "intra_kernel"])
def test_set_masks_refuses_a_granularity_that_was_not_wrapped(granularity):
    source, masked = sp.wrap(zoo.build("chain")), sp.wrap(zoo.build("chain"), granularity=granularity)
    with pytest.raises(ValueError, match=r"Layer 'a' holds no feature_map masks: .*without that granularity"):
        sp.set_masks(masked, sp.random_masks(source, {"feature_map": 0.5}))


def test_set_masks_keeps_what_has_no_entry():
    masked = sp.wrap(zoo.build("chain"))
    first = sp.random_masks(masked, {"feature_map": 0.3, "kernel": 0.3})
    sp.set_masks(masked, first)
    only = sp.MaskSet(feature_map={"c": np.array([True, True, True, True, False])})
    sp.set_masks(masked, only)
    found = sp.get_masks(masked)
    assert np.array_equal(found.feature_map["b"], first.feature_map["b"])
    assert np.array_equal(found.feature_map["c"], only.feature_map["c"])
    assert all(np.array_equal(found.kernel[name], mask) for name, mask in first.kernel.items())


@pytest.mark.parametrize(
    "call",
    [sp.get_masks, sp.unwrap, polarity_of, lambda m: sp.set_masks(m, sp.MaskSet()), lambda m: sp.random_masks(m, {})],
    ids=["get_masks", "unwrap", "polarity_of", "set_masks", "random_masks"],
)
def test_plain_model_is_refused(call):
    with pytest.raises(ValueError, match=r"Model 'chain' has no masks\. Received: a plain model\. Use wrap\(model\)"):
        call(zoo.build("chain"))


def test_wrap_refuses_a_masked_model():
    with pytest.raises(ValueError, match=r"Model 'chain' is masked already\. Received: .* or unwrap it first"):
        sp.wrap(sp.wrap(zoo.build("chain")))


def test_wrap_refuses_a_model_with_nothing_to_prune():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)], name="thin")
    with pytest.raises(
        ValueError, match=r"'thin' has nothing to prune.*: it is the last layer with a kernel\. Use a deeper"
    ):
        sp.wrap(model)


def test_wrap_of_one_convolution_and_a_classifier_names_what_would_make_it_prunable():
    layers = [keras.layers.Conv2D(4, 3, name="first"), keras.layers.Flatten(), keras.layers.Dense(2, name="head")]
    model = keras.Sequential([keras.Input((8, 8, 1)), *layers], name="small")
    message = r"first: it is the first convolution; head: .*Use keep_first=False \(--prune-first on the command line\)"
    with pytest.raises(ValueError, match=message):
        sp.wrap(model)
    assert sp.trace(sp.wrap(model, keep_first=False)).prunable_weights == 36
    with pytest.raises(ValueError, match="Use a deeper model, or keep fewer layers"):
        sp.wrap(model, keep=["first"], keep_first=False)


def test_wrap_refuses_an_unknown_granularity():
    with pytest.raises(
        ValueError, match=r"Unknown granularity\. Received: granularity='channel'\. Use one of: feature"
    ):
        sp.wrap(zoo.build("chain"), granularity=("kernel", "channel"))


def test_wrap_refuses_an_unknown_polarity():
    with pytest.raises(ValueError, match=r"Layer 'a': unknown polarity\. Received: polarity='both'\. Use one of: keep"):
        sp.wrap(zoo.build("chain"), polarity="both")


def test_wrap_refuses_a_keep_that_matches_nothing():
    with pytest.raises(ValueError, match=r"has no layer to keep by that name\. Received: keep='zz'"):
        sp.wrap(zoo.build("chain"), keep=["zz"])


def test_wrap_refuses_what_is_no_model():
    with pytest.raises(TypeError, match=r"Only Keras 3 models can be traced\. Received: builtins\.str"):
        sp.wrap("model.keras")


def test_masked_layer_refuses_an_unknown_granularity():
    with pytest.raises(ValueError, match=r"Unknown granularity\. Received: granularity='x'"):
        MaskedLayer(keras.layers.Dense(2), granularity=("x",))


@pytest.mark.parametrize(
    "sparsity, message",
    [
        ({"kernel": 1.0}, r"Granularity 'kernel': sparsity must be in \[0, 1\)\. Received: sparsity=1\.0"),
        ({"kernels": 0.5}, r"Unknown granularity\. Received: granularity='kernels'"),
        ({"feature_map": 0.99}, r"Granularity 'feature_map' cannot remove that much here\. Received: sparsity=0\.99"),
    ],
    ids=["range", "name", "reach"],
)
def test_random_masks_refuse(sparsity, message):
    with pytest.raises(ValueError, match=message):
        sp.random_masks(sp.wrap(zoo.build("chain")), sparsity)


def test_random_masks_follow_their_seed_and_do_not_touch_the_model():
    masked = sp.wrap(zoo.build("residual_twice"))
    before, sparsity = sp.get_masks(masked), {"feature_map": 0.4, "kernel": 0.3, "intra_kernel": 0.2}
    first, again, other = (sp.random_masks(masked, sparsity, seed=seed) for seed in (0, 0, 1))
    assert first.equals(again)
    assert not first.equals(other)
    assert sp.get_masks(masked).equals(before)
    found = sp.sparsity_of(sp.trace(masked), first)
    assert 1 - 0.6 * 0.7 * 0.8 <= found < 1 - 0.6 * 0.7 * 0.8 + 0.1


def test_random_masks_draw_only_the_strides_asked_for():
    masked = sp.wrap(zoo.build("chain"))
    masks = sp.random_masks(masked, {"intra_kernel": 0.5}, strides=(1, 3))
    assert set(np.concatenate(list(masks.intra_kernel.values()))[:, 0]) == {1, 3}
