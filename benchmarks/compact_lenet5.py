"""LeNet-5 on MNIST in a few kilobytes: single weights pruned, dead units taken out, values shared, packed.

    python -m benchmarks.compact_lenet5 --data mnist.npz --out DIR [--seeds 0,1,2] [--sparsity 0.992] [--values 16]

The last 5,000 training images are validation data and are not trained on; the test set gives the score of what comes
out of the archive, at the last epoch, for every seed. Nothing is selected. Models that are there are kept, so an
interrupted call goes on.
"""

import json
import pathlib
from typing import Any

import keras
import numpy as np
from absl import app, flags, logging

import tf_structprune as sp
from tf_structprune.masks import Weight
from tf_structprune.schedule import Gradual
from tf_structprune.search import Magnitude
from tf_structprune.shrink import shrink

FLAGS = flags.FLAGS
flags.DEFINE_string("data", None, "MNIST as .npz (x_train, y_train, x_test, y_test).", required=True)
flags.DEFINE_string("out", None, "Folder of models and archives.", required=True)
flags.DEFINE_list("seeds", ["0"], "Seeds of the networks and of the order of the images.")
flags.DEFINE_float("sparsity", 0.992, "Share of the weights of all layers that goes.")
flags.DEFINE_integer("values", 16, "Shared values of the convolutions, and of the dense layers.")
flags.DEFINE_integer("dense_epochs", 12, "Epochs of the network that is then pruned.")
flags.DEFINE_integer("prune_epochs", 30, "Epochs in which it is pruned, in the first two thirds, and retrained.")
flags.DEFINE_integer("share_epochs", 8, "Epochs in which shared values are trained.")
flags.DEFINE_integer("images", 0, "Training images to take; 0 for all.")
flags.DEFINE_string("results", "benchmarks/results/compact_lenet5", "Table without suffix; empty for none.")

VALIDATION, BATCH = 5000, 128
LOSS = "sparse_categorical_crossentropy"
_L = keras.layers
Data = dict[str, np.ndarray]


def lenet5() -> keras.Model:
    """20C5-MP-50C5-MP-500-10, as in Caffe: 431,080 weights."""
    inputs = keras.Input((28, 28, 1))
    x = _L.MaxPooling2D()(_L.Conv2D(20, 5, name="conv_1")(inputs))
    x = _L.Flatten()(_L.MaxPooling2D()(_L.Conv2D(50, 5, name="conv_2")(x)))
    x = _L.Dense(500, "relu", name="hidden")(x)
    return keras.Model(inputs, _L.Dense(10, "softmax", name="classifier")(x), name="lenet5")


