"""One sparsity for all layers against an allocation across them: ResNet-8 at a part of its MACs or latency.

    python benchmarks/allocation.py --model resnet8_cifar10.keras --data cifar10.npz --out benchmarks/results/allocation

Channels are taken by L1 norm, no group has a floor, nothing is retrained: the figures are those by which allocations
are found. The search sees 2,000 training images; the test images, which decide nothing, tell whether its gain is one of
these images only.
All files run in turn in one process. On a CPU with AMX few channels cost an int8 layer as much as many; as on others:

    python -m benchmarks._without_amx benchmarks/allocation.py --budgets macs=0.5,latency=0.7 --cpu "AMX denied" ...
"""

import json
import pathlib
import time
from dataclasses import asdict

import keras
import numpy as np
from absl import app, flags

import tf_structprune as sp
import tflite_export as te
from tf_structprune.masks import kept_space
from tf_structprune.measure import l1
from tf_structprune.task import Validation, as_score, check_validation
from tflite_export.compress import load_model
from tflite_export.quantize import convert

FLAGS = flags.FLAGS
flags.DEFINE_string("model", None, "A classifier as .keras.", required=True)
flags.DEFINE_string("data", None, "x_train, y_train, x_test, y_test as .npz.", required=True)
flags.DEFINE_string("out", "benchmarks/results/allocation", "Results without suffix.")
flags.DEFINE_list("budgets", ["macs=0.75", "macs=0.5"], "Budgets, as KIND=FRACTION.")
flags.DEFINE_list("methods", ["uniform", "greedy", "evolutionary"], "Methods of allocation.")
flags.DEFINE_integer("images", 2000, "Training images that candidates are scored on.")
flags.DEFINE_string("cpu", "as it is", "What the table says of the CPU.")
flags.DEFINE_integer("seed", 0, "Seed of the images and the search.")
flags.DEFINE_integer("runs", 500, "Timed runs of each file.")


def read_data() -> tuple[Validation, Validation]:
    """What candidates are scored on, and the test images."""
    data = np.load(FLAGS.data)
    chosen = np.random.default_rng(FLAGS.seed).choice(len(data["x_train"]), FLAGS.images, replace=False)
    pairs = [(data["x_train"][chosen], data["y_train"][chosen]), (data["x_test"], data["y_test"])]
    search, test = (check_validation((x.astype(np.float32), y), as_score("mcr"), 500) for x, y in pairs)
    return search, test


def apply(masked: keras.Model, allocation: sp.Allocation, images: Validation) -> None:
    """Set the masks that the allocation was scored with."""
    graph = sp.trace(masked)
    importance = l1(masked, graph, "feature_map", images.x)
    sp.set_masks(masked, kept_space(graph, allocation.kept).top(importance), graph=graph)


def measure(dense: keras.Model) -> list[dict]:
    """One row an allocation, behind one for the dense model."""
    search, test = read_data()
    rows = [{"budget": "none", "method": "dense", "mcr": -search.of(dense), "mcr_test": -test.of(dense)}]
    models = [dense]
    for budget in map(sp.Budget.parse, FLAGS.budgets):
        masked = sp.wrap(dense, granularity="feature_map", keep_first=False)
        cost = None
        if budget.kind == "latency":
            cost = te.latency_cost(masked, quantize="int8", representative_data=search.x[:16])
        for method in FLAGS.methods:
            masked = sp.wrap(dense, granularity="feature_map", keep_first=False)
            start = time.monotonic()
            found = sp.allocate(
                masked,
                budget,
                validation_data=(search.x, search.y),
                method=method,
                cost=cost,
                floor=0,
                seed=FLAGS.seed,
                batch_size=search.batch_size,
            )
            seconds = time.monotonic() - start
            apply(masked, found, search)
            told = f"{budget.kind} {100 * budget.fraction:g} %"
            row = {"budget": told, "method": method, "mcr": -found.score, "mcr_test": -test.of(masked)}
            rows.append({**row, "seconds": seconds, "allocation": asdict(found)})
            models.append(te.shrink(masked).model)
            print(rows[-1], flush=True)
    return [row | figures for row, figures in zip(rows, files_of(models, search), strict=True)]


def files_of(models: list[keras.Model], images: Validation) -> list[dict]:
    """Figures of the int8 files, timed in turn."""
    files = [convert(model, quantize="int8", representative_data=images.x[:200]) for model in models]
    reports = te.benchmark_together(files, runs=FLAGS.runs, warmup=50)
    return [
        {"macs": report.macs, "parameters": model.count_params(), "int8_bytes": report.size_bytes}
        | {"latency_us": report.latency_us, "latency_us_p10": report.latency_us_p10}
        | {"latency_us_p90": report.latency_us_p90}
        for model, report in zip(models, reports, strict=True)
    ]


def table(rows: list[dict]) -> str:
    """The rows as Markdown."""
    lines = [
        "# One sparsity for all layers against an allocation across them",
        "",
        f"Written by `benchmarks/allocation.py`. {pathlib.Path(FLAGS.model).stem}, channels taken by L1 norm, no "
        f"retraining. MCR on the {FLAGS.images:,} training images that candidates were scored on, and on the test "
        "images, which decide nothing. int8 files in LiteRT with XNNPACK, one thread, all in turn in one process; "
        f"CPU: {FLAGS.cpu}; "
        'medians, in brackets the 10th and 90th percentile. "kept" is the number of channels of each group in order.',
        "",
        "| budget | method | kept | MACs | parameters | MCR (%) | test MCR (%) | int8 us | int8 bytes | found in |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    dense = rows[0]
    for row in rows:
        kept = "-".join(str(count) for count in row["allocation"]["kept"].values()) if "allocation" in row else "all"
        cells = [
            row["budget"],
            row["method"],
            kept,
            f"{row['macs']:,} ({100 * row['macs'] / dense['macs']:.1f} %)",
            f"{row['parameters']:,}",
            f"{100 * row['mcr']:.2f}",
            f"{100 * row['mcr_test']:.2f}",
            f"{row['latency_us']:.1f} ({row['latency_us_p10']:.1f} to {row['latency_us_p90']:.1f})",
            f"{row['int8_bytes']:,}",
            f"{row['seconds']:.0f} s" if "seconds" in row else "",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main(_: list[str]) -> None:
    """Measure and write both results."""
    rows = measure(load_model(FLAGS.model))
    out = pathlib.Path(FLAGS.out)
    out.with_suffix(".json").write_text(json.dumps(rows, indent=2) + "\n")
    out.with_suffix(".md").write_text(table(rows))


if __name__ == "__main__":
    app.run(main)
