"""Pruning tools side by side: the same weights, data, epochs, rate and budgets.

    python ../shared/data/load.py cifar10 cifar10.npz
    python -m benchmarks.peers --data cifar10.npz --model resnet8_cifar10.keras --work DIR [--torch .venv/bin/python]

ResNet-8 on CIFAR-10 at 75, 50 and 35 % of the MACs: Torch-Pruning by L1 norm and by Taylor, per layer and globally
(`_torch_pruning`; weights are converted, and converted back, and the logits must be equal within 1e-3), tfmot's
magnitude pruning at as many zeros (`_tfmot_resnet8`; its network keeps its MACs), ours with and without
reconstruction, and the control: our shape with new weights. Choices are made on 1,000 training images; all are then
trained alike on `--images` of them, by the labels alone, and exported by `tflite_export`, tfmot by its own guide. Test
set whole, last epoch. Rows that are there are kept, so an interrupted call goes on.

`--torch` names the Python of an environment with torch and torch-pruning (the extra `peers`); this one by default.
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import Any

import keras
import numpy as np
from absl import app, flags, logging

import tf_structprune as sp
import tflite_export as te
from benchmarks._batches import Batches, accuracy, images
from benchmarks._resnet8 import flat, from_flat, resnet8, weights_of
from tf_structprune.masks import FEATURE_MAP
from tf_structprune.search import LeastSquares
from tf_structprune.shrink import shrink
from tf_structprune.stages import find_masks
from tf_structprune.task import as_score, check_validation
from tflite_export.compress import file_score
from tflite_export.quantize import convert

FLAGS = flags.FLAGS
flags.DEFINE_string("data", None, "CIFAR-10 as load.py writes it.", required=True)
flags.DEFINE_string("model", None, "ResNet-8, which takes pixels from 0 to 255.", required=True)
flags.DEFINE_string("work", None, "Folder of the networks.", required=True)
flags.DEFINE_string("out", "benchmarks/results/peers", "Results, without the ending.")
flags.DEFINE_string("torch", sys.executable, "Python with torch and torch-pruning.")
flags.DEFINE_list("budgets", ["0.75", "0.5", "0.35"], "Shares of the MACs.")
flags.DEFINE_integer("images", 10_000, "Training images; 0 for all.")
flags.DEFINE_integer("epochs", 4, "Epochs of training behind the cut.")
flags.DEFINE_float("rate", 1e-3, "Learning rate at the start; it falls as a cosine to zero.")
flags.DEFINE_integer("seed", 0, "Seed of the order and of the new weights.")

CHOSEN, BATCH, CALIBRATION, CLOSE = 1_000, 128, 200, 1e-3
WAYS = ("l1", "l1_global", "taylor", "taylor_global")
TOLD = {
    "l1": "Torch-Pruning, L1",
    "l1_global": "Torch-Pruning, L1, global",
    "taylor": "Torch-Pruning, Taylor",
    "taylor_global": "Torch-Pruning, Taylor, global",
    "tfmot": "tfmot, magnitude (zeros)",
    "tfmot_2_of_4": "tfmot, 2 of 4 (zeros)",
    "ours_none": "ours, least squares, not reconstructed",
    "ours_full": "ours, least squares, reconstructed",
    "scratch": "ours' shape, from scratch",
}
Row = dict[str, Any]
Data = dict[str, Any]


def logits(model: keras.Model, x: np.ndarray) -> np.ndarray:
    """Outputs before the softmax."""
    bare = resnet8(keras, weights_of(model), scores=False)
    return np.asarray(bare.predict(x, verbose=0))


def by_torch(
    folder: pathlib.Path, dense: keras.Model, data: Data
) -> dict[tuple[str, float], tuple[keras.Model, float]]:
    """Networks and seconds by way and budget; what went over and came back is compared."""
    budgets = [float(each) for each in FLAGS.budgets]
    given = {"x": data["x"][:CHOSEN], "y": data["y"][:CHOSEN], "budgets": budgets, "ways": list(WAYS)}
    np.savez(folder / "given.npz", **flat(weights_of(dense)), **given)
    subprocess.run([FLAGS.torch, "-m", "benchmarks._torch_pruning", str(folder)], check=True)
    found = {}
    for name in ["dense", *(f"{way}_{share}" for way in WAYS for share in budgets)]:
        with np.load(folder / f"{name}.npz") as file:
            model = resnet8(keras, from_flat(file))
            off = float(np.abs(logits(model, data["x"][: len(file["logits"])]) - file["logits"]).max())
            if off > CLOSE:
                raise ValueError(f"{name}: the converted network differs. Received: {off} in a logit.")
            if name != "dense":
                way, _, share = name.rpartition("_")
                found[way, float(share)] = model, float(file["seconds"])
    return found


def by_us(dense: keras.Model, share: float, mode: str, data: Data) -> tuple[keras.Model, float]:
    """The network and seconds; no labels."""
    begun = time.perf_counter()
    masked = sp.wrap(dense, granularity=FEATURE_MAP, keep_first=False)
    seen = check_validation((data["x"][:CHOSEN], None), as_score("kl"), 500).with_outputs_of(masked)
    pair = (data["x"][:CHOSEN], None)
    found = sp.allocate(masked, sp.Budget("macs", share), method="least_squares", validation_data=pair, score="kl")
    sp.set_masks(masked, find_masks(masked, FEATURE_MAP, found, search=LeastSquares(), validation=seen, seed=0).masks)
    sp.reconstruct(masked, data["x"][:CHOSEN], mode=mode)
    return shrink(masked).model, time.perf_counter() - begun


def trained(model: keras.Model, data: Data) -> None:
    """On the labels alone, as all others."""
    keras.utils.set_random_seed(FLAGS.seed)
    batches = Batches(data["x"], data["y"], BATCH, FLAGS.seed)
    falls = keras.optimizers.schedules.CosineDecay(FLAGS.rate, FLAGS.epochs * len(batches))
    model.compile(keras.optimizers.Adam(falls), "sparse_categorical_crossentropy", jit_compile=False)
    model.fit(
        batches,
        epochs=FLAGS.epochs,
        verbose=0,
        callbacks=[keras.callbacks.LambdaCallback(on_epoch_begin=batches.begin)],
    )


def row_of(name: str, share: float, model: keras.Model, seconds: float, data: Data, folder: pathlib.Path) -> Row:
    """Train a network, convert it, and say how good it was and is."""
    before = accuracy(model, data["test"])
    trained(model, data)
    file = folder / f"{name}_{share}.tflite"
    file.write_bytes(convert(model, quantize="int8", representative_data=data["x"][:CALIBRATION]))
    return figures(name, share, model, file, data) | {"before": before, "seconds": seconds}


def figures(name: str, share: float, model: keras.Model, file: pathlib.Path, data: Data) -> Row:
    """What the trained network and its file are worth."""
    return {
        "way": name,
        "share": share,
        "seed": FLAGS.seed,
        "epochs": FLAGS.epochs,
        "rate": FLAGS.rate,
        "images": len(data["x"]),
        "macs": sp.trace(model).macs,
        "after": accuracy(model, data["test"]),
        "int8": 1 + file_score(file, *data["test"]),
        "int8_bytes": file.stat().st_size,
        "file": file.name,
    }


def by_tfmot(folder: pathlib.Path, dense: keras.Model, data: Data, missing: list[float]) -> list[Row]:
    """Rows of tfmot; a network with as many zeros as the others lose MACs."""
    names = {f"{1 - share:.2f}": ("tfmot", share) for share in missing} | (
        {"2_of_4": ("tfmot_2_of_4", 0.5)} if 0.5 in missing else {}
    )
    given = {"x_train": data["x"], "y_train": data["y"], "sparsities": list(names), "epochs": FLAGS.epochs}
    np.savez(folder / "given.npz", **flat(weights_of(dense)), **given, rate=FLAGS.rate, seed=FLAGS.seed)
    subprocess.run([sys.executable, "-m", "benchmarks._tfmot_resnet8", str(folder)], check=True)
    rows = []
    for way, (name, share) in names.items():
        with np.load(folder / f"tfmot_{way}_cut.npz") as cut, np.load(folder / f"tfmot_{way}.npz") as done:
            before = accuracy(resnet8(keras, from_flat(cut)), data["test"])
            model, seconds = resnet8(keras, from_flat(done)), float(done["seconds"])
        found = figures(name, share, model, folder / f"tfmot_{way}.tflite", data)
        rows.append(found | {"before": before, "seconds": seconds})
    return rows


def add_latencies(rows: list[Row], dense: pathlib.Path) -> None:
    """Of all int8 files, which lie beside the dense one, in turns in one process, as speedups over that."""
    reports = te.benchmark_together([dense, *(dense.with_name(row["file"]) for row in rows)], threads=1)
    for row, report in zip(rows, reports[1:], strict=True):
        row["speedup"] = reports[0].latency_us / report.latency_us


def table(rows: list[Row], dense: Row) -> str:
    """The rows as Markdown."""
    lines = [
        "# Pruning tools side by side: ResNet-8 on CIFAR-10",
        "",
        f"Written by `python -m benchmarks.peers`: choices on {CHOSEN:,} training images, then {FLAGS.epochs} epochs of"
        f" {dense['images']:,} images by the labels alone, Adam from {FLAGS.rate}, seed {FLAGS.seed}. Test set whole, "
        f"last epoch. Dense: {100 * dense['after']:.2f} % float, {100 * dense['int8']:.2f} % int8, "
        f"{dense['int8_bytes']:,} bytes. Speedup: of the int8 file over the dense one in LiteRT, one thread, all in "
        "turns, on this machine.",
        "",
        "| MACs asked | tool | MACs | top-1 as cut (%) | trained, float (%) | int8 (%) | int8 file (bytes) | speedup | "
        "seconds to prune |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in sorted(rows, key=lambda row: (-row["share"], list(TOLD).index(row["way"]))):
        cells = [
            f"{row['share']:.0%}",
            TOLD[row["way"]],
            f"{row['macs']:,}",
            *(f"{100 * row[key]:.2f}" for key in ("before", "after", "int8")),
            f"{row['int8_bytes']:,}",
            f"{row['speedup']:.2f}",
            f"{row['seconds']:.1f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def prepared() -> tuple[keras.Model, Data]:
    """The network as built here, and pixels as it takes them."""
    dense = resnet8(keras, weights_of(keras.models.load_model(FLAGS.model, compile=False)))
    parts = {part: images(FLAGS.data, part, FLAGS.images if part == "train" else None) for part in ("train", "test")}
    x, y = parts["train"]
    test_x, test_y = parts["test"]
    back = np.float32(127.5)  # `images` are from -1 to 1
    return dense, {"x": (x + 1) * back, "y": y, "test": ((test_x + 1) * back, test_y)}


def main(_: list[str]) -> None:
    """Measure what is missing and write the table."""
    out, work = pathlib.Path(FLAGS.out), pathlib.Path(FLAGS.work)
    work.mkdir(parents=True, exist_ok=True)
    dense, data = prepared()
    file = work / "dense.tflite"
    file.write_bytes(convert(dense, quantize="int8", representative_data=data["x"][:CALIBRATION]))
    whole = figures("dense", 1.0, dense, file, data)
    state = work / "rows.json"
    rows: list[Row] = json.loads(state.read_text()) if state.exists() else []
    alike = ("seed", "epochs", "rate", "images")
    if any(row.get(key) != whole[key] for row in rows for key in alike):
        raise app.UsageError(f"{state} has rows of other {', '.join(alike)}. Use another --work.")

    def keep(found: list[Row]) -> None:
        rows.extend(found)
        state.write_text(json.dumps(rows, indent=1) + "\n")
        logging.info("%s", found)

    def missing(name: str) -> list[float]:
        there = {row["share"] for row in rows if row["way"] == name}
        return [share for share in map(float, FLAGS.budgets) if share not in there]

    for share in missing("ours_none"):
        keep([row_of("ours_none", share, *by_us(dense, share, "none", data), data, work)])
    for share in missing("ours_full"):
        keep([row_of("ours_full", share, *by_us(dense, share, "full", data), data, work)])
    for share in missing("scratch"):
        keras.utils.set_random_seed(FLAGS.seed)
        new = keras.models.clone_model(by_us(dense, share, "none", data)[0])
        keep([row_of("scratch", share, new, 0.0, data, work)])
    if any(missing(way) for way in WAYS):
        with tempfile.TemporaryDirectory() as folder:
            found = by_torch(pathlib.Path(folder), dense, data)
        for (way, share), (model, seconds) in found.items():
            if share in missing(way):
                keep([row_of(way, share, model, seconds, data, work)])
    if missing("tfmot"):
        keep(by_tfmot(work, dense, data, missing("tfmot")))
    add_latencies(rows, file)
    out.with_suffix(".json").write_text(json.dumps([whole, *rows], indent=1) + "\n")
    out.with_suffix(".md").write_text(table(rows, whole))


if __name__ == "__main__":
    app.run(main)
