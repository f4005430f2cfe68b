"""Train ResNet-20 on CIFAR-10, the network that loses layers in other scripts.

    python ../shared/data/load.py cifar10 cifar10.npz
    KERAS_BACKEND=torch python -m benchmarks.train_resnet20 --data cifar10.npz --out resnet20.keras [--epochs 20]

All training images, flipped and shifted, Muon with a rate that warms up over an epoch and falls in a line to zero; the
test images are looked at once, at the end. A killed run goes on with its last epoch. An epoch takes about eight
minutes on a core; torch was a quarter faster there than TensorFlow.
"""

import json
import pathlib

import keras
import numpy as np
from absl import app, flags, logging

from benchmarks._batches import Batches
from benchmarks.networks import resnet_cifar

FLAGS = flags.FLAGS
flags.DEFINE_string("data", None, "CIFAR-10 as load.py writes it.", required=True)
flags.DEFINE_string("out", None, "The trained network, a .keras file; figures are written beside it.", required=True)
flags.DEFINE_integer("seed", 0, "Seed of weights, order and changes.")
flags.DEFINE_integer("epochs", 20, "Epochs.")
flags.DEFINE_float("rate", 5e-3, "The highest learning rate.")
flags.DEFINE_integer("images", 0, "Images of each part, for a try; 0 for all.")

BATCH = 128


@keras.saving.register_keras_serializable("tf_structprune_benchmarks")
class InALine(keras.optimizers.schedules.LearningRateSchedule):
    """A rate that rises over the first steps and falls to zero with the last one."""

    def __init__(self, highest: float, warm: int, steps: int) -> None:
        super().__init__()
        self.highest, self.warm, self.steps = highest, warm, steps

    def __call__(self, step: keras.KerasTensor) -> keras.KerasTensor:
        """The rate of a step."""
        step = keras.ops.cast(step, "float32") + 1
        return self.highest * keras.ops.minimum(step / self.warm, (self.steps - step) / (self.steps - self.warm))

    def get_config(self) -> dict[str, float]:
        """Keras's own."""
        return {"highest": self.highest, "warm": self.warm, "steps": self.steps}


def images(part: str) -> tuple[np.ndarray, np.ndarray]:
    """Images from -1 to 1, and labels."""
    with np.load(FLAGS.data) as file:
        count = FLAGS.images or len(file[f"y_{part}"])
        return file[f"x_{part}"][:count] / np.float32(127.5) - 1, file[f"y_{part}"].reshape(-1)[:count]


def main(_: list[str]) -> None:
    """Train, and write the network and its figures."""
    out = pathlib.Path(FLAGS.out)
    keras.utils.set_random_seed(FLAGS.seed)
    model, batches = resnet_cifar(20), Batches(*images("train"), BATCH, FLAGS.seed)
    rate = InALine(FLAGS.rate, len(batches), FLAGS.epochs * len(batches))
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
    loss, accuracy = model.evaluate(*images("test"), batch_size=1_000, verbose=0)
    found = {
        "seed": FLAGS.seed,
        "epochs": FLAGS.epochs,
        "backend": keras.backend.backend(),
        "loss": loss,
        "accuracy": accuracy,
        "train": history.history["accuracy"],
    }
    model.save(out)
    out.with_suffix(".json").write_text(json.dumps(found, indent=2) + "\n")
    logging.info("%s", found)


if __name__ == "__main__":
    app.run(main)
