"""Train ResNet-20 on CIFAR-10, the network that loses layers in other scripts.

    python ../shared/data/load.py cifar10 cifar10.npz
    KERAS_BACKEND=torch python -m benchmarks.train_resnet20 --data cifar10.npz --out resnet20.keras [--epochs 20]

All training images, flipped and shifted, Muon with a rate that warms up over an epoch and falls as a cosine to zero;
the test images are looked at once, at the end. A killed run goes on with its last epoch. An epoch takes about eight
minutes on a core; torch was a quarter faster there than TensorFlow.
"""

import json
import pathlib

import keras
from absl import app, flags, logging

from benchmarks._batches import Batches, accuracy, images
from benchmarks.networks import resnet_cifar

FLAGS = flags.FLAGS
flags.DEFINE_string("data", None, "CIFAR-10 as load.py writes it.", required=True)
flags.DEFINE_string("out", None, "The trained network, a .keras file; figures are written beside it.", required=True)
flags.DEFINE_integer("seed", 0, "Seed of weights, order and changes.")
flags.DEFINE_integer("epochs", 20, "Epochs.")
flags.DEFINE_float("rate", 5e-3, "The highest learning rate.")
flags.DEFINE_integer("images", 0, "Images of each part, for a try; 0 for all.")

BATCH = 128


def main(_: list[str]) -> None:
    """Train, and write the network and its figures."""
    out = pathlib.Path(FLAGS.out)
    keras.utils.set_random_seed(FLAGS.seed)
    model = resnet_cifar(20)
    batches = Batches(*images(FLAGS.data, "train", FLAGS.images), BATCH, FLAGS.seed)
    steps = len(batches)
    falling = max(1, FLAGS.epochs - 1) * steps
    rate = keras.optimizers.schedules.CosineDecay(0.0, falling, warmup_target=FLAGS.rate, warmup_steps=steps)
    model.compile(
        keras.optimizers.Muon(rate, weight_decay=0.01),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=keras.backend.backend() == "jax",
    )
    history = model.fit(
        batches,
        epochs=FLAGS.epochs,
        shuffle=False,
        verbose=2,
        callbacks=[
            keras.callbacks.LambdaCallback(on_epoch_begin=batches.begin),
            keras.callbacks.BackupAndRestore(out.with_suffix(".backup"), delete_checkpoint=False),
        ],
    )
    found = {
        "seed": FLAGS.seed,
        "epochs": FLAGS.epochs,
        "backend": keras.backend.backend(),
        "accuracy": accuracy(model, images(FLAGS.data, "test", FLAGS.images)),
        "train": history.history["accuracy"],
    }
    model.save(out)
    out.with_suffix(".json").write_text(json.dumps(found, indent=2) + "\n")
    logging.info("%s", found)


if __name__ == "__main__":
    app.run(main)
