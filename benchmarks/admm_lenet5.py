"""LeNet-5 on MNIST at 167 and 200 times fewer weights: ADMM in rounds, ADMM at once, and magnitude, equal epochs.

    python -m benchmarks.admm_lenet5 --data mnist.npz --out DIR [--seeds 0,1,2] [--methods progressive,direct,magnitude]

A dense LeNet-5 loses feature maps first, by least squares (`--maps`), and is trained on; single weights of all layers
go from what is left. Training images are shifted by up to a pixel, and half of their target is what the dense network,
trained on such images too, says of them. The last 5,000 of them are validation data and
are not trained on; the test set gives the score of the last epoch, for every seed and method. Nothing is selected.
Weights are kernels; biases are counted beside. What ADMM left is trained in a few bits and
packed; the score is that of the model that comes out of the archive. Models that are there are kept, so an interrupted
call goes on; rows of other seeds and methods stay in the table.
"""

import json
import math
import pathlib
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import keras
import numpy as np
from absl import app, flags, logging

import tf_structprune as sp
from benchmarks.compact_lenet5 import BATCH, LOSS, kept, lenet5, mnist
from tf_structprune.masks import FEATURE_MAP, Weight, kept_space
from tf_structprune.measure import least_squares
from tf_structprune.schedule import Gradual
from tf_structprune.search import Magnitude
from tf_structprune.shrink import shrink
from tflite_export.quantize import float_form

FLAGS = flags.FLAGS
flags.DEFINE_list("maps", ["10", "24", "100"], "Feature maps that stay of 20, 50 and 500.")
flags.DEFINE_list("methods", ["progressive", "direct", "magnitude"], "What is compared.")
flags.DEFINE_list("weights", ["2580"], "Kernel weights that stay.")
flags.DEFINE_integer("thin_epochs", 10, "Epochs of the narrowed network.")
flags.DEFINE_integer("rounds", 3, "Rounds of progressive ADMM.")
flags.DEFINE_integer("epochs", 60, "Epochs of pruning, of every method.")
flags.DEFINE_float("rho", 3e-3, "Weight of the pull.")
flags.DEFINE_float("rate", 2e-3, "Learning rate at the start of each phase.")
flags.DEFINE_list("bits", ["4433"], "Bits of the weights in the archive, a digit a layer; several are rows each.")
flags.DEFINE_integer("biases", 8, "Values that the biases share in the archive.")
flags.DEFINE_string("note", "", "What else the page has to say.")
flags.DEFINE_integer("value_epochs", 20, "Epochs in which weights of few bits are trained.")
flags.DEFINE_integer("shift", 1, "Pixels by which images are shifted.")

Data = dict[str, Any]
LAYERS = ("conv_1", "conv_2", "hidden", "classifier")


