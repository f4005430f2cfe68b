"""MNIST1 at 80 % sparsity of all three granularities together: without any training, and retrained.

    python benchmarks/train_mnist.py --data mnist.npz --out DENSE
    python -m benchmarks.mnist_reconstructed --data mnist.npz --dense DENSE [--seeds 0,1,2]

A row a seed: the dense network's test error, and that of what `compress` hands over with `epochs=0` and with a few,
in float and in int8. The last 10,000 training images are validation data, as in the training of the dense network.
"""

import json
import pathlib
import tempfile
from typing import Any

import keras
import numpy as np
from absl import app, flags

import tflite_export as te

FLAGS = flags.FLAGS
flags.DEFINE_string("data", None, "MNIST as .npz (x_train, y_train, x_test, y_test).", required=True)
flags.DEFINE_string("dense", None, "Folder of the dense networks, from train_mnist.py.", required=True)
flags.DEFINE_string("out", "benchmarks/results/mnist_reconstructed", "Results, without the ending.")
flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds of the dense networks, the search and the retraining.")
flags.DEFINE_integer("epochs", 3, "Epochs of retraining after each of the three stages, in the second run.")

VALIDATION, SPARSITY = 10_000, 0.8
SETTINGS: dict[str, Any] = {
    "sparsity": SPARSITY,
    "granularity": ("feature_map", "kernel", "intra_kernel"),
    "tolerance": 0.05,
    "lower": "none",
    "micro": "none",
}


def data_of() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Images in 0..1 and digits by part."""
    with np.load(FLAGS.data) as file:
        x, x_test = ((file[f"x_{part}"][..., None] / np.float32(255)) for part in ("train", "test"))
        y, y_test = file["y_train"], file["y_test"]
    held = slice(len(x) - VALIDATION, None)
    return {"train": (x[:-VALIDATION], y[:-VALIDATION]), "val": (x[held], y[held]), "test": (x_test, y_test)}


def row(seed: int, data: dict[str, Any]) -> dict[str, Any]:
    """Test errors in percent of one seed."""
    dense = keras.models.load_model(pathlib.Path(FLAGS.dense) / f"MNIST1_{seed}.keras")
    found: dict[str, Any] = {"seed": seed}
    for name, epochs in (("untrained", 0), ("retrained", FLAGS.epochs)):
        with tempfile.TemporaryDirectory() as folder:
            out = pathlib.Path(folder) / "out"
            report = te.compress(dense, data, out, epochs=epochs, seed=seed, **SETTINGS)
        found["dense"] = 100 * (1 - report.baseline.score_float)
        found[f"{name}_sparsity"] = report.sparsity
        found[name] = 100 * (1 - report.compressed.score_float)
        found[f"{name}_int8"] = 100 * (1 - report.compressed.score_int8)
    return found


def table(rows: list[dict[str, Any]]) -> str:
    """The rows and their mean in Markdown."""
    keys = ("dense", "untrained", "untrained_int8", "retrained", "retrained_int8")
    mean = {"seed": "mean", **{key: float(np.mean([each[key] for each in rows])) for key in keys}}
    lines = [
        "| seed | dense | no training, float | no training, int8 | retrained, float | retrained, int8 |",
        "|---" * 6 + "|",
    ]
    return "\n".join(
        [
            *lines,
            *(f"| {each['seed']} | " + " | ".join(f"{each[key]:.2f}" for key in keys) + " |" for each in (*rows, mean)),
        ]
    )


def main(_: list[str]) -> None:
    """Measure and write."""
    out, rows, data = pathlib.Path(FLAGS.out), [], data_of()
    for seed in map(int, FLAGS.seeds):
        rows.append(row(seed, data))
        out.with_suffix(".json").write_text(json.dumps(rows, indent=2) + "\n")
    text = (
        f"# MNIST1, {100 * SPARSITY:.0f} % of the prunable weights removed\n\n"
        "`python -m benchmarks.mnist_reconstructed`\n\n"
        "Test error in percent, all 10,000 images, at the last epoch, every seed. All three granularities one after "
        f"the other; retrained: {FLAGS.epochs} epochs after each.\n\n{table(rows)}\n"
    )
    out.with_suffix(".md").write_text(text)


if __name__ == "__main__":
    app.run(main)
