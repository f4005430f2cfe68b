"""A model file is loaded without running its code, or refused in one sentence."""

import json
import zipfile

import keras
import numpy as np
import pytest
import tf_keras

from tests.tf_structprune.legacy import old_models
from tests.tflite_export.compress import tiny
from tflite_export.compress import load_model


class Unregistered(keras.Model):
    """A subclassed model that Keras cannot find again."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.dense = keras.layers.Dense(2)

    def call(self, inputs):
        return self.dense(inputs)


def changed(source, path, change):
    """A copy of a model file whose entries `change` has seen; None takes one out."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = change(name, old.read(name))
            if content is not None:
                new.writestr(name, content)


@pytest.fixture
def good(tmp_path):
    path = tmp_path / "good.keras"
    tiny.trained().save(path)
    return path


def test_loads_what_keras_saved(good):
    x, _ = tiny.arrays(20)
    model = load_model(str(good))
    np.testing.assert_array_equal(model.predict(x, verbose=0), tiny.trained().predict(x, verbose=0))
    assert not model.compiled


@pytest.mark.parametrize("name", ["none.keras", "folder.keras"])
def test_missing_file_is_refused(tmp_path, name):
    (tmp_path / "folder.keras").mkdir()
    with pytest.raises(FileNotFoundError, match=f"No model file there. Received: .*{name}. Give a .keras file"):
        load_model(tmp_path / name)


def test_wrong_suffix_is_refused(good, tmp_path):
    path = good.rename(tmp_path / "model.pb")
    with pytest.raises(
        ValueError, match="is not a .keras or .h5 file. Received: suffix '.pb'. Save it with model.save"
    ):
        load_model(path)


def test_loads_what_keras_2_saved(tmp_path):
    old = old_models.randomise(tf_keras.Sequential([old_models.L.Conv2D(3, 3, input_shape=(8, 8, 1))]))
    x, _ = tiny.arrays(4)
    model = load_model(old_models.save(old, tmp_path / "old.h5"))
    np.testing.assert_allclose(model.predict(x, verbose=0), old.predict(x, verbose=0), atol=1e-5)


def test_other_h5_is_refused(tmp_path):
    (tmp_path / "model.h5").write_bytes(b"text")
    with pytest.raises(ValueError, match="is not an HDF5 file"):
        load_model(tmp_path / "model.h5")


BYTES = {
    "no bytes": (lambda content: b"", "Received: 0 bytes that are no zip archive"),
    "truncated": (lambda content: content[: len(content) // 2], "damaged or no Keras 3 model file. Received: "),
    "foreign": (lambda content: b"\x89HDF\r\n\x1a\n" + bytes(100), "Received: 108 bytes that are no zip archive"),
}


@pytest.mark.parametrize("change, message", BYTES.values(), ids=BYTES)
def test_bytes_that_are_no_zip_are_refused(good, change, message):
    good.write_bytes(change(good.read_bytes()))
    with pytest.raises(ValueError, match=message) as refused:
        load_model(good)
    assert str(refused.value).startswith(str(good))


def layer_only(name, content):
    lone = {"module": "keras.layers", "class_name": "Dense", "config": {"units": 3}, "registered_name": None}
    return json.dumps(lone) if name == "config.json" else content


ENTRIES = {
    "no model": (lambda name, content: None if name == "config.json" else content, "KeyError: .*no item named 'config"),
    "config no JSON": (lambda name, content: "{" if name == "config.json" else content, "Received: JSONDecodeError: "),
    "weights missing": (
        lambda name, content: None if "weights" in name else content,
        r"Received: ValueError: Expected a model.weights.h5 or model.weights.npz file\. Save it anew",
    ),
    "weights cut": (lambda name, content: content[:500] if "weights" in name else content, "Received: OSError: "),
    "a lone layer": (layer_only, "holds no model. Received: Dense. Save the whole model"),
}


@pytest.mark.parametrize("change, message", ENTRIES.values(), ids=ENTRIES)
def test_zip_that_is_no_whole_model_is_refused(good, tmp_path, change, message):
    path = tmp_path / "changed.keras"
    changed(good, path, change)
    with pytest.raises(ValueError, match=message) as refused:
        load_model(path)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_lambda_layer_is_refused(tmp_path):
    path = tmp_path / "lambda.keras"
    keras.Sequential([keras.Input((4,)), keras.layers.Lambda(lambda x: 2 * x)]).save(path)
    with pytest.raises(ValueError, match="cannot be loaded as a Keras 3 model. .*deserialization of a `Lambda` layer"):
        load_model(path)


def test_custom_class_is_refused_by_name(tmp_path):
    path = tmp_path / "custom.keras"
    model = Unregistered()
    model(np.zeros((1, 4), np.float32))
    model.save(path)
    with pytest.raises(ValueError, match="TypeError: Could not locate class 'Unregistered'. .*register custom layers"):
        load_model(path)
