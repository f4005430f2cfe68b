"""Every network of keras.applications, pruned at random: does the shrunk one compute what the masked one does?

    python -m benchmarks.applications_sweep --out benchmarks/results/applications

Run from the checkout. Each network has random weights, takes its smallest input, and loses 30, 50 and 70 % of the
units of every prunable group. At 50 % the shrunk one is trained for a step, saved and reloaded; the smallest of each
family is also converted to float32 TFLite and run in LiteRT. EfficientNetB7 is traced and shrunk at its default
input besides. Each network is written when it is done, so an interrupted sweep goes on where it stopped.
"""

import gc
import json
import pathlib
import tempfile
import time
from collections.abc import Callable
from typing import Any

import keras
from absl import app, flags, logging

import tf_structprune as sp
import tflite_export as te
from tests import applications
from tflite_export.quantize import convert
from tflite_export.runtime import run_litert

FLAGS = flags.FLAGS
flags.DEFINE_string("out", "benchmarks/results/applications", "Results without suffix.")
flags.DEFINE_list("only", [], "Networks to measure, all if empty; those that have a result are measured again.")
flags.DEFINE_integer("seed", 0, "Seed of weights and masks.")

MIDDLE = 0.5
LARGE = "EfficientNetB7"  # at its default input


def timed(function: Callable[..., Any], *arguments: Any, **settings: Any) -> tuple[Any, float]:
    """What a function returns, and the seconds that it took."""
    started = time.perf_counter()
    return function(*arguments, **settings), time.perf_counter() - started


def measure(name: str) -> dict:
    """The row of one network."""
    model = applications.build(name, FLAGS.seed)
    x = applications.samples(model)
    graph, seconds_trace = timed(sp.trace, model)
    masked = sp.wrap(model, granularity="feature_map")
    row = {
        "name": name,
        "input": model.input_shape[1],
        "layers": len(model.layers),
        "parameters": graph.parameters,
        "macs": graph.macs,
        "skipped": [f"{item.name}: {item.reason}" for item in applications.unexpected(graph)],
        "seconds_trace": seconds_trace,
        "wrapped_difference": applications.difference(applications.logits(model, x), applications.logits(masked, x)),
        "pruned": {},
    }
    masked_graph = sp.trace(masked)
    for sparsity in applications.SPARSITIES:
        pruned = applications.prune(masked, masked_graph, sparsity, x, FLAGS.seed)
        row["pruned"][f"{sparsity:.0%}"] = {
            "parameters": pruned.small.count_params(),
            "macs": sp.trace(pruned.small).macs,
            "difference": pruned.difference,
            "spread": pruned.spread,
            "seconds_shrink": pruned.seconds,
        }
        if sparsity == MIDDLE:
            row |= use(name, pruned.small, x)
    return row


def use(name: str, small: keras.Model, x: Any) -> dict:
    """Convert, train, save and reload a shrunk network."""
    result: dict[str, Any] = {}
    if name in applications.FAMILIES:
        result["tflite_difference"] = applications.difference(
            applications.logits(small, x), run_litert(convert(small), x)
        )
    result["loss"] = applications.train_one_step(small, x)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "small.keras"
        result["reloaded_difference"] = applications.reloaded_difference(small, x, path)
    return result


def measure_large() -> dict:
    """Seconds of tracing and shrinking a large network, and of Keras to build one of its size."""
    model = applications.CONSTRUCTORS[LARGE](weights=None)
    graph, seconds_trace = timed(sp.trace, model)
    masked = sp.wrap(model, granularity="feature_map")
    sp.set_masks(masked, applications.random_maps(graph, MIDDLE, FLAGS.seed))
    _, seconds_shrink = timed(te.shrink, masked)
    _, seconds_clone = timed(keras.models.clone_model, model)
    return {
        "name": LARGE,
        "input": model.input_shape[1],
        "layers": len(model.layers),
        "seconds_trace": seconds_trace,
        "seconds_shrink": seconds_shrink,
        "seconds_clone": seconds_clone,
    }


