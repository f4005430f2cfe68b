"""A converted model computes what the Keras 2 model computes, and the source stays as it was."""

import hashlib
import json

import h5py
import keras
import numpy as np
import pytest

from tests.tf_structprune.legacy.old_models import (
    IMAGE,
    MODELS,
    L,
    assert_same_outputs,
    batch_for,
    converted,
    edit,
    nested,
    randomise,
    residual,
    save,
    sequential,
    tf_keras,
)
from tf_structprune import from_legacy

HOW = pytest.mark.parametrize("how", ["live", "file"])


@HOW
@pytest.mark.parametrize("name", MODELS)
def test_outputs_and_names_are_those_of_the_old_model(tmp_path, name, how):
    old = randomise(MODELS[name]())
    new = converted(old, tmp_path, how)
    assert isinstance(new, keras.Model)
    assert new.name == old.name
    assert {layer.name for layer in new.layers} == {layer.name for layer in old.layers}
    assert new.count_params() == old.count_params()
    assert_same_outputs(new, old)


@HOW
@pytest.mark.parametrize("frozen", [("block",), ("block_bn",), ("deep_bn", "stack_bn")], ids="+".join)
def test_frozen_layers_keep_their_weights_and_stay_frozen(tmp_path, frozen, how):
    old = randomise(nested(frozen))
    new = converted(old, tmp_path, how)
    assert_same_outputs(new, old)
    assert len(new.trainable_weights) == len(old.trainable_weights) < len(nested().trainable_weights)


def test_model_frozen_after_its_layer_was_released(tmp_path):
    old = nested()
    old.trainable = False
    old.layers[-2].trainable = True
    new = converted(randomise(old), tmp_path, "file")
    assert_same_outputs(new, old)
    assert new.trainable_weights == []


def test_converted_model_saves_and_reloads(tmp_path):
    old = randomise(residual())
    new = from_legacy(old)
    new.save(tmp_path / "new.keras")
    assert_same_outputs(keras.models.load_model(tmp_path / "new.keras"), old)


def test_converted_model_trains():
    new = from_legacy(residual())
    new.compile("sgd", "sparse_categorical_crossentropy")
    before = new.get_weights()
    new.fit(np.ones((4, *IMAGE)), np.arange(4) % 3, verbose=0)
    assert not all(np.array_equal(a, b) for a, b in zip(before, new.get_weights(), strict=True))


def test_source_is_not_changed(tmp_path):
    old = randomise(nested())
    path = save(old, tmp_path / "old.h5")
    weights, config, digest = old.get_weights(), old.to_json(), hashlib.sha256(path.read_bytes()).hexdigest()
    for source in (old, path):
        new = from_legacy(source)
        new.set_weights([weight + 1 for weight in new.get_weights()])
    assert old.to_json() == config
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
    for before, after in zip(weights, old.get_weights(), strict=True):
        np.testing.assert_array_equal(after, before)


def test_slash_in_a_name_becomes_an_underscore(tmp_path):
    inputs = L.Input(IMAGE, name="in/put")
    old = randomise(tf_keras.Model(inputs, L.Conv2D(2, 3, name="block/conv")(inputs) + 1.0))
    new = converted(old, tmp_path, "file")
    assert [layer.name for layer in new.layers][:2] == ["in_put", "block_conv"]
    assert_same_outputs(new, old)


@pytest.mark.parametrize("bare_list", [True, False], ids=["list", "dict"])
def test_sequential_of_early_keras_2_without_input_layer(tmp_path, bare_list):
    old = randomise(sequential())
    path = save(old, tmp_path / "old.h5")
    edit(path, lambda config: config["layers"].pop(0))
    if bare_list:
        with h5py.File(path, "a") as file:
            whole = json.loads(file.attrs["model_config"])
            file.attrs["model_config"] = json.dumps({**whole, "config": whole["config"]["layers"]})
    assert_same_outputs(from_legacy(str(path)), old)


def test_inputs_and_outputs_may_be_dicts():
    inputs = {"u": L.Input(IMAGE, name="u"), "v": L.Input(IMAGE, name="v")}
    inner_inputs = {"a": L.Input(IMAGE, name="a"), "b": L.Input(IMAGE, name="b")}
    inner = tf_keras.Model(inner_inputs, inner_inputs["a"] - inner_inputs["b"])
    x = inner({"a": inputs["v"], "b": inputs["u"]})
    old = randomise(tf_keras.Model(inputs, {"flat": L.Flatten(name="flat")(x), "conv": L.Conv2D(2, 1, name="conv")(x)}))
    u, v = batch_for(tf_keras.Model(list(inputs.values()), x))
    found, expected = (model({"u": u, "v": v}, training=False) for model in (from_legacy(old), old))
    assert found.keys() == expected.keys() == {"flat", "conv"}
    for key in expected:
        np.testing.assert_allclose(found[key], expected[key], rtol=1e-5, atol=1e-5)


def test_precision_policy_is_kept(tmp_path):
    inputs = L.Input(IMAGE)
    x = L.Conv2D(2, 3, dtype=tf_keras.mixed_precision.Policy("mixed_bfloat16"), name="half")(inputs)
    old = randomise(tf_keras.Model(inputs, L.Flatten(dtype="float32")(x)))
    new = converted(old, tmp_path, "file")
    assert new.get_layer("half").dtype_policy.name == "mixed_bfloat16"
    assert_same_outputs(new, old, tolerance=1e-2)


@pytest.mark.parametrize(
    "build",
    [
        lambda: tf_keras.applications.MobileNet(weights=None, alpha=0.25, input_shape=(32, 32, 3)),
        lambda: tf_keras.applications.MobileNetV3Small(weights=None, alpha=0.75, input_shape=(32, 32, 3)),
        pytest.param(
            lambda: tf_keras.applications.ResNet50(weights=None, input_shape=(32, 32, 3)), marks=pytest.mark.sweep
        ),
    ],
    ids=["mobilenet", "mobilenet_v3", "resnet50"],
)
def test_published_architectures(build):
    old = randomise(build(), scale=0.1)
    assert_same_outputs(from_legacy(old), old)
