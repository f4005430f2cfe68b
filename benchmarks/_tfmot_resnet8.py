"""ResNet-8 pruned by tfmot and trained on, in a process of its own: python -m benchmarks._tfmot_resnet8 FOLDER.

FOLDER has `given.npz` as for `_torch_pruning`, with `epochs`, `rate` and the training images, and receives for each
sparsity the weights as they are cut and as they are trained, and the int8 file. As tfmot's guide does: the whole
network wrapped, a constant sparsity, UpdatePruningStep, strip_pruning, conversion; `2_of_4` is its structured m by n.
"""

import pathlib
import sys
import time
from typing import Any

import tensorflow_model_optimization as tfmot  # first: it sets TF_USE_LEGACY_KERAS

import numpy as np  # isort: skip
import tf_keras  # isort: skip

from benchmarks._batches import Batches  # isort: skip
from benchmarks._resnet8 import flat, from_flat, resnet8, weights_of  # isort: skip
from benchmarks._tfmot_files import converted  # isort: skip

BATCH = 128


def wrapped(model: Any, way: str) -> Any:
    """With tfmot's wrappers."""
    prune = tfmot.sparsity.keras.prune_low_magnitude
    if way == "2_of_4":
        return prune(model, sparsity_m_by_n=(2, 4))
    return prune(model, pruning_schedule=tfmot.sparsity.keras.ConstantSparsity(float(way), 0, frequency=1))


def fitted(model: Any, batches: Batches, epochs: int, rate: float) -> None:
    """Adam, the rate a cosine to zero; nothing is trained at rate 0, but masks are made."""
    falls = tf_keras.optimizers.schedules.CosineDecay(rate, max(1, epochs * len(batches))) if rate else 0.0
    model.compile(tf_keras.optimizers.Adam(falls), "sparse_categorical_crossentropy")
    update = tfmot.sparsity.keras.UpdatePruningStep()
    update.set_model(model)
    update.on_train_begin()
    for epoch in range(epochs):
        batches.begin(epoch)
        for index in range(len(batches)):
            update.on_train_batch_begin(index)
            model.train_on_batch(*batches[index])
        update.on_epoch_end(epoch)


def main(folder: pathlib.Path) -> None:
    """All sparsities."""
    with np.load(folder / "given.npz") as given:
        weights, epochs, rate = from_flat(given), int(given["epochs"]), float(given["rate"])
        x, y, ways, seed = given["x_train"], given["y_train"], given["sparsities"].tolist(), int(given["seed"])
    for way in ways:
        tf_keras.utils.set_random_seed(seed)
        start = time.perf_counter()
        model = wrapped(resnet8(tf_keras, weights), way)
        fitted(model, Batches(x[:BATCH], y[:BATCH], BATCH, seed), 1, 0.0)
        cut = tfmot.sparsity.keras.strip_pruning(model)
        seconds = time.perf_counter() - start
        np.savez(folder / f"tfmot_{way}_cut.npz", **flat(weights_of(cut)))
        fitted(model, Batches(x, y, BATCH, seed), epochs, rate)
        done = tfmot.sparsity.keras.strip_pruning(model)
        np.savez(folder / f"tfmot_{way}.npz", **flat(weights_of(done)), seconds=seconds)
        (folder / f"tfmot_{way}.tflite").write_bytes(converted(done, "int8", "stripped", x[:200]))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
