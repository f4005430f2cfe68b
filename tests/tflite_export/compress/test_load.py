"""A model file is loaded without running its code, or refused in one sentence."""

import io
import json
import zipfile

import h5py
import keras
import numpy as np
import pytest
import tf_keras

from tests.tf_structprune.legacy import old_models
from tests.tflite_export.compress import tiny
from tf_structprune import from_legacy
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


def test_loads_h5_of_keras_3(tmp_path):
    x, _ = tiny.arrays(4)
    tiny.fresh().save(tmp_path / "model.h5")  # Keras changes what the model was compiled with
    model = load_model(tmp_path / "model.h5")
    np.testing.assert_allclose(model.predict(x, verbose=0), tiny.trained().predict(x, verbose=0), atol=1e-6)


def old_network():
    return old_models.randomise(tf_keras.Sequential([old_models.L.Conv2D(3, 3, input_shape=(8, 8, 1))]))


FOREIGN = {
    "SavedModel": (
        "old",
        {"save_format": "tf"},
        r"old is a SavedModel folder, .* Load it with tf_keras\.models\.load_mod",
    ),
    "Keras 2": (
        "old.keras",
        {},
        r"old\.keras was written by Keras 2\..* Load it with tf_keras\.models\.load_model, pass",
    ),
}


@pytest.mark.parametrize("name, settings, message", FOREIGN.values(), ids=FOREIGN)
def test_what_only_keras_2_loads_is_refused_with_the_call_that_does(tmp_path, name, settings, message):
    old = old_network()
    old.save(tmp_path / name, **settings)
    with pytest.raises(ValueError, match=message):
        load_model(tmp_path / name)
    x, _ = tiny.arrays(4)
    model = from_legacy(tf_keras.models.load_model(tmp_path / name))  # as the message says
    np.testing.assert_allclose(model.predict(x, verbose=0), old.predict(x, verbose=0), atol=1e-5)


def larger(name, content):
    return content.replace(b'"units": 12', b'"units": 120000000000') if name == "config.json" else content


def shape_bomb(name, content):
    """Weights of a terabyte that are stored nowhere."""
    if "weights" not in name:
        return content
    buffer = io.BytesIO(content)
    with h5py.File(buffer, "a") as file:
        del file["layers/dense/vars/0"]
        file.create_dataset("layers/dense/vars/0", (2**20, 2**18), "f4", chunks=(16, 16))
    return buffer.getvalue()


BOMBS = {
    "units": (larger, r"it has a layer with units=120000000000 and only [\d,]+ bytes of weights\. Save it anew"),
    "shape": (shape_bomb, r"it declares 1,099,\d+,\d+,\d+ bytes and stores [\d,]+, more than 100 times as many\. Save"),
}


@pytest.mark.parametrize("change, message", BOMBS.values(), ids=BOMBS)
def test_sizes_that_the_file_does_not_hold_are_refused_before_memory_is_asked_for(good, tmp_path, change, message):
    path = tmp_path / "changed.keras"
    changed(good, path, change)
    with pytest.raises(ValueError, match=message):
        load_model(path)


def test_archive_that_unpacks_to_much_more_than_it_holds_is_refused(good, tmp_path):
    path = tmp_path / "changed.keras"
    with zipfile.ZipFile(good) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
        new.writestr("assets/zeros", bytes(2**28))
    assert path.stat().st_size < 2**20
    with pytest.raises(
        ValueError, match=r"it declares 268,\d+,\d+ bytes and stores [\d,]+, more than 100 times as many"
    ):
        load_model(path)


def test_weights_that_are_missing_are_not_made_up(good, tmp_path):
    def emptied(name, content):
        if "weights" not in name:
            return content
        buffer = io.BytesIO(content)
        with h5py.File(buffer, "a") as file:
            del file["layers/dense"]
        return buffer.getvalue()

    changed(good, tmp_path / "changed.keras", emptied)
    with pytest.raises(ValueError, match="cannot be loaded as a Keras 3 model"):
        load_model(tmp_path / "changed.keras")
