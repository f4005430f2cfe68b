"""ResNet-8 for 32 KiB of flash: early maps for the arena, single weights for the bytes, few words, one step a layer.

    python -m benchmarks.resnet8_packed --data cifar10.npz --model resnet8_cifar10.keras --out DIR

The 32x32 layers, of which the arena is made, and the last ones, whose weights are decoded into it, are narrowed by
least squares; then half of the single weights go, by least squares too, and what stays is solved for and retrained with
the published network as teacher, first in float, then with `--shared` int8 words a layer. The last epoch counts; the
test set is not touched here. DIR/sparse.keras is kept as it is when it is there. `te.pack(file, "own")` packs the file.
"""

import dataclasses
import json
import pathlib

import keras
import numpy as np
from absl import app, flags, logging

import tf_structprune as sp
import tflite_export as te
from tf_structprune.masks import FEATURE_MAP, WEIGHT, kept_space, mask_space
from tf_structprune.measure import least_squares
from tflite_export.compress import CompressSettings, check_data, load_data, load_model, retrain

FLAGS = flags.FLAGS
flags.DEFINE_string("data", None, "CIFAR-10 as x_train, y_train, x_test, y_test, .npz.", required=True)
flags.DEFINE_string("model", None, "The published ResNet-8, .keras.", required=True)
flags.DEFINE_string("out", None, "Folder of models.", required=True)
flags.DEFINE_float("sparsity", 0.5, "Share of the single weights that goes, of those that the maps leave.")
flags.DEFINE_integer("epochs", 4, "Epochs in float.")
flags.DEFINE_integer("fixed_epochs", 4, "Epochs with few words.")
flags.DEFINE_integer("shared", 32, "Words that a layer uses.")
flags.DEFINE_integer("images", 0, "Training images to take; 0 for all.")
flags.DEFINE_integer("seed", 0, "Seed.")

KEPT = {"conv2d": 13, "conv2d_1": 12, "conv2d_3": 28, "conv2d_4": 32, "conv2d_6": 48, "conv2d_7": 56}
SAMPLES, CALIBRATION = 1000, 512


def settings_of(epochs: int, rate: float) -> CompressSettings:
    """How both retrainings go."""
    return CompressSettings(
        epochs=epochs,
        finetune_batch=128,
        optimizer="muon",
        finetune_rate=rate,
        distill=0.5,
        augment=("flip", "shift"),
        seed=FLAGS.seed,
    )


def narrowed(dense: keras.Model, x: np.ndarray) -> keras.Model:
    """The network with fewer early maps, solved for the others."""
    masked = sp.wrap(dense, granularity=FEATURE_MAP, keep_first=False)
    graph = sp.trace(masked)
    sp.set_masks(masked, kept_space(graph, KEPT).top(least_squares(masked, graph, FEATURE_MAP, x)))
    sp.reconstruct(masked, x)
    return te.shrink(masked).model


def thinned(model: keras.Model, x: np.ndarray) -> keras.Model:
    """Masks on single weights, and the others solved for."""
    masked = sp.wrap(model, granularity=WEIGHT, keep_first=False)
    graph = sp.trace(masked)
    space = mask_space(graph, WEIGHT, FLAGS.sparsity)
    sp.set_masks(masked, space.top(least_squares(masked, graph, WEIGHT, x)))
    sp.reconstruct(masked, x)
    return masked


def main(_: list[str]) -> None:
    """Make the models that are not there."""
    folder = pathlib.Path(FLAGS.out)
    folder.mkdir(parents=True, exist_ok=True)
    dense = load_model(FLAGS.model)
    loaded = load_data(FLAGS.data, seed=FLAGS.seed)
    if FLAGS.images:
        part = {name: getattr(loaded, name)[: FLAGS.images] for name in ("x_train", "y_train")}
        loaded = dataclasses.replace(loaded, **part)
    rng = np.random.default_rng(FLAGS.seed)
    x = loaded.x_train[rng.choice(len(loaded.x_train), min(SAMPLES, len(loaded.x_train)), replace=False)]
    data, task = check_data(loaded, dense)
    sparse, history = folder / "sparse.keras", {}
    if not sparse.exists():
        masked = thinned(narrowed(dense, x), x)
        masked.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
        logging.info("Reconstructed: %s", masked.evaluate(loaded.x_val, loaded.y_val, verbose=0))
        history["float"] = retrain(masked, dense, data, settings_of(FLAGS.epochs, 5e-3), task=task, verbose=2)
        te.shrink(masked).model.save(sparse)
    recipe = sp.FixedPoint(8, 8, power_of_two=False, shared=FLAGS.shared, sharing="ecsq")
    fixed = sp.to_fixed_point(keras.models.load_model(sparse, compile=False), recipe)
    callback = sp.FixedPointTraining(calibration_data=x[:CALIBRATION], signal_epoch=0, refit_epochs=2)
    settings = settings_of(FLAGS.fixed_epochs, 1e-3)
    history["fixed"] = retrain(fixed, dense, data, settings, task=task, callbacks=[callback], verbose=2)
    fixed.save(folder / "fixed.keras")
    (folder / "history.json").write_text(json.dumps(history, indent=1) + "\n")


if __name__ == "__main__":
    app.run(main)
