"""What each part of PQK is worth: pruned, quantized, both, and both with the network as its own teacher.

    python -m benchmarks.pqk_speech --data fsdd.npz [--seeds 0,1,2,3,4] [--epochs 30] [--sparsities 0.7,0.9]

DS-CNN on log-mel energies of the Free Spoken Digit Dataset: 2,300 clips to train, 400 left out by seed, and the 300 of
its own test part. For each seed one dense network, and from it, each with as many epochs, the same rate and the same
order of batches: P, masks in float; Q, 4-bit weights and 8-bit signals; PQ, both; PQK, both with the teacher in the
second half. Single weights of the pointwise convolutions go. Accuracy on the test part at the last epoch; means over
the seeds with 95 % intervals of Student's t, and the same of the paired differences, which are what tells. An
interrupted call goes on with what is missing.
"""

import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
from absl import app, flags
from scipy import stats

import tf_structprune as sp
from benchmarks._by_seed import Row, Rows, by_seed
from benchmarks.networks import ds_cnn
from benchmarks.speech import images_of
from tflite_export.compress import Batches

FLAGS = flags.FLAGS
flags.DEFINE_string("data", None, "Spoken digits as load.py writes them: x_*, int16 at 8 kHz.", required=True)
flags.DEFINE_string("out", "benchmarks/results/pqk_speech", "Results, without the ending.")
flags.DEFINE_list("seeds", ["0", "1", "2", "3", "4"], "Seeds of the split, the training and the order of batches.")
flags.DEFINE_integer("epochs", 30, "Epochs of the dense network, and of each that is made of it.", lower_bound=2)
flags.DEFINE_list("sparsities", ["0.7", "0.9"], "Fractions of the pointwise weights that go.")
flags.DEFINE_integer("filters", 64, "Feature maps of every convolution.")

BATCH, RATE, VALIDATION, CALIBRATION = 32, 2e-3, 400, 512
WORDS = sp.FixedPoint(weight_bits=4, signal_bits=8)
AUGMENT = ("time_mask=8", "frequency_mask=4")
Data = dict[str, tuple[np.ndarray, np.ndarray]]
DIFFERENCES = (("PQK", "PQ"), ("PQ", "P"), ("PQ", "Q"))


def fitted(model: keras.Model, data: Data, seed: int, callbacks: Sequence[keras.callbacks.Callback] = ()) -> None:
    """Train as `compress` retrains: Adam, the rate falling as a cosine, spectrograms masked in places."""
    keras.utils.set_random_seed(seed)
    batches = Batches(data["train"], BATCH, AUGMENT, seed)
    rate = keras.optimizers.schedules.CosineDecay(RATE, FLAGS.epochs * len(batches))
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", jit_compile=False)
    renewed = keras.callbacks.LambdaCallback(on_epoch_begin=batches.begin)
    model.fit(batches, epochs=FLAGS.epochs, shuffle=False, callbacks=[renewed, *callbacks], verbose=0)


