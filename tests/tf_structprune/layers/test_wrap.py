"""Masked models: same outputs, exact masks, saved and reloaded."""

import copy

import keras
import numpy as np
import pytest

import tf_structprune as sp
from tests import zoo
from tf_structprune.layers import MaskedLayer, folded_weights, is_masked, polarity_of
from tf_structprune.masks import GRANULARITIES, POLARITIES, positions_kept

EVERYTHING = {"feature_map": 0.25, "kernel": 0.2, "intra_kernel": 0.15, "weight": 0.1}
TOPOLOGIES = ("chain", "flatten_head", "residual_projection", "dense_on_maps", "sequential")
each_polarity = pytest.mark.parametrize("polarity", POLARITIES)


def masked_at(name, sparsity, seed=0, **options):
    masked = sp.wrap(zoo.build(name), granularity=GRANULARITIES, **options)
    sp.set_masks(masked, sp.random_masks(masked, sparsity, seed=seed))
    return masked


def reference_mask(masked, layer, polarity):
    """What the masks of one layer keep, entry by entry, shape of its kernel."""
    graph, masks = sp.trace(masked), sp.get_masks(masked)
    plain, channels = graph.layer(layer), graph.channels[layer]
    gone = {int(u) for g in graph.prunable_groups for u in g.units[~masks.feature_map[g.name]]}
    keep = np.ones((plain.positions, plain.inputs, plain.outputs), bool)
    for i, unit in enumerate(channels.inputs):
        keep[:, i, :] &= int(unit) not in gone
        if layer in masks.intra_kernel:
            keep[:, i, :] &= positions_kept(masks.intra_kernel[layer][i : i + 1], plain.positions, polarity)
    for o, unit in enumerate(channels.outputs):
        keep[:, :, o] &= int(unit) not in gone
    if layer in masks.kernel:
        keep &= masks.kernel[layer]
    if layer in masks.weight:
        keep &= masks.weight[layer]
    return keep.reshape(plain.kernel_shape)


@pytest.mark.every(2)
@pytest.mark.parametrize("name", zoo.ZOO)
def test_wrapping_and_unwrapping_change_no_output(name):
    model = zoo.build(name)
    masked = sp.wrap(model)
    assert zoo.largest_difference(model, masked, zoo.batch()) == 0
    plain = sp.unwrap(masked)
    assert not is_masked(plain)
    assert zoo.largest_difference(model, plain, zoo.batch()) == 0
    assert [type(layer) for layer in plain.layers] == [type(layer) for layer in model.layers]


@pytest.mark.every(3)
@each_polarity
@pytest.mark.parametrize("name", TOPOLOGIES)
def test_masked_kernels_equal_the_reference(name, polarity):
    masked = sp.wrap(zoo.build(name), polarity=polarity, granularity=GRANULARITIES)
    everything = sp.get_masks(masked)
    for granularity in (*((kind,) for kind in GRANULARITIES), GRANULARITIES):
        sp.set_masks(masked, everything)
        sp.set_masks(masked, sp.random_masks(masked, {kind: EVERYTHING[kind] for kind in granularity}, seed=1))
        check_masked_kernels(masked, polarity)


def check_masked_kernels(masked, polarity):
    """Every masked kernel is the one that is computed by hand; something is removed."""
    removed, graph = 0, sp.trace(masked)
    for layer in graph.layers:
        wrapper = masked.get_layer(layer.name)
        keep, kernel = reference_mask(masked, layer.name, polarity), wrapper.layer.get_weights()[0]
        assert np.array_equal(keras.ops.convert_to_numpy(wrapper.effective_kernel()), np.where(keep, kernel, 0))
        assert np.array_equal(folded_weights(wrapper)[0], np.where(keep, kernel, 0))
        assert sp.kept_weights(graph, sp.get_masks(masked, graph=graph), polarity)[layer.name] == keep.sum()
        removed += int((~keep).sum())
    assert removed > 0


@each_polarity
@pytest.mark.parametrize("name", TOPOLOGIES)
def test_unwrap_equals_masked(name, polarity):
    masked = masked_at(name, EVERYTHING, polarity=polarity)
    assert zoo.largest_difference(masked, sp.unwrap(masked), zoo.batch()) < 1e-6
    assert zoo.largest_difference(masked, zoo.build(name), zoo.batch()) > 1e-3


@pytest.mark.every(3)
@each_polarity
@pytest.mark.parametrize("name", ["batch_norm_behind_flatten", "residual_twice", "two_outputs", "sequential"])
def test_saved_model_reloads_equal(name, polarity, tmp_path):
    masked = masked_at(name, EVERYTHING, polarity=polarity)
    masked.save(tmp_path / "masked.keras")
    loaded = keras.models.load_model(tmp_path / "masked.keras")
    assert zoo.largest_difference(masked, loaded, zoo.batch()) == 0
    assert sp.get_masks(loaded).equals(sp.get_masks(masked))
    assert polarity_of(loaded) == polarity
    assert str(sp.trace(loaded)) == str(sp.trace(masked))


def test_weights_file_carries_the_masks(tmp_path):
    masked = masked_at("chain", EVERYTHING)
    masked.save_weights(tmp_path / "masked.weights.h5")
    fresh = sp.wrap(zoo.build("chain", seed=5), granularity=GRANULARITIES)
    fresh.load_weights(tmp_path / "masked.weights.h5")
    assert sp.get_masks(fresh).equals(sp.get_masks(masked))
    assert zoo.largest_difference(masked, fresh, zoo.batch()) == 0


