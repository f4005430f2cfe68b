"""Prune a model, and round it, on one device or on two in step; a process of its own, run by `test_distribution.py`.

Logical devices of the CPU are made before the backend starts: in TensorFlow here, in JAX by XLA_FLAGS. What the
test compares is written as JSON.
"""

import contextlib
import json
import sys
from pathlib import Path

import keras
import numpy as np
from sklearn.datasets import load_digits

import tf_structprune as sp
from tf_structprune.graph import named_layers
from tf_structprune.layers import MaskedLayer, quantized_layers
from tf_structprune.task import predict

VALIDATION = 397  # a prime, so that its last batch cannot be shared equally
BATCH = 64


class OneDevice:
    """Keras as it is."""

    def scope(self):
        """Where models are made."""
        return contextlib.nullcontext()

    def copies(self, function):
        """What a function of a model's variables gives on each device."""
        return [keras.ops.convert_to_numpy(function())]


class MirroredDevices:
    """Logical devices in step under TensorFlow's `MirroredStrategy`."""

    def __init__(self, count):
        import tensorflow as tf

        (cpu,) = tf.config.list_physical_devices("CPU")
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
        self.strategy = tf.distribute.MirroredStrategy([f"CPU:{index}" for index in range(count)])

    def scope(self):
        """Where models are made."""
        return self.strategy.scope()

    def copies(self, function):
        """What a function of a model's variables gives on each device."""
        return [value.numpy() for value in self.strategy.experimental_local_results(self.strategy.run(function))]


class DataParallelDevices:
    """Logical devices in step under `keras.distribution.DataParallel`, which holds for the whole process."""

    def __init__(self, count):
        devices = keras.distribution.list_devices("cpu")
        if len(devices) != count:
            raise RuntimeError(f"{count} devices were asked for. Received: {devices}. Check XLA_FLAGS.")
        keras.distribution.set_distribution(keras.distribution.DataParallel(devices=devices))

    def scope(self):
        """Where models are made."""
        return contextlib.nullcontext()

    def copies(self, function):
        """What a function of a model's variables gives on each device."""
        return [np.asarray(shard.data) for shard in function().addressable_shards]


def devices_of(count):
    """So many devices of the backend, one of them without any distribution."""
    if count == 1:
        return OneDevice()
    return {"tensorflow": MirroredDevices, "jax": DataParallelDevices}[keras.backend.backend()](count)


def digits():
    """Training and validation parts of scikit-learn's digits."""
    images, labels = load_digits(return_X_y=True)
    x = images.reshape(-1, 8, 8, 1).astype("float32") / 16
    return (x[VALIDATION:], labels[VALIDATION:]), (x[:VALIDATION], labels[:VALIDATION])


def train(devices, dense, prepare):
    """A model, wrapped and trained on the devices, and its history."""
    samples, validation = digits()
    pruning = sp.StructuredPruning(
        validation_data=validation,
        granularity=("feature_map", "kernel"),
        search=sp.search.BestOfN(4),
        sparsity=0.5,
        tolerance=1.0,
        verbose=0,
    )
    rounding = sp.FixedPointTraining(calibration_data=samples[0][:101])
    keras.utils.set_random_seed(0)
    with devices.scope():
        model = sp.wrap(prepare(keras.models.load_model(dense)))
        model.compile(keras.optimizers.Adam(0.003), "sparse_categorical_crossentropy")
    callbacks = [pruning, rounding] if quantized_layers(model) else [pruning]
    return model, model.fit(*samples, batch_size=BATCH, epochs=4, verbose=0, callbacks=callbacks).history


def found(devices, model, history, file):
    """What the test compares, in JSON's types."""
    x, y = digits()[1]
    model.save(file)
    loaded = keras.models.load_model(file)
    names = {name: layer for name, layer in named_layers(model).items() if isinstance(layer, MaskedLayer)}
    kernels = {name: devices.copies(layer.effective_kernel) for name, layer in names.items()}
    saved = {name: OneDevice().copies(named_layers(loaded)[name].effective_kernel)[0] for name in names}
    masks = sp.get_masks(model)
    kept = sp.kept_weights(sp.trace(model), masks)
    outputs, again = (predict(each, x, 64) for each in (model, loaded))
    return {
        "devices": sorted({len(copies) for copies in kernels.values()}),
        "masks": {name: mask.tolist() for part in (masks.feature_map, masks.kernel) for name, mask in part.items()},
        "steps": {name: layer.step_values().tolist() for name, layer in quantized_layers(model).items()},
        "nonzero": {name: [int(np.count_nonzero(copy)) for copy in copies] for name, copies in kernels.items()},
        "kept": {name: int(count) for name, count in kept.items()},
        "unlike_saved": max(float(np.abs(copy - saved[name]).max()) for name in names for copy in kernels[name]),
        "outputs_unlike_saved": float(np.abs(outputs - again).max()),
        "accuracy": float(np.mean(outputs.argmax(axis=1) == y)),
        "history": {name: [float(value) for value in values] for name, values in history.items()},
    }


WAYS = {"float": lambda model: model, "fixed": lambda model: sp.to_fixed_point(model, sp.FixedPoint(4, 8))}


def main(dense, count, folder, way):
    """Train in float or in fixed point, and write what came out to found.json."""
    devices = devices_of(int(count))
    model, history = train(devices, dense, WAYS[way])
    result = found(devices, model, history, Path(folder) / "trained.keras")
    (Path(folder) / "found.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
