"""What is too slow on two cores, in ten minutes on a lent accelerator: dense, pruned and thin networks of CIFAR-10.

    KERAS_BACKEND=torch python -m benchmarks.accelerator.train --data cifar10.npz --out "$OUT" [--seconds 540]
    KERAS_BACKEND=tensorflow python -m benchmarks.accelerator.train --data cifar10.npz --out OUT --share 0.01  # a try

A row a network: trained from scratch; half its MACs by least squares, reconstructed from 1,000 training images, and
retrained with the dense network as its teacher; and the control, the thin shape from scratch for as many epochs as the
others took together. Each network gets a share of the seconds, and as many epochs as fit: the first ones are timed.
Figures are of the whole test set, at the last epoch. Weights, as far as such a machine gives files back, and
`rows.json` are written behind each network, so a run that is cut keeps what it has. It needs `tf_structprune` and
Keras, and neither TensorFlow nor `tflite_export`.

CIFAR-10 does not fit into one transfer of a lent machine: carry its two halves in two calls, kept beside the checkout.
"""

import json
import pathlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from absl import app, flags, logging

import tf_structprune as sp
from benchmarks._batches import Batches, Part, accuracy, images
from benchmarks.networks import cifar10_large, cifar10_small, resnet_cifar
from tf_structprune.masks import FEATURE_MAP
from tf_structprune.search import LeastSquares
from tf_structprune.shrink import shrink
from tf_structprune.stages import find_masks
from tf_structprune.task import SoftTargets, Validation, as_score

FLAGS = flags.FLAGS
flags.DEFINE_string("data", None, "CIFAR-10 as load.py writes it.", required=True)
flags.DEFINE_string("out", None, "Folder of weights and rows.json.", required=True)
flags.DEFINE_float("seconds", 540, "What all networks may take together.")
flags.DEFINE_float("share", 1.0, "Part of the images and of the seconds, for a try.")
flags.DEFINE_integer("seed", 0, "Seed of weights, order and changes.")

BATCH, RATE, IMAGES = 256, 2e-3, 1_000
EPOCHS = 3.1  # in times of a dense one: dense, retrained with a teacher, and two of the thin network
MOST = 160
GIVEN_BACK = 15 << 20  # bytes of a file that a lent machine gives back, a little less than it does


@dataclass(frozen=True)
class Job:
    """A network and its part of the time."""

    build: Callable[[], keras.Model]
    part: float


JOBS = {
    "ResNet-20": Job(lambda: resnet_cifar(20), 0.3),
    "CIFAR10.small": Job(cifar10_small, 0.2),
    "ResNet-56": Job(lambda: resnet_cifar(56), 0.3),
    "CIFAR10.large": Job(cifar10_large, 0.2),
}


flags.DEFINE_list("networks", list(JOBS), "Which of them.")


def parts() -> dict[str, Part]:
    """Images and labels by part, as many as the share asks for, a batch at the least."""
    sizes = {"train": 50_000, "test": 10_000}
    return {part: images(FLAGS.data, part, max(BATCH, round(FLAGS.share * size))) for part, size in sizes.items()}


def fit(model: keras.Model, batches: Batches, epochs: int, teacher: keras.Model | None = None) -> float:
    """Train with Adam, the rate falling as a cosine to zero; seconds."""
    rate = keras.optimizers.schedules.CosineDecay(RATE, epochs * len(batches))
    trained = model
    if teacher is not None:
        loss = SoftTargets(probabilities=True)
        trained = keras.distillation.Distiller(
            teacher=teacher, student=model, distillation_losses=loss, student_loss_weight=0.5
        )
    compiled = keras.backend.backend() == "jax"  # on a CPU TensorFlow's own kernels are faster, torch needs no compiler
    trained.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", jit_compile=compiled)
    renewed = keras.callbacks.LambdaCallback(on_epoch_begin=batches.begin)
    begun = time.perf_counter()
    trained.fit(batches, epochs=epochs, shuffle=False, callbacks=[renewed], verbose=0)
    return time.perf_counter() - begun


def epochs_in(seconds: float, build: Callable[[], keras.Model], batches: Batches) -> int:
    """Epochs of each training that fit, by the second of two that are timed."""
    model = build()
    fit(model, batches, 1)
    taken = fit(model, batches, 1)
    return int(np.clip((seconds - 3 * taken) / (EPOCHS * taken), 1, MOST))


def halved(dense: keras.Model, data: dict[str, Any]) -> keras.Model:
    """The plain network with half the MACs, reconstructed."""
    x, y = data["train"]
    chosen = np.random.default_rng(FLAGS.seed).choice(len(x), min(IMAGES, len(x)), replace=False)
    few = Validation(x[chosen], y[chosen], as_score("mcr"), BATCH)
    masked = sp.wrap(dense, granularity=FEATURE_MAP)
    found = sp.allocate(masked, "macs=0.5", validation_data=(few.x, few.y), seed=FLAGS.seed)
    masks = find_masks(masked, FEATURE_MAP, found, search=LeastSquares(), validation=few, seed=FLAGS.seed).masks
    sp.set_masks(masked, masks)
    sp.reconstruct(masked, few.x, seed=FLAGS.seed)
    return shrink(masked).model


def row(name: str, job: Job, data: dict[str, Any], out: pathlib.Path) -> dict[str, Any]:
    """Train and prune one network; its weights are written."""
    begun, batches = time.perf_counter(), Batches(*data["train"], BATCH, FLAGS.seed)
    keras.utils.set_random_seed(FLAGS.seed)
    epochs = epochs_in(job.part * FLAGS.share * FLAGS.seconds, job.build, batches)
    keras.utils.set_random_seed(FLAGS.seed)
    dense = job.build()
    fit(dense, batches, epochs)
    pruned = halved(dense, data)
    found = {"dense": accuracy(dense, data["test"]), "reconstructed": accuracy(pruned, data["test"])}
    fit(pruned, batches, epochs, dense)
    keras.utils.set_random_seed(FLAGS.seed)
    thin = keras.models.clone_model(pruned)
    fit(thin, batches, 2 * epochs)
    for kind, model in (("dense", dense), ("pruned", pruned)):
        if 4 * model.count_params() < GIVEN_BACK:
            model.save_weights(out / f"{name}_{kind}.weights.h5")
    return {
        "network": name,
        "seed": FLAGS.seed,
        "backend": keras.backend.backend(),
        "epochs": epochs,
        "seconds": time.perf_counter() - begun,
        **found,
        "pruned": accuracy(pruned, data["test"]),
        "thin": accuracy(thin, data["test"]),
        "macs": [sp.trace(model).macs for model in (dense, pruned)],
        "parameters": [model.count_params() for model in (dense, pruned)],
        "channels": {layer.name: layer.filters for layer in pruned.layers if hasattr(layer, "filters")},
    }


def main(_: list[str]) -> None:
    """Train one network after the other, and write each row."""
    out, data, rows = pathlib.Path(FLAGS.out), parts(), []
    out.mkdir(parents=True, exist_ok=True)
    for name in FLAGS.networks:
        rows.append(row(name, JOBS[name], data, out))
        logging.info("%s", rows[-1])
        (out / "rows.json").write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    app.run(main)