def test_masked_model_remembers_its_kept_layers(tmp_path):
    masked = sp.wrap(zoo.build("chain"), keep=["c"], keep_first=False)
    masked.save(tmp_path / "masked.keras")
    for model in (masked, keras.models.load_model(tmp_path / "masked.keras")):
        graph = sp.trace(model)
        assert [layer.name for layer in graph.prunable_layers] == ["a", "b"]
        assert graph.layer("c").reason == "it was kept when the model was wrapped"


@pytest.mark.parametrize("name", ["chain", "residual_twice", "flatten_head"])
def test_last_layer_loses_weights_on_request_and_never_outputs(name, tmp_path):
    whole, masked = (sp.wrap(zoo.build(name), granularity=GRANULARITIES, keep_last=last) for last in (True, False))
    last = {layer.name for layer in sp.trace(whole).layers if "last layer" in layer.reason}
    assert last and not last & set(sp.get_masks(whole).weight)
    assert last <= set(sp.get_masks(masked).weight) and last <= set(sp.get_masks(masked).kernel)
    assert not last & set(sp.get_masks(masked).feature_map)
    masks = sp.random_masks(masked, {"weight": 0.5})
    sp.set_masks(masked, masks)
    masked.save(tmp_path / "masked.keras")
    again = keras.models.load_model(tmp_path / "masked.keras")
    assert sp.get_masks(again).equals(masks)
    for name in last:
        kernel = sp.unwrap(again).get_layer(name).get_weights()[0]
        assert np.count_nonzero(kernel) == masks.weight[name].sum() < kernel.size


def test_from_config_leaves_its_dict_unchanged():
    layer = MaskedLayer(keras.layers.Conv2D(3, 2, name="x"), granularity=GRANULARITIES, positions=1)
    config = layer.get_config()
    before = copy.deepcopy(config)
    again = MaskedLayer.from_config(config)
    assert config == before
    assert again.get_config() == before
    assert (again.name, again.granularity, again.layer.filters) == ("x", GRANULARITIES, 3)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_keeps_policy_and_outputs(policy, tmp_path):
    keras.config.set_dtype_policy(policy)
    try:
        model = zoo.build("batch_norm_chain")
    finally:
        keras.config.set_dtype_policy("float32")
    masked = sp.wrap(model, granularity=GRANULARITIES)
    assert zoo.largest_difference(model, masked, zoo.batch()) == 0
    sp.set_masks(masked, sp.random_masks(masked, EVERYTHING))
    wrapper = masked.get_layer("b")
    assert wrapper.dtype_policy.name == wrapper.layer.dtype_policy.name == policy
    assert wrapper.layer.kernel.dtype == "float32"
    assert zoo.largest_difference(masked, sp.unwrap(masked), zoo.batch()) < 0.02
    masked.save(tmp_path / "masked.keras")
    assert zoo.largest_difference(masked, keras.models.load_model(tmp_path / "masked.keras"), zoo.batch()) == 0


@each_polarity
def test_removed_weights_do_not_train(polarity):
    masked = masked_at("flatten_head", EVERYTHING, polarity=polarity)
    before = {layer.name: layer.layer.get_weights()[0] for layer in masked.layers if isinstance(layer, MaskedLayer)}
    masks = sp.get_masks(masked)
    masked.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    masked.fit(zoo.batch(16), np.arange(16) % 3, batch_size=8, epochs=2, verbose=0)
    for name, old in before.items():
        keep, new = reference_mask(masked, name, polarity), masked.get_layer(name).layer.get_weights()[0]
        assert np.array_equal(new[~keep], old[~keep])
    assert any((masked.get_layer(n).layer.get_weights()[0] != old).any() for n, old in before.items())
    assert sp.get_masks(masked).equals(masks)


def test_wrap_leaves_the_model_unchanged():
    model = zoo.build("residual_twice")
    config, weights = model.to_json(), model.get_weights()
    masked = sp.wrap(model, granularity=GRANULARITIES)
    sp.set_masks(masked, sp.random_masks(masked, EVERYTHING))
    masked.compile("sgd", "sparse_categorical_crossentropy")
    masked.fit(zoo.batch(8), np.arange(8) % 3, verbose=0)
    assert model.to_json() == config
    assert all(np.array_equal(a, b) for a, b in zip(weights, model.get_weights(), strict=True))


def test_wrap_keeps_the_compile_state():
    model = zoo.build("chain")
    model.compile(keras.optimizers.SGD(0.125), "sparse_categorical_crossentropy", metrics=["accuracy"])
    masked = sp.wrap(model)
    assert float(masked.optimizer.learning_rate) == 0.125
    assert masked.optimizer is not model.optimizer
    assert "accuracy" in masked.fit(zoo.batch(6), np.arange(6) % 3, verbose=0).history


def test_wrap_holds_only_what_was_asked():
    masks = sp.get_masks(sp.wrap(zoo.build("dense_on_maps"), granularity="kernel"))
    assert not masks.feature_map
    assert not masks.intra_kernel
    assert set(masks.kernel) == {"b", "pointwise"}
    assert set(sp.get_masks(sp.wrap(zoo.build("dense_on_maps"))).intra_kernel) == {"b"}  # 1 x 1 has no positions
