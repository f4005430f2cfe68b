"""Half the MACs of a DS-CNN that knows spoken digits, and one for small flash and arena, beside thin ones from scratch.

    python -m benchmarks.keyword_spotting --fsdd fsdd.npz [--seeds 0,1,2,3,4]

DS-CNN of 64 filters on log-mel energies (49 frames of 32 bands) of the Free Spoken Digit Dataset: 2,300 clips to train,
400 to validate, drawn by seed, and the 300 of its own test part. A row a seed and a budget: the trained network and
what `compress` hands over, in float and in int8 on the test part, beside the control: a network of the same shape,
trained from scratch for as many epochs as both took together, with the same data, changes and rate, no teacher.
"""

import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from absl import app, flags

import tflite_export as te
from benchmarks._by_seed import Row, Rows, by_seed
from benchmarks.networks import ds_cnn
from benchmarks.speech import images_of
from tflite_export.compress import Batches

FLAGS = flags.FLAGS
flags.DEFINE_string("fsdd", None, "Spoken digits as load.py writes them: x_*, int16 at 8 kHz.", required=True)
flags.DEFINE_string("out", "benchmarks/results/keyword_spotting", "Results, without the ending.")
flags.DEFINE_list("seeds", ["0", "1", "2", "3", "4"], "Seeds of the split, training, pruning and retraining.")
flags.DEFINE_integer("epochs", 30, "Epochs of the dense network's training, and of its retraining.")

BATCH, RATE, VALIDATION = 32, 2e-3, 400
MASKS = ("time_mask=8", "frequency_mask=4")
BUDGETS: dict[str, Any] = {"half the MACs": "macs=0.5", "flash and arena": ("flash=20KiB", "arena=30KiB")}
SETTINGS: dict[str, Any] = {
    "allocation": "least_squares",
    "search": "least_squares",
    "distill": 0.5,
    "augment": MASKS,
    "tolerance": 0.05,
    "finetune_batch": BATCH,
    "finetune_rate": RATE,
}


def trained(model: keras.Model, data: dict[str, Any], seed: int, epochs: int) -> keras.Model:
    """A network trained from scratch as `compress` retrains: Adam, the rate falling as a cosine, masked in places."""
    batches = Batches(data["train"], BATCH, MASKS, seed)
    rate = keras.optimizers.schedules.CosineDecay(RATE, epochs * len(batches))
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", jit_compile=False)
    renewed = keras.callbacks.LambdaCallback(on_epoch_begin=batches.begin)
    model.fit(batches, epochs=epochs, shuffle=False, callbacks=[renewed], verbose=0)
    return model


def accuracy(model: keras.Model, part: tuple[np.ndarray, np.ndarray]) -> float:
    """Share of clips whose digit is found."""
    x, y = part
    return float((np.argmax(model.predict(x, verbose=0), axis=1) == y).mean())


def rows_of(seed: int, known: Rows) -> Iterator[Row]:
    """The figures of one seed, a row a budget, but those that are known."""
    missing = [name for name in BUDGETS if all(row["budget"] != name for row in known)]
    if not missing:
        return
    data = images_of(FLAGS.fsdd, validation=VALIDATION, seed=seed)
    keras.utils.set_random_seed(seed)
    dense = trained(ds_cnn(), data, seed, FLAGS.epochs)
    for name in missing:
        yield _row(dense, data, seed, name)


def _row(dense: keras.Model, data: dict[str, Any], seed: int, name: str) -> dict[str, Any]:
    row: dict[str, Any] = {"seed": seed, "budget": name, "epochs": FLAGS.epochs}
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "out"
        try:
            report = te.compress(dense, data, out, budget=BUDGETS[name], epochs=FLAGS.epochs, seed=seed, **SETTINGS)
        except te.RefusedError as error:
            return {**row, "refused": str(error).partition(" What was reached")[0]}
        keras.utils.set_random_seed(seed)
        thin = keras.models.clone_model(keras.models.load_model(out / "model.keras", compile=False))
    trained(thin, data, seed, 2 * FLAGS.epochs)
    for side, figures in (("dense", report.baseline), ("pruned", report.compressed)):
        names = ("score_float", "score_int8", "macs", "parameters", "int8_bytes", "arena_bytes")
        row |= {f"{side}_{key}": getattr(figures, key) for key in names}
    return {
        **row,
        "thin_score_float": accuracy(thin, data["test"]),
        "channels": [layer.filters for layer in thin.layers if hasattr(layer, "filters")],
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The rows in Markdown, and the mean of each budget."""
    head = "| budget | seed | dense float, int8 (%) | pruned float, int8 (%) | thin from scratch, float (%) |"
    lines = [head + " MACs | int8 file (bytes) | TFLM arena (bytes) |", "|---" * 8 + "|"]
    for name in BUDGETS:
        mine = [row for row in rows if row["budget"] == name]
        told = [row for row in mine if "refused" not in row]
        lines += [
            f"| {name} | {row['seed']} | refused: {row['refused']} |" + " |" * 5 for row in mine if "refused" in row
        ]
        lines += [_line(name, str(row["seed"]), row) for row in told]
        if told:
            numbers = [key for key, value in told[0].items() if isinstance(value, int | float)]
            lines.append(_line(name, "mean", {key: float(np.mean([row[key] for row in told])) for key in numbers}))
    return "\n".join(lines)


def _line(name: str, seed: str, row: dict[str, Any]) -> str:
    def percent(side: str) -> str:
        return f"{100 * row[f'{side}_score_float']:.2f}, {100 * row[f'{side}_score_int8']:.2f}"

    sizes = " | ".join(
        f"{row[f'dense_{key}']:,.0f} -> {row[f'pruned_{key}']:,.0f}" for key in ("macs", "int8_bytes", "arena_bytes")
    )
    return (
        f"| {name} | {seed} | {percent('dense')} | {percent('pruned')} "
        f"| {100 * row['thin_score_float']:.2f} | {sizes} |"
    )


def page(rows: list[dict[str, Any]]) -> str:
    """The results for people."""
    note = (
        f"Test part of 300 clips at the last epoch, every seed; {FLAGS.epochs} epochs of training and as many of "
        "retraining, the control for both together."
    )
    text = f"# DS-CNN of 64 filters on spoken digits\n\n`python -m benchmarks.keyword_spotting`\n\n{note}\n\n"
    return f"{text}{table(rows)}\n"


def main(_: list[str]) -> None:
    """Measure and write."""
    by_seed(pathlib.Path(FLAGS.out), map(int, FLAGS.seeds), {"epochs": FLAGS.epochs}, rows_of, page)


if __name__ == "__main__":
    app.run(main)