def fit(model: keras.Model, data: Data, epochs: int, rate: float, callbacks: tuple[Any, ...] = ()) -> None:
    """Adam, its rate falling as a cosine to zero."""
    steps = epochs * -(-len(data["x"]) // BATCH)
    rates = keras.optimizers.schedules.CosineDecay(rate, steps)
    model.compile(keras.optimizers.Adam(rates), LOSS, metrics=["accuracy"], jit_compile=False)
    model.fit(data["x"], data["y"], batch_size=BATCH, epochs=epochs, verbose=0, callbacks=list(callbacks))


def pruned(dense: keras.Model, data: Data, seed: int) -> keras.Model:
    """The network without most of its weights and without the units that are then dead."""
    masked = sp.wrap(dense, granularity="weight", keep_first=False, keep_last=False)
    callback = sp.StructuredPruning(
        validation_data=(data["x_val"], data["y_val"]),
        granularity=Weight(across="model"),
        search=Magnitude(),
        sparsity=FLAGS.sparsity,
        schedule=Gradual(epochs=max(1, 2 * FLAGS.prune_epochs // 3)),
        tolerance=0.5,  # judged at the end, by the score that is reported
        seed=seed,
        verbose=0,
    )
    fit(masked, data, FLAGS.prune_epochs, 1e-3, (callback,))
    return shrink(masked).model


def kept(name: pathlib.Path, make: Any) -> keras.Model:
    """The model of a file, made and written where it is not there."""
    if not name.exists():
        make().save(name)
    return keras.models.load_model(name)


def figures(model: keras.Model, data: Data) -> dict[str, float]:
    """Top-1 in per cent, and weights that are not zero."""
    model.compile(loss=LOSS, metrics=["accuracy"])
    scores = {
        name: 100 * float(model.evaluate(data[f"x_{name}"], data[f"y_{name}"], verbose=0)[1])
        for name in ("val", "test")
    }
    return scores | {
        "nonzero": int(sum(np.count_nonzero(weight) for weight in model.get_weights())),
        "weights": int(model.count_params()),
    }


def run(seed: int, data: Data, folder: pathlib.Path) -> dict[str, Any]:
    """All steps of one seed."""
    keras.utils.set_random_seed(seed)

    def trained() -> keras.Model:
        model = lenet5()
        fit(model, data, FLAGS.dense_epochs, 2e-3)
        return model

    dense = kept(folder / f"dense_{seed}.keras", trained)
    small = kept(folder / f"pruned_{FLAGS.sparsity}_{seed}.keras", lambda: pruned(dense, data, seed))
    row: dict[str, Any] = {"seed": seed, "dense": figures(dense, data), "pruned": figures(small, data)}

    def shared() -> keras.Model:
        model = sp.share(small, FLAGS.values)
        fit(model, data, FLAGS.share_epochs, 1e-3)
        return sp.unshare(model)

    name = f"shared_{FLAGS.sparsity}_{FLAGS.values}_{seed}"
    kept(folder / f"{name}.keras", shared)
    packed = sp.storage.save(folder / f"{name}.keras", folder / f"{name}.sham", overwrite=True)
    sp.storage.load(packed.path, folder / f"{name}_again.keras", overwrite=True)
    row["shared"] = figures(keras.models.load_model(folder / f"{name}_again.keras"), data)
    size = 4 * dense.count_params()
    row |= {"dense_bytes": size, "arrays_bytes": packed.arrays_bytes, "packed_bytes": packed.packed_bytes}
    logging.info("%s", row)
    return row


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = [
        "# LeNet-5 on MNIST in a few kilobytes",
        "",
        f"Written by `python -m benchmarks.compact_lenet5 --sparsity {FLAGS.sparsity} --values {FLAGS.values}`: "
        f"{FLAGS.dense_epochs} epochs dense, {FLAGS.prune_epochs} pruned over all layers' magnitudes, "
        f"{FLAGS.share_epochs} with shared values. Test set whole, last epoch, every seed that ran.",
        "",
        "| seed | dense top-1 (%) | pruned | weights left | shared, from the archive | weights packed (bytes) | "
        "of dense float32 (%) | whole .sham file (bytes) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        share = 100 * row["arrays_bytes"] / row["dense_bytes"]
        lines.append(
            f"| {row['seed']} | {row['dense']['test']:.2f} | {row['pruned']['test']:.2f} | "
            f"{row['pruned']['nonzero']:,} of {row['dense']['weights']:,} | {row['shared']['test']:.2f} | "
            f"{row['arrays_bytes']:,} | {share:.3f} | {row['packed_bytes']:,} |"
        )
    return "\n".join(lines) + "\n"


def mnist() -> Data:
    """Images from 0 to 1, of which the last 5,000 for training are validation data, and labels."""
    with np.load(FLAGS.data, allow_pickle=False) as file:
        given = dict(file)
    images = {part: given[f"x_{part}"].reshape(-1, 28, 28, 1) / np.float32(255) for part in ("train", "test")}
    last = FLAGS.images or len(images["train"]) - VALIDATION
    return {
        "x": images["train"][:last],
        "y": given["y_train"][:last],
        "x_val": images["train"][-VALIDATION:],
        "y_val": given["y_train"][-VALIDATION:],
        "x_test": images["test"],
        "y_test": given["y_test"],
    }


def main(_: list[str]) -> None:
    """Train what is missing, pack it and write the table."""
    folder = pathlib.Path(FLAGS.out)
    folder.mkdir(parents=True, exist_ok=True)
    data = mnist()
    rows = [run(seed, data, folder) for seed in map(int, FLAGS.seeds)]
    if FLAGS.results:
        pathlib.Path(FLAGS.results + ".json").write_text(json.dumps(rows, indent=1) + "\n")
        pathlib.Path(FLAGS.results + ".md").write_text(table(rows))


if __name__ == "__main__":
    app.run(main)