def shifted(x: np.ndarray, down: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Images moved by 0 to 2 * shift pixels, of which shift is the middle, each by its own numbers."""
    most, size = FLAGS.shift, x.shape[1]
    padded = np.pad(x, ((0, 0), (most, most), (most, most), (0, 0)))
    rows, columns = (place[:, None] + np.arange(size) for place in (down, right))
    return padded[np.arange(len(x))[:, None, None], rows[:, :, None], columns[:, None, :]]


class Shifted(keras.utils.PyDataset):
    """Shuffled images, each shifted by some pixels, with targets by shift, (shifts, shifts, images, classes)."""

    def __init__(self, x: np.ndarray, y: np.ndarray, seed: int) -> None:
        super().__init__()
        self.x, self.y, self.rng = x, y, np.random.default_rng(seed)
        self.on_epoch_end()

    def __len__(self) -> int:
        return math.ceil(len(self.x) / BATCH)

    def on_epoch_end(self) -> None:
        """Another order."""
        self.order = self.rng.permutation(len(self.x))

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        rows = self.order[index * BATCH : (index + 1) * BATCH]
        down, right = self.rng.integers(0, 2 * FLAGS.shift + 1, (2, len(rows)))
        return shifted(self.x[rows], down, right), self.y[down, right, rows]


def plain_targets(y: np.ndarray) -> np.ndarray:
    """The labels, whatever the shift."""
    shifts = 2 * FLAGS.shift + 1
    return np.broadcast_to(np.eye(10, dtype=np.float32)[y], (shifts, shifts, len(y), 10))


def taught_targets(teacher: keras.Model, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Half the labels, half what a network says of the shifted images, softened (temperature 2)."""
    targets = np.array(plain_targets(y)) / 2
    for down, right in np.ndindex(targets.shape[:2]):
        moved = shifted(x, np.full(len(x), down), np.full(len(x), right))
        soft = np.sqrt(teacher.predict(moved, batch_size=512, verbose=0))
        targets[down, right] += soft / soft.sum(axis=-1, keepdims=True) / 2
    return targets


def fit(model: keras.Model, data: Data, epochs: int, rate: float, callbacks: tuple[Any, ...], seed: int) -> None:
    """Adam; its rate falls as a cosine to zero where no callback sets it."""
    falls = keras.optimizers.schedules.CosineDecay(rate, epochs * -(-len(data["x"]) // BATCH))
    given = rate if any(isinstance(callback, sp.ADMM) for callback in callbacks) else falls
    model.compile(keras.optimizers.Adam(given), "categorical_crossentropy", metrics=["accuracy"], jit_compile=False)
    model.fit(Shifted(data["x"], data["targets"](), seed), epochs=epochs, verbose=2, callbacks=list(callbacks))


def narrowed(dense: keras.Model, data: Data, seed: int) -> keras.Model:
    """The network with fewer maps, solved for the others and trained on."""
    masked = sp.wrap(dense, granularity=FEATURE_MAP, keep_first=False)
    graph, x = sp.trace(masked), data["x"][:1000]
    maps = dict(zip(("conv_1", "conv_2", "hidden"), map(int, FLAGS.maps), strict=True))
    sp.set_masks(masked, kept_space(graph, maps).top(least_squares(masked, graph, FEATURE_MAP, x)))
    sp.reconstruct(masked, x)
    thin = shrink(masked).model
    fit(thin, data, FLAGS.thin_epochs, FLAGS.rate, (), seed)
    return thin


def by_admm(sparsities: list[float], data: Data) -> sp.ADMM:
    """Equal epochs for each sparsity, half of all, three fifths of them under the pull; the other half retrains."""
    each = max(2, FLAGS.epochs // 2 // len(sparsities))
    pulled = max(1, 3 * each // 5)
    return sp.ADMM(
        sparsities,
        granularity=Weight(across="model"),
        admm_epochs=pulled,
        retrain_epochs=each - pulled,
        rho=FLAGS.rho,
        rates=(FLAGS.rate, FLAGS.rate),
        validation_data=(data["x_val"], data["y_val"]),
    )


def rounds_to(sparsity: float, rounds: int) -> list[float]:
    """Sparsities each of which removes the same share of what is left."""
    return [1 - (1 - sparsity) ** (at / rounds) for at in range(1, rounds + 1)]


def by_magnitude(sparsity: float, data: Data) -> sp.StructuredPruning:
    """All at once, before the epochs."""
    return sp.StructuredPruning(
        validation_data=(data["x_val"], data["y_val"]),
        granularity=Weight(across="model"),
        search=Magnitude(),
        sparsity=sparsity,
        tolerance=1.0,
        patience=FLAGS.epochs,
        retrain_epochs=FLAGS.epochs,
        verbose=0,
    )


def gradually(sparsity: float, data: Data) -> sp.StructuredPruning:
    """By magnitude, a step an epoch in the first half."""
    callback = by_magnitude(sparsity, data)
    callback.schedule = Gradual(epochs=max(1, FLAGS.epochs // 2))
    callback.retrain_epochs = 1
    return callback


METHODS: dict[str, Callable[[float, Data], Any]] = {
    "progressive": lambda sparsity, data: by_admm(rounds_to(sparsity, FLAGS.rounds), data),
    "direct": lambda sparsity, data: by_admm([sparsity], data),
    "magnitude": by_magnitude,
    "gradual": gradually,
}


def pruned(method: str, thin: keras.Model, weights: int, data: Data, seed: int) -> keras.Model:
    """The network with so many weights."""
    keras.utils.set_random_seed(seed)
    masked = sp.wrap(thin, granularity="weight", keep_first=False, keep_last=False, admm=True)
    sparsity = 1 - weights / sp.trace(masked).prunable_weights
    fit(masked, data, FLAGS.epochs, FLAGS.rate, (METHODS[method](sparsity, data),), seed)
    return shrink(masked).model


def figures(model: keras.Model, data: Data) -> dict[str, float]:
    """Top-1 in per cent; kernel weights and biases that are not zero."""
    model.compile(loss=LOSS, metrics=["accuracy"])
    scores = {
        f"{n}_top1": 100 * float(model.evaluate(data[f"x_{n}"], data[f"y_{n}"], verbose=0)[1]) for n in ("val", "test")
    }
    arrays = model.get_weights()
    counted = {
        name: int(sum(np.count_nonzero(each) for each in arrays if (each.ndim > 1) is kernels))
        for name, kernels in (("weights", True), ("biases", False))
    }
    return scores | counted


def packed(small: keras.Model, data: Data, seed: int, digits: str, name: pathlib.Path) -> dict[str, Any]:
    """Score and bytes of the network with few values, from its archive."""

    def rounded() -> keras.Model:
        bits = {name: sp.LayerBits(int(each), None) for name, each in zip(LAYERS, digits, strict=True)}
        model = sp.to_fixed_point(small, sp.FixedPoint(8, None, power_of_two=False, layers=bits))
        training = sp.FixedPointTraining(calibration_data=data["x"][:512], refit_epochs=FLAGS.value_epochs // 2)
        fit(model, data, FLAGS.value_epochs, FLAGS.rate / 2, (training,), seed)
        words = 2 ** max(map(int, digits)) - 2  # of a layer, without zero
        plain = sp.unshare(sp.share(float_form(model), words, method="cws", across="layer"), biases=FLAGS.biases)
        bare = keras.Model.from_config(plain.get_config())  # without an optimizer, which would be packed too
        bare.set_weights(plain.get_weights())
        return bare

    kept(name.with_suffix(".keras"), rounded)
    archive = sp.storage.save(name.with_suffix(".keras"), name.with_suffix(".sham"), overwrite=True)
    again = sp.storage.load(archive.path, name.with_name(f"{name.name}_again.keras"), overwrite=True)
    told = figures(keras.models.load_model(again), data)
    return told | {"arrays_bytes": archive.arrays_bytes, "packed_bytes": archive.packed_bytes}


def run(seed: int, data: Data, folder: pathlib.Path) -> list[dict[str, Any]]:
    """All methods of one seed."""
    keras.utils.set_random_seed(seed)

    def trained() -> keras.Model:
        model = lenet5()
        fit(model, data, FLAGS.dense_epochs, FLAGS.rate, (), seed)
        return model

    data = data | {"targets": partial(plain_targets, data["y"])}
    dense = kept(folder / f"dense_{seed}.keras", trained)
    data["targets"] = cache(partial(taught_targets, dense, data["x"], data["y"]))
    thin = kept(folder / f"thin_{'_'.join(FLAGS.maps)}_{seed}.keras", lambda: narrowed(dense, data, seed))
    rows = [
        {"seed": seed, "method": "dense"} | figures(dense, data),
        {"seed": seed, "method": "thin"} | figures(thin, data),
    ]
    for weights in map(int, FLAGS.weights):
        for method in FLAGS.methods:
            name = folder / f"{method}_{weights}_{FLAGS.epochs}_{seed}.keras"
            small = kept(name, lambda m=method, w=weights: pruned(m, thin, w, data, seed))
            rows.append({"seed": seed, "method": method, "asked": weights} | figures(small, data))
            logging.info("%s", rows[-1])
        for digits in FLAGS.bits if "progressive" in FLAGS.methods else ():
            name = folder / f"lenet5_{weights}_{FLAGS.epochs}_{digits}_{seed}"
            small = keras.models.load_model(folder / f"progressive_{weights}_{FLAGS.epochs}_{seed}.keras")
            told = packed(small, data, seed, digits, name)
            rows.append({"seed": seed, "method": f"{'/'.join(digits)} bits, packed", "asked": weights} | told)
            logging.info("%s", rows[-1])
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = [
        "# LeNet-5 on MNIST with 167 and 200 times fewer weights",
        "",
        f"Written by `python -m benchmarks.admm_lenet5`: 431,080 weights; {FLAGS.thin_epochs} epochs with "
        f"{', '.join(FLAGS.maps)} maps, then {FLAGS.epochs} epochs of each method; progressive: {FLAGS.rounds} rounds. "
        f"Test set whole, last epoch, every seed that ran. {FLAGS.note}".strip(),
        "",
        "| seed | method | kernel weights | biases | validation top-1 (%) | test top-1 (%) | weights packed (bytes) | "
        "whole .sham file (bytes) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        told = f"{row['val_top1']:.2f} | {row['test_top1']:.2f}"
        size = f"{row['arrays_bytes']:,} | {row['packed_bytes']:,}" if "packed_bytes" in row else "- | -"
        lines.append(f"| {row['seed']} | {row['method']} | {row['weights']:,} | {row['biases']:,} | {told} | {size} |")
    return "\n".join(lines) + "\n"


def written(results: pathlib.Path, rows: list[dict[str, Any]]) -> None:
    """Put rows among those that are there."""
    file = results.with_suffix(".json")
    found = json.loads(file.read_text()) if file.exists() else []
    merged = {tuple(row.get(key, 0) for key in ("seed", "asked", "method")): row for row in found + rows}
    file.write_text(json.dumps(list(merged.values()), indent=1) + "\n")
    results.with_suffix(".md").write_text(table(sorted(merged.values(), key=lambda row: row["seed"])))


def main(_: list[str]) -> None:
    """Train what is missing and write the table."""
    folder = pathlib.Path(FLAGS.out)
    folder.mkdir(parents=True, exist_ok=True)
    data = mnist()
    for seed in map(int, FLAGS.seeds):
        rows = run(seed, data, folder)
        if FLAGS.results:
            written(pathlib.Path(FLAGS.results), rows)


if __name__ == "__main__":
    app.run(main)
