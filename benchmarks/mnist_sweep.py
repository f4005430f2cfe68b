"""Sparsity against test error on MNIST: granularities, selectors and seeds compared.

    python benchmarks/train_mnist.py --data mnist.npz --out DENSE
    python benchmarks/mnist_sweep.py --data mnist.npz --dense DENSE --out benchmarks/results/mnist

Every cell starts from the dense network of its seed, searches masks on 2,000 validation images
before any retraining, retrains for a fixed number of epochs and is tested once, at the last epoch.
The test set is not looked at before. Sparsity is counted over all prunable weights (all but the first
convolution and the classifier). Each cell is appended to OUT.jsonl when it is done, so an interrupted
sweep goes on where it stopped; OUT.md is the table of OUT.jsonl.
"""

import itertools
import json
import pathlib
import statistics
import time

import keras
import numpy as np
from absl import app, flags, logging
from networks import NETWORKS

import tf_structprune as sp
import tflite_export as te
from tf_structprune.masks import GRANULARITIES, stage_shares
from tf_structprune.task import as_score, check_validation

FLAGS = flags.FLAGS
flags.DEFINE_string("data", None, "MNIST as .npz (x_train, y_train, x_test, y_test).", required=True)
flags.DEFINE_string("dense", None, "Folder of the dense networks.", required=True)
flags.DEFINE_string("out", "benchmarks/results/mnist", "Results without suffix.")
flags.DEFINE_list("networks", list(NETWORKS), "Networks to sweep.")
flags.DEFINE_list("granularities", [*GRANULARITIES, "combined"], "Granularities to sweep.")
flags.DEFINE_list("sparsities", ["0.8", "0.9", "0.5"], "Sparsities, most wanted first.")
flags.DEFINE_integer("seeds", 3, "Seeds 0 to N-1.")
flags.DEFINE_integer("epochs", 3, "Epochs of retraining.")
flags.DEFINE_bool("table_only", False, "Only write OUT.md from OUT.jsonl.")

VALIDATION, SEARCH_IMAGES, BATCH = 10_000, 2_000, 128
PLANS = {"feature_map": GRANULARITIES[:1], "kernel": GRANULARITIES[1:2], "intra_kernel": GRANULARITIES[2:]}
PLANS["combined"] = GRANULARITIES
# 50 scored candidates for both searches
SEARCHES = {
    "best_of_n": sp.search.BestOfN(50),
    "particle_filter": sp.search.ParticleFilter(particles=10, generations=5),
    "activation_vote": sp.search.ActivationVote(),
    "magnitude": sp.search.Magnitude(),
}


def prune(
    dense: keras.Model, plan: tuple[str, ...], search: sp.search.Search, sparsity: float, data: dict, seed: int
) -> keras.Model:
    """The masked network, feature maps already shrunk away; masks searched, nothing retrained."""
    validation = check_validation((data["x_val"][:SEARCH_IMAGES], data["y_val"][:SEARCH_IMAGES]), as_score("mcr"), 500)
    masked = sp.wrap(dense)
    total = sp.trace(dense).prunable_weights
    keep = total
    for granularity, share in zip(plan, stage_shares(sparsity, plan), strict=True):
        keep *= 1 - share
        here = 1 - keep / sp.trace(masked).prunable_weights  # of a model that may be thin already
        if isinstance(search, sp.search.ActivationVote) and granularity != "feature_map":
            raise ValueError("activation voting ranks feature maps only")
        found = sp.find_masks(masked, granularity, max(0.0, here), search=search, validation=validation, seed=seed)
        sp.set_masks(masked, found.masks)
        if granularity == "feature_map":
            masked = sp.wrap(te.shrink(masked).model)
    return masked


