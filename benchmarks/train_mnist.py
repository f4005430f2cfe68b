"""Train the dense MNIST reference networks, one file a network and seed.

    python benchmarks/train_mnist.py --data mnist.npz --out DIR [--seeds 3] [--epochs 14]

The last 10,000 training images are validation data and are not trained on. A file that is there is
kept, so an interrupted call goes on where it stopped.
"""

import pathlib

import keras
import numpy as np
from absl import app, flags, logging
from networks import NETWORKS

FLAGS = flags.FLAGS
flags.DEFINE_string("data", None, "MNIST as .npz (x_train, y_train, x_test, y_test).", required=True)
flags.DEFINE_string("out", None, "Folder of the trained models.", required=True)
flags.DEFINE_integer("seeds", 3, "Seeds 0 to N-1.")
flags.DEFINE_integer("epochs", 14, "Epochs, learning rate falling as a cosine to zero.")

VALIDATION = 10_000
BATCH = 128


def train(network: str, seed: int, data: dict[str, np.ndarray], epochs: int) -> keras.Model:
    """One dense network, trained from the seed's random weights."""
    keras.utils.set_random_seed(seed)
    x, y = data["x_train"][:-VALIDATION, ..., None] / np.float32(255), data["y_train"][:-VALIDATION]
    model = NETWORKS[network]()
    rate = keras.optimizers.schedules.CosineDecay(2e-3, epochs * -(-len(x) // BATCH))
    loss = "sparse_categorical_crossentropy"
    model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"], jit_compile=False)
    model.fit(x, y, batch_size=BATCH, epochs=epochs, verbose=0)
    model.compile("adam", loss, metrics=["accuracy"], jit_compile=False)
    return model


def main(_: list[str]) -> None:
    """Train what is missing and log each network's validation MCR."""
    folder = pathlib.Path(FLAGS.out)
    folder.mkdir(parents=True, exist_ok=True)
    with np.load(FLAGS.data, allow_pickle=False) as file:
        data = dict(file)
    x_val = data["x_train"][-VALIDATION:, ..., None] / np.float32(255)
    for network in NETWORKS:
        for seed in range(FLAGS.seeds):
            path = folder / f"{network}_{seed}.keras"
            if path.exists():
                continue
            model = train(network, seed, data, FLAGS.epochs)
            mcr = 1 - model.evaluate(x_val, data["y_train"][-VALIDATION:], verbose=0)[1]
            model.save(path)
            logging.info("%s seed %d: validation MCR %.2f %%", network, seed, 100 * mcr)


if __name__ == "__main__":
    app.run(main)
