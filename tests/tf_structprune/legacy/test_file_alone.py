"""A Keras 2 file is read on any backend, by a file that is written here as Keras 2 writes one, without it."""

import json

import h5py
import keras
import numpy as np

import tf_structprune as sp

KERNEL = np.arange(12, dtype=np.float32).reshape(4, 3) / 10 - 0.5
BIAS = np.array([0.1, -0.2, 0.3], np.float32)


def write(path):
    """A dense layer behind an input of four numbers, in Keras 2's format."""
    layers = [
        {"class_name": "InputLayer", "config": {"batch_input_shape": [None, 4], "dtype": "float32", "name": "in"}},
        {
            "class_name": "Dense",
            "config": {"name": "dense", "trainable": True, "dtype": "float32", "units": 3, "activation": "relu"},
        },
    ]
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = "2.15.0"
        config = {"class_name": "Sequential", "config": {"name": "old", "layers": layers}}
        file.attrs["model_config"] = json.dumps(config)
        weights = file.create_group("model_weights")
        weights.attrs["layer_names"] = [b"dense"]
        dense = weights.create_group("dense")
        dense.attrs["weight_names"] = [b"dense/kernel:0", b"dense/bias:0"]
        dense["dense/kernel:0"], dense["dense/bias:0"] = KERNEL, BIAS
    return path


def test_file_computes_what_it_says(tmp_path):
    model = sp.from_legacy(write(tmp_path / "old.h5"))
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    found = keras.ops.convert_to_numpy(model(x))
    np.testing.assert_allclose(found, np.maximum(x @ KERNEL + BIAS, 0), rtol=1e-5, atol=1e-6)
    assert model.name == "old" and [layer.name for layer in model.layers] == ["dense"]