def made(dense: keras.Model, data: Data, seed: int, method: str, sparsity: float) -> keras.Model:
    """The network that a method makes of the dense one."""
    model = sp.to_fixed_point(dense, WORDS) if "Q" in method else dense
    pruned = max(1, FLAGS.epochs // 2)
    words = []
    if "Q" in method:
        some = data["train"][0][np.random.default_rng(seed).permutation(len(data["train"][0]))[:CALIBRATION]]
        words = [sp.FixedPointTraining(calibration_data=some, refit_epochs=pruned)]
    if "P" not in method:
        fitted(model, data, seed, words)
        return model
    masked = sp.wrap(model, granularity="weight", keep=["depthwise_*"])
    teaching = float("K" in method)
    taught = sp.SelfTaught(masked, weight=teaching, teacher_weight=teaching)
    fitted(taught, data, seed, [sp.PQK(sparsity, prune_epochs=pruned), *words])
    return masked


def rows_of(seed: int, known: Rows) -> Iterator[Row]:
    """The figures of one seed, a row a network, but those that are known."""
    pruned = [(method, sparsity) for sparsity in map(float, FLAGS.sparsities) for method in ("P", "PQ", "PQK")]
    there = {(row["method"], row["sparsity"]) for row in known}
    missing = [each for each in (("dense", 0.0), ("Q", 0.0), *pruned) if each not in there]
    if not missing:
        return
    data = images_of(FLAGS.data, validation=VALIDATION, seed=seed)
    keras.utils.set_random_seed(seed)
    dense = ds_cnn(FLAGS.filters)
    fitted(dense, data, seed)
    for method, sparsity in missing:
        model = dense if method == "dense" else made(dense, data, seed, method, sparsity)
        yield _row(model, data, seed, method, sparsity)


def _row(model: keras.Model, data: Data, seed: int, method: str, sparsity: float) -> dict[str, Any]:
    x, y = data["test"]
    found = np.argmax(model.predict(x, verbose=0), axis=1)
    settings = {"epochs": FLAGS.epochs, "filters": FLAGS.filters}
    return {
        "seed": seed,
        "method": method,
        "sparsity": sparsity,
        "accuracy": float((found == y).mean()),
        "gone": _gone(model) if sparsity else 0.0,
        **settings,
    }


def _gone(masked: keras.Model) -> float:
    """The share of masked weights that is zero as the network computes, rounded or not."""
    masks = sp.get_masks(masked).weight
    kernels = [keras.ops.convert_to_numpy(masked.get_layer(name).effective_kernel()) for name in masks]
    return float(1 - sum(np.count_nonzero(kernel) for kernel in kernels) / sum(kernel.size for kernel in kernels))


def interval(values: Sequence[float]) -> str:
    """Mean and half the 95 % interval, in points."""
    mean = 100 * float(np.mean(values))
    if len(values) < 2:
        return f"{mean:.2f}"
    half = stats.t.ppf(0.975, len(values) - 1) * 100 * float(np.std(values, ddof=1)) / len(values) ** 0.5
    return f"{mean:.2f} ± {half:.2f}"


def tables(rows: list[dict[str, Any]]) -> str:
    """Accuracies and paired differences in Markdown."""
    seeds = sorted({row["seed"] for row in rows})
    by_place = {(row["method"], row["sparsity"], row["seed"]): row for row in rows}
    lines = ["| network | sparsity | zeros (%) | accuracy (%) | each seed |", "|---|---:|---:|---:|---|"]
    for method, sparsity in dict.fromkeys((row["method"], row["sparsity"]) for row in rows):
        mine = [by_place[method, sparsity, seed] for seed in seeds]
        each = ", ".join(f"{100 * row['accuracy']:.2f}" for row in mine)
        zeros = 100 * float(np.mean([row["gone"] for row in mine]))
        found = interval([row["accuracy"] for row in mine])
        lines.append(f"| {method} | {100 * sparsity:.0f} % | {zeros:.1f} | {found} | {each} |")
    lines += ["", "| difference | sparsity | points |", "|---|---:|---:|"]
    for sparsity in dict.fromkeys(row["sparsity"] for row in rows if row["sparsity"]):
        for one, other in DIFFERENCES:
            at = sparsity if "P" in other else 0.0
            both = [by_place[one, sparsity, seed]["accuracy"] - by_place[other, at, seed]["accuracy"] for seed in seeds]
            lines.append(f"| {one} - {other} | {100 * sparsity:.0f} % | {interval(both)} |")
    return "\n".join(lines)


def page(rows: list[dict[str, Any]]) -> str:
    """The results for people."""
    note = (
        f"DS-CNN of {FLAGS.filters} filters, {len({row['seed'] for row in rows})} seeds, {FLAGS.epochs} epochs of the "
        "dense network and as many of each other one, of which PQK's teacher is there in the second half. 300 test "
        "clips at the last epoch; 95 % intervals over the seeds. Zeros are those of masked layers, rounded ones too."
    )
    text = f"# PQK and its parts on spoken digits\n\n`python -m benchmarks.pqk_speech`\n\n{note}\n\n"
    return f"{text}{tables(rows)}\n"


def main(_: list[str]) -> None:
    """Measure and write."""
    by_seed(
        pathlib.Path(FLAGS.out),
        map(int, FLAGS.seeds),
        {"epochs": FLAGS.epochs, "filters": FLAGS.filters},
        rows_of,
        page,
    )


if __name__ == "__main__":
    app.run(main)
