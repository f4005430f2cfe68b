"""A part of the MACs without any training: what is kept makes up for what is removed, or does not.

    python benchmarks/reconstruction.py --model resnet8_cifar10.keras --data cifar10.npz

Each way allocates a budget, chooses maps and, if it does, reconstructs, from 1,000 training images; only "greedy",
which scores candidates, sees their labels. The test images, which decide nothing, give the figure. Every seed is told.
Seconds are of allocation, choice and reconstruction together, moments and tracing included.
"""

import json
import pathlib
import time
from collections import defaultdict
from dataclasses import dataclass

import keras
import numpy as np
from _untrained import chosen_rows, test_part
from absl import app, flags

import tf_structprune as sp
from tf_structprune.masks import FEATURE_MAP
from tf_structprune.search import SEARCHES
from tf_structprune.stages import find_masks
from tf_structprune.task import Validation, as_score, check_validation
from tflite_export.compress import load_model

FLAGS = flags.FLAGS
flags.DEFINE_string("model", None, "A classifier as .keras.", required=True)
flags.DEFINE_string("data", None, "x_train, y_train, x_test, y_test as .npz.", required=True)
flags.DEFINE_string("out", "benchmarks/results/reconstruction", "Results without suffix.")


@dataclass(frozen=True)
class Way:
    """How maps are removed.

    Attributes:
        allocation: method.
        search: selector.
        reconstruct: mode.
    """

    allocation: str
    search: str
    reconstruct: str

    def __str__(self) -> str:
        return f"{self.allocation} | {self.search} | {self.reconstruct}"


WAYS = (
    Way("greedy", "magnitude", "none"),
    Way("greedy", "magnitude", "full"),
    Way("least_squares", "least_squares", "none"),
    Way("least_squares", "least_squares", "statistics"),
    Way("least_squares", "least_squares", "full"),
)


def images(seed: int, labels: bool) -> Validation:
    """Training images of a seed, with labels or without."""
    data = np.load(FLAGS.data)
    chosen = chosen_rows(len(data["x_train"]), seed)
    x, y = data["x_train"][chosen].astype(np.float32), data["y_train"][chosen].ravel()
    return check_validation((x, y if labels else None), as_score("mcr" if labels else "kl"), 500)


def run(dense: keras.Model, budget: sp.Budget, way: Way, seed: int, test: Validation) -> dict:
    """Figures of one way."""
    seen = images(seed, labels=way.allocation == "greedy")
    masked = sp.wrap(dense, granularity=FEATURE_MAP, keep_first=False)
    begun = time.monotonic()
    data = {"validation_data": (seen.x, seen.y), "score": seen.score}
    found = sp.allocate(masked, budget, method=way.allocation, seed=seed, **data)
    seen = seen if seen.y is not None else seen.with_outputs_of(masked)
    masks = find_masks(masked, FEATURE_MAP, found, search=SEARCHES[way.search](), validation=seen, seed=seed).masks
    sp.set_masks(masked, masks)
    report = sp.reconstruct(masked, seen.x, mode=way.reconstruct, seed=seed)
    seconds = time.monotonic() - begun
    worst = max(report.layers, key=lambda layer: layer.after, default=None)
    return {
        "accuracy": 1 + test.of(masked),
        "macs": found.fraction,
        "kept": list(found.kept.values()),
        "seconds": seconds,
        "worst": None if worst is None else [worst.name, worst.before, worst.after],
    }


def table(rows: list[dict], dense: float) -> str:
    """The rows as Markdown, one way a line."""
    lines = [
        "# A part of the MACs without training",
        "",
        f"Written by `benchmarks/reconstruction.py`. {pathlib.Path(FLAGS.model).stem}, {FLAGS.images:,} training "
        "images, without labels but for the greedy allocation; no training. Top-1 on the test images for each seed of "
        f"the images; dense {100 * dense:.2f} %. Layer: the one that misses most of its variance, after what was done."
        + (f" {FLAGS.beside}" if FLAGS.beside else ""),
        "",
        "| budget | allocation | selector | reconstruction | top-1 (%) by seed | MACs (%) | kept | layer | s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    together = defaultdict(list)
    for row in rows:
        together[row["budget"], row["way"]].append(row)
    for (budget, way), found in together.items():
        first = found[0]
        worst = "" if first["worst"] is None else f"{first['worst'][0]}: {100 * first['worst'][2]:.0f} %"
        cells = [
            budget,
            way,
            ", ".join(f"{100 * row['accuracy']:.2f}" for row in found),
            f"{100 * first['macs']:.1f}",
            "-".join(map(str, first["kept"])),
            worst,
            f"{np.median([row['seconds'] for row in found]):.0f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main(_: list[str]) -> None:
    """Measure and write both results."""
    dense, data = load_model(FLAGS.model), np.load(FLAGS.data)
    test = test_part(data)
    whole, rows, out = 1 + test.of(dense), [], pathlib.Path(FLAGS.out)
    for budget in map(sp.Budget.parse, FLAGS.budgets):
        for way in WAYS:
            for seed in map(int, FLAGS.seeds if way == WAYS[-1] else FLAGS.seeds[:1]):
                told = {"budget": f"{budget.kind} {100 * budget.fraction:g} %", "way": str(way), "seed": seed}
                rows.append(told | run(dense, budget, way, seed, test))
                print(rows[-1], flush=True)
                out.with_suffix(".json").write_text(json.dumps({"dense": whole, "rows": rows}, indent=2) + "\n")
    out.with_suffix(".md").write_text(table(rows, whole))


if __name__ == "__main__":
    app.run(main)
