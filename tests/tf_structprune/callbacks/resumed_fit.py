"""A small training that may be stopped anywhere and started again; also a script that is killed.

python -m tests.tf_structprune.callbacks.resumed_fit WEIGHTS.npz PLACE EPOCH FOLDER [FOLDER...]

PLACE is one of `PLACES`, or "nowhere"; then the results are written to FOLDER/result.npz. WEIGHTS.npz has what
`trained_weights` gives, which training begins with.
"""

import dataclasses
import functools
import json
import os
import signal
import sys
from pathlib import Path

import keras
import numpy as np

import tf_structprune as sp
from tests import zoo

EPOCHS = 5
LOSS = "sparse_categorical_crossentropy"
PLACES = ("in the search", "in a batch", "before the state", "before the backup", "after the backup")


class Accuracy:
    """A score that may stop the process while candidates are scored."""

    def __init__(self):
        self.stop, self.left = None, 0

    def __call__(self, y_true, y_pred):
        self.left -= 1
        if self.left == 0:
            self.stop()
        return float(np.mean(np.argmax(y_pred, axis=1) == y_true))


class Stop(keras.callbacks.Callback):
    """Stops the process at a place of an epoch."""

    def __init__(self, place, epoch, stop, score):
        super().__init__()
        self.place, self.epoch, self.stop, self.score, self.present = place, epoch, stop, score, -1

    def on_epoch_begin(self, epoch, logs=None):
        self.present = epoch
        if self.place == "in the search" and epoch == self.epoch:
            self.score.stop, self.score.left = self.stop, 3

    def on_train_batch_end(self, batch, logs=None):
        if self.place == "in a batch" and (self.present, batch) == (self.epoch, 1):
            self.stop()

    def on_epoch_end(self, epoch, logs=None):
        if self.place in PLACES[2:] and epoch == self.epoch:
            self.stop()


def make(folder, place="nowhere", epoch=0, stop=None, double_checkpoint=False, **settings):
    """The pruning callback, and all callbacks in order."""
    score = Accuracy()
    fixed = {
        "validation_data": zoo.lit_rows(48),
        "granularity": ("feature_map", "kernel"),
        "search": sp.search.BestOfN(4),
        "sparsity": {"feature_map": 0.25, "kernel": 0.6},
        "tolerance": 0.1,
        "patience": 2,
        "score": score,
        "verbose": 0,
        "state_dir": folder / "pruning",
    }
    pruning = sp.StructuredPruning(**{**fixed, **settings})
    stopping = Stop(place, epoch, stop, score)
    order = [pruning, keras.callbacks.BackupAndRestore(folder / "backup", double_checkpoint=double_checkpoint)]
    order.insert({"before the backup": 1, "after the backup": 2}.get(place, 0), stopping)
    return pruning, order


@functools.cache
def trained_weights():
    """Of a model that knows the classes, so that pruning does harm."""
    model = zoo.build("batch_norm_chain")
    model.compile(keras.optimizers.Adam(5e-3), LOSS)
    model.fit(*zoo.lit_rows(48), batch_size=4, epochs=40, shuffle=False, verbose=0)
    return model.get_weights()


def fit(callbacks, *, distill=False, weights=None):
    """Trains a masked model with them, perhaps as the student of the dense one; gives the model."""
    x, y = zoo.lit_rows(48)
    model = zoo.build("batch_norm_chain")
    model.set_weights(trained_weights() if weights is None else weights)
    keras.utils.set_random_seed(0)
    masked = sp.wrap(model)
    trained = masked
    if distill:
        loss = keras.distillation.LogitsDistillation(temperature=2.0)
        trained = keras.distillation.Distiller(model, masked, loss, student_loss_weight=0.5)
        trained(x[:1])  # BackupAndRestore wants a model that is built
    trained.compile(keras.optimizers.Adam(1e-2), LOSS, run_eagerly=True)
    trained.fit(x, y, batch_size=16, epochs=EPOCHS, shuffle=False, verbose=0, callbacks=callbacks)
    return masked


def result(masked, pruning):
    """Weights, masks among them, and reports as arrays."""
    reports = json.dumps([dataclasses.asdict(report) for report in pruning.reports])
    weights = {str(index): weight for index, weight in enumerate(masked.get_weights())}
    return {"reports": np.frombuffer(reports.encode(), np.uint8), **weights}


def main(weights, place, epoch, folders):
    """Run the script."""
    if keras.config.backend() == "tensorflow":
        _compute_the_same_each_time()
    with np.load(weights) as file:
        given = [file[name] for name in file.files]
    for folder in folders:
        pruning, callbacks = make(folder, place, epoch, lambda: os.kill(os.getpid(), signal.SIGKILL))
        masked = fit(callbacks, weights=given)
        np.savez(folder / "result.npz", **result(masked, pruning))


def _compute_the_same_each_time():
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), [Path(folder) for folder in sys.argv[4:]])
