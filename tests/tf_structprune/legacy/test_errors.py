"""Sources that are no Keras 2 model are refused with what they are and what to do."""

import json

import h5py
import keras
import numpy as np
import pytest

from tests.tf_structprune.legacy.old_models import L, edit, randomise, residual, save, sequential, tf_keras
from tf_structprune.legacy import from_legacy


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no file .*none.h5"):
        from_legacy(tmp_path / "none.h5")


def test_directory(tmp_path):
    with pytest.raises(ValueError, match="is a directory.*tf_keras.models.load_model"):
        from_legacy(tmp_path)


def test_keras_file(tmp_path):
    (tmp_path / "a.keras").write_bytes(b"PK")
    with pytest.raises(ValueError, match="is a .keras file.*Use keras.models.load_model"):
        from_legacy(str(tmp_path / "a.keras"))


def test_file_that_is_not_hdf5(tmp_path):
    (tmp_path / "a.h5").write_text("text")
    with pytest.raises(ValueError, match="is not an HDF5 file"):
        from_legacy(tmp_path / "a.h5")


def test_hdf5_file_without_a_model(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.zeros(3)
    with pytest.raises(ValueError, match="holds no Keras model"):
        from_legacy(tmp_path / "a.h5")


def test_weights_only_file(tmp_path):
    sequential().save_weights(tmp_path / "a.h5")
    with pytest.raises(ValueError, match="holds weights only, not a whole model.*model.save"):
        from_legacy(tmp_path / "a.h5")


def test_h5_file_of_keras_3(tmp_path):
    path = save(sequential(), tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        file.attrs["keras_version"] = "3.15.1"
    with pytest.raises(ValueError, match="was written by Keras 3.15.1 and is not legacy"):
        from_legacy(path)


def test_keras_3_model():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)], name="modern")
    with pytest.raises(TypeError, match="Model 'modern' is a Keras 3 model, not a legacy one"):
        from_legacy(model)


@pytest.mark.parametrize("source", [None, 3, tf_keras.layers.Dense(1)], ids=["none", "int", "layer"])
def test_neither_path_nor_model(source):
    with pytest.raises(TypeError, match="takes the path of a Keras 2 .h5 file or a live tf_keras model. Received"):
        from_legacy(source)


def test_subclassed_model():
    class Own(tf_keras.Model):
        def __init__(self):
            super().__init__(name="own")
            self.dense = L.Dense(2)

        def call(self, inputs):
            return self.dense(inputs)

    model = Own()
    model(np.zeros((1, 3), "float32"))
    with pytest.raises(ValueError, match=r"Model 'own' is subclassed \(Own\)"):
        from_legacy(model)


def test_unbuilt_model():
    with pytest.raises(ValueError, match="Model 'empty' is not built"):
        from_legacy(tf_keras.Sequential([L.Dense(2)], name="empty"))


def test_sequential_file_without_an_input_shape(tmp_path):
    def forget(config):
        config["layers"].pop(0)
        config["layers"][0]["config"].pop("batch_input_shape")

    with pytest.raises(ValueError, match="Sequential model 'plain' has no input shape"):
        from_legacy(edit(save(sequential(), tmp_path / "a.h5"), forget))


def test_groups_that_keras_3_has_not(tmp_path):
    def group(config):
        config["layers"][1]["config"]["groups"] = 3

    path = save(tf_keras.Sequential([L.DepthwiseConv2D(3, input_shape=(8, 8, 3), name="dw")]), tmp_path / "a.h5")
    with pytest.raises(ValueError, match="Layer 'dw': groups must be 1"):
        from_legacy(edit(path, group))


def test_weights_of_another_number(tmp_path):
    path = save(residual(), tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        group = file["model_weights/second"]
        group.attrs["weight_names"] = group.attrs["weight_names"][:1]
    with pytest.raises(ValueError, match="layer 'second' has 1 weights, but 2 were expected"):
        from_legacy(path)


def test_weights_of_another_shape(tmp_path):
    def widen(config):
        next(layer for layer in config["layers"] if layer["name"] == "scores")["config"]["units"] = 5

    with pytest.raises(ValueError, match=r"layer 'scores' needs a weight kernel of shape \(4, 5\). Received: scores/"):
        from_legacy(edit(save(randomise(residual()), tmp_path / "a.h5"), widen))


def test_names_above_64_kilobytes_are_read_in_chunks(tmp_path):
    old = randomise(residual())
    path = save(old, tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        group = file["model_weights"]
        names = list(group.attrs["layer_names"])
        del group.attrs["layer_names"]
        group.attrs["layer_names0"], group.attrs["layer_names1"] = names[:3], names[3:]
    new = from_legacy(path)
    np.testing.assert_array_equal(new.get_layer("scores").kernel, old.get_layer("scores").kernel)


def _config(change):
    """Changes the whole configuration in a file; what `change` gives takes its place."""

    def damage(file):
        config = json.loads(file.attrs["model_config"])
        file.attrs["model_config"] = json.dumps(change(config) or config)

    return damage


def _layer(index, **changes):
    return _config(lambda config: config["config"]["layers"][index].update(changes))


def _replaced(name, make):
    def damage(file):
        del file[name]
        make(file, name)

    return damage


KERNEL = "model_weights/second/second/kernel:0"
DAMAGES = {
    "no weights": (lambda file: file.pop("model_weights"), "holds a model without its weights"),
    "no config": (_config(lambda _: {"class_name": "Functional"}), "Received: KeyError: 'config'"),
    "config of another kind": (_config(lambda _: [1]), "Received: TypeError: "),
    "deep config": (lambda file: file.attrs.modify("model_config", "[" * 20_000), "Received: RecursionError: "),
    "wrapper of nothing": (_layer(2, class_name="PruneLowMagnitude"), "Received: KeyError: 'layer'"),
    "operator without a function": (_layer(2, class_name="TFOpLambda"), "Received: KeyError: 'function'"),
    "node of another form": (_layer(3, inbound_nodes=[["b1"]]), "Received: IndexError: "),
    "module of a stranger": (
        _layer(3, class_name="system", module="os", registered_name=None),
        r"\(system\) has no equivalent in Keras 3",
    ),
    "external link": (
        _replaced(KERNEL, lambda file, name: file.__setitem__(name, h5py.ExternalLink("/etc/hostname", "/"))),
        "kernel:0 is a link to something else",
    ),
    "dataset in another file": (
        _replaced(KERNEL, lambda f, name: f.create_dataset(name, (3,), "u1", external=[("/etc/hostname", 0, 3)])),
        "kernel:0 lies in another file",
    ),
    "terabytes stored nowhere": (
        _replaced(KERNEL, lambda file, name: file.create_dataset(name, (2**20, 2**18), "f4", chunks=(16, 16))),
        "it declares 1,099,.* more than 100 times as many",
    ),
}


@pytest.mark.parametrize("damage, message", DAMAGES.values(), ids=DAMAGES)
def test_damaged_file_is_refused_in_one_sentence_that_names_it(tmp_path, damage, message):
    path = save(residual(), tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        damage(file)
    with pytest.raises(ValueError, match=message) as caught:
        from_legacy(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_more_units_than_bytes_of_weights_are_refused(tmp_path):
    def widen(config):
        next(layer for layer in config["layers"] if layer["name"] == "scores")["config"]["units"] = 10**12

    with pytest.raises(ValueError, match=r"a layer with units=1000000000000 and only [\d,]+ bytes of weights"):
        from_legacy(edit(save(residual(), tmp_path / "a.h5"), widen))