def table(results: dict) -> str:
    """The results as Markdown."""
    sparsities = [f"{sparsity:.0%}" for sparsity in applications.SPARSITIES]
    lines = [
        "# keras.applications, pruned at random",
        "",
        "Written by `benchmarks/applications_sweep.py`: random weights, the smallest input that the network takes, and "
        "random masks that remove 30, 50 and 70 % of the units of every prunable group. Kept: parameters and MACs of "
        "the shrunk network over those of the whole one. Difference: largest one between masked and shrunk logits "
        "over the largest masked logit, the worst of the three. Spread: largest range of a logit over the inputs over "
        "the same, the least of the three; outputs that hardly depend on the input would agree whatever is lost. "
        "Wrapped: the same difference between the network and its wrapped copy, whose masks keep everything. At 50 % "
        "the shrunk network is trained for one step, saved and reloaded (difference of the logits), and for one "
        "network a family converted to float32 TFLite and run in LiteRT. Skipped: what stays whole besides the first "
        "convolution and the classifier. Seconds are of one core, those of shrinking the most of the three.",
        "",
        "| network | layers | parameters | MACs | "
        + " | ".join(f"{s} pruned: parameters, MACs kept" for s in sparsities)
        + " | difference | spread | wrapped | trained | reloaded | TFLite | skipped | trace (s) | shrink (s) |",
        "|---" * (13 + len(sparsities)) + "|",
    ]
    lines += ["| " + " | ".join(_cells(row, sparsities)) + " |" for row in results["networks"]]
    if results.get("large"):
        lines += ["", _large_line(results["large"])]
    return "\n".join(lines) + "\n"


def _cells(row: dict, sparsities: list[str]) -> list[str]:
    pruned = [row["pruned"][sparsity] for sparsity in sparsities]
    return [
        f"{row['name']} ({row['input']})",
        f"{row['layers']}",
        f"{row['parameters']:,}",
        f"{row['macs']:,}",
        *(f"{p['parameters'] / row['parameters']:.3f}, {p['macs'] / row['macs']:.3f}" for p in pruned),
        f"{max(p['difference'] for p in pruned):.1e}",
        f"{min(p['spread'] for p in pruned):.2f}",
        f"{row['wrapped_difference']:.1e}",
        f"loss {row['loss']:.2f}",
        f"{row['reloaded_difference']:.1e}",
        f"{row['tflite_difference']:.1e}" if "tflite_difference" in row else "",
        "; ".join(row["skipped"]) or "nothing",
        f"{row['seconds_trace']:.2f}",
        f"{max(p['seconds_shrink'] for p in pruned):.1f}",
    ]


def _large_line(large: dict) -> str:
    return (
        f"{large['name']} at {large['input']} x {large['input']}, {large['layers']} layers: traced in "
        f"{large['seconds_trace']:.2f} s, shrunk by half in {large['seconds_shrink']:.1f} s, of which Keras takes "
        f"about {large['seconds_clone']:.1f} s to build a network of so many layers (`keras.models.clone_model`); the "
        f"rest is {large['seconds_shrink'] - large['seconds_clone']:.1f} s."
    )


def write(results: dict) -> None:
    """Both results, networks in the order of their names."""
    results["networks"].sort(key=lambda row: row["name"])
    out = pathlib.Path(FLAGS.out)
    out.with_suffix(".json").write_text(json.dumps(results, indent=2) + "\n")
    out.with_suffix(".md").write_text(table(results))


def main(_: list[str]) -> None:
    """Measure what has no result yet; write after each."""
    log = pathlib.Path(FLAGS.out).with_suffix(".json")
    results = json.loads(log.read_text()) if log.exists() else {"networks": []}
    if "large" not in results:
        results["large"] = measure_large()
        write(results)
    done = {row["name"] for row in results["networks"]}
    for name in FLAGS.only or [name for name in applications.CONSTRUCTORS if name not in done]:
        keras.backend.clear_session()
        gc.collect()
        row, seconds = timed(measure, name)
        results["networks"] = [old for old in results["networks"] if old["name"] != name] + [row]
        write(results)
        logging.info("%s in %.0f s", row, seconds)


if __name__ == "__main__":
    app.run(main)