def retrain(masked: keras.Model, data: dict, epochs: int, seed: int) -> None:
    """Adam, learning rate falling as a cosine to zero."""
    keras.utils.set_random_seed(seed)
    rate = keras.optimizers.schedules.CosineDecay(1.5e-3, epochs * -(-len(data["x"]) // BATCH))
    loss = "sparse_categorical_crossentropy"
    masked.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"], jit_compile=False)
    masked.fit(data["x"], data["y"], batch_size=BATCH, epochs=epochs, verbose=0)


def mcr(model: keras.Model, x: np.ndarray, y: np.ndarray) -> float:
    """Misclassification rate."""
    return float(np.mean(model.predict(x, batch_size=1000, verbose=0).argmax(1) != y))


def run_cell(cell: dict, data: dict) -> dict:
    """Prune, retrain and test one cell; a refusal is a result too."""
    started = time.monotonic()
    dense = keras.models.load_model(pathlib.Path(FLAGS.dense) / f"{cell['network']}_{cell['seed']}.keras")
    result = {**cell, "epochs": FLAGS.epochs, "mcr_dense": mcr(dense, data["x_test"], data["y_test"])}
    plan, search = PLANS[cell["granularity"]], SEARCHES[cell["search"]]
    try:
        masked = prune(dense, plan, search, cell["sparsity"], data, cell["seed"])
    except ValueError as refusal:
        return {**result, "refused": str(refusal)}
    graph, total = sp.trace(masked), sp.trace(dense).prunable_weights
    kept = sp.kept_weights(graph, sp.get_masks(masked))
    result["sparsity_counted"] = 1 - sum(kept[layer.name] for layer in graph.prunable_layers) / total
    result["mcr_val_before_retraining"] = mcr(masked, data["x_val"], data["y_val"])
    retrain(masked, data, FLAGS.epochs, cell["seed"])
    result["mcr_val"] = mcr(masked, data["x_val"], data["y_val"])
    result["mcr_test"] = mcr(masked, data["x_test"], data["y_test"])
    return {**result, "seconds": round(time.monotonic() - started, 1)}


def cells() -> list[dict]:
    """All cells, the most wanted sparsity first."""
    names = ("sparsity", "network", "granularity", "search", "seed")
    ranges = ([float(s) for s in FLAGS.sparsities], FLAGS.networks, FLAGS.granularities, SEARCHES, range(FLAGS.seeds))
    every = [dict(zip(names, values, strict=True)) for values in itertools.product(*ranges)]
    return [c for c in every if c["search"] != "activation_vote" or c["granularity"] == "feature_map"]


def load_data() -> dict:
    """MNIST in 0..1 with the last 10,000 training images held out."""
    with np.load(FLAGS.data, allow_pickle=False) as file:
        raw = dict(file)
    x_train, x_test = (raw[key][..., None] / np.float32(255) for key in ("x_train", "x_test"))
    y_train = raw["y_train"]
    return {
        "x": x_train[:-VALIDATION],
        "y": y_train[:-VALIDATION],
        "x_val": x_train[-VALIDATION:],
        "y_val": y_train[-VALIDATION:],
        "x_test": x_test,
        "y_test": raw["y_test"],
    }


def write_table(results: list[dict], path: pathlib.Path) -> None:
    """Mean and range of the test MCR over seeds, one row a network, granularity and selector."""
    sparsities = sorted({row["sparsity"] for row in results})
    lines = [
        "# MNIST: sparsity against test error",
        "",
        "Written by `benchmarks/mnist_sweep.py`. Test MCR in %, mean (least to most) over the seeds, at the "
        "last epoch of retraining; the test set is used for nothing else. Refused: that granularity alone cannot be "
        "that sparse. Empty: not run.",
        "",
        "| network | granularity | selector | dense | " + " | ".join(f"{s:.0%}" for s in sparsities) + " |",
        "|---|---|---|---|" + "---|" * len(sparsities),
    ]
    keys = dict.fromkeys((row["network"], row["granularity"], row["search"]) for row in sorted(results, key=_order))
    for key in keys:
        rows = [row for row in results if (row["network"], row["granularity"], row["search"]) == key]
        dense = _spread(list({row["seed"]: row["mcr_dense"] for row in rows}.values()))
        columns = [_cell([r for r in rows if r["sparsity"] == s]) for s in sparsities]
        lines.append("| " + " | ".join((*key, dense, *columns)) + " |")
    path.write_text("\n".join(lines) + "\n")


def _order(row: dict) -> tuple[int, int, int]:
    return (list(NETWORKS).index(row["network"]), list(PLANS).index(row["granularity"]),
            list(SEARCHES).index(row["search"]))  # fmt: skip


def _cell(rows: list[dict]) -> str:
    if len(rows) < FLAGS.seeds:
        return ""  # not run, or not for every seed
    return "refused" if any("refused" in row for row in rows) else _spread([row["mcr_test"] for row in rows])


def _spread(values: list[float]) -> str:
    return f"{100 * statistics.mean(values):.2f} ({100 * min(values):.2f} to {100 * max(values):.2f})"


def main(_: list[str]) -> None:
    """Run the cells that are not done yet, then write the table."""
    log = pathlib.Path(FLAGS.out + ".jsonl")
    results = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    done = {tuple(row[key] for key in ("sparsity", "network", "granularity", "search", "seed")) for row in results}
    data = {} if FLAGS.table_only else load_data()
    for cell in [] if FLAGS.table_only else cells():
        if tuple(cell.values()) in done:
            continue
        result = run_cell(cell, data)
        keras.backend.clear_session()
        results.append(result)
        with log.open("a") as file:
            file.write(json.dumps(result) + "\n")
        logging.info("%s", result)
    write_table(results, pathlib.Path(FLAGS.out + ".md"))


if __name__ == "__main__":
    app.run(main)
