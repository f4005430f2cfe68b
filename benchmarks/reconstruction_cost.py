"""Memory and time of a reconstruction: CIFAR10.small and MobileNetV2 at 96 x 96, random weights, 1,000 random images.

    python -m benchmarks.reconstruction_cost

A process for each network: peak of the resident memory above what it had when the network was wrapped and had computed
once, and seconds of the whole call, moments, solutions and statistics of half of the maps.
"""

import json
import multiprocessing
import pathlib
import resource
import time
from typing import Any

import numpy as np
from absl import app, flags

FLAGS = flags.FLAGS
flags.DEFINE_string("out", "benchmarks/results/reconstruction_cost", "Results without suffix.")
flags.DEFINE_integer("samples", 1000, "Images.")
flags.DEFINE_float("sparsity", 0.5, "Fraction of the prunable weights that is removed.")
flags.DEFINE_string("beside", "", "What else ran on the machine, for the table.")
NETWORKS = ("CIFAR10.small", "MobileNetV2 96x96")


def build(name: str) -> Any:
    """A network with random weights."""
    import keras

    from benchmarks.networks import cifar10_small, randomize

    if name == NETWORKS[0]:
        return randomize(cifar10_small(), 0)
    return keras.applications.MobileNetV2(input_shape=(96, 96, 3), weights=None, classes=10)


def run(name: str, samples: int, sparsity: float, results: Any) -> None:
    """One network in a process of its own."""
    import tf_structprune as sp
    from tf_structprune.layers import MaskedModel
    from tf_structprune.masks import FEATURE_MAP, mask_space

    masked = sp.wrap(build(name), granularity=FEATURE_MAP)
    handle = MaskedModel(masked)
    handle.set_masks(mask_space(handle.graph, FEATURE_MAP, sparsity).sample(np.random.default_rng(0)))
    x = np.random.default_rng(0).random((samples, *masked.input_shape[1:]), np.float32)
    masked(x[:8], training=False)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun, busy = time.monotonic(), time.process_time()
    report = sp.reconstruct(masked, x)
    seconds, busy = time.monotonic() - begun, time.process_time() - busy
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    told = {"seconds": seconds, "cpu_seconds": busy, "peak_mib": peak / 1024}
    results.put(told | {"layers": len(report.layers), "kept": len(report.kept)})


def table(rows: dict[str, dict]) -> str:
    """The rows as Markdown."""
    lines = [
        "# Memory and time of a reconstruction",
        "",
        f"Written by `benchmarks/reconstruction_cost.py`: {FLAGS.samples:,} random images, random weights, half of the "
        f"prunable weights removed as feature maps. Peak above the wrapped network. {FLAGS.beside}".rstrip(),
        "",
        "| network | layers solved | peak (MiB) | seconds | CPU seconds, all threads |",
        "|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        solved = f"{row['layers'] - row['kept']} of {row['layers']}"
        cells = [name, solved, *(f"{row[key]:.0f}" for key in ("peak_mib", "seconds", "cpu_seconds"))]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main(_: list[str]) -> None:
    """Measure and write both results."""
    context, rows = multiprocessing.get_context("spawn"), {}
    for name in NETWORKS:
        results = context.Queue()
        process = context.Process(target=run, args=(name, FLAGS.samples, FLAGS.sparsity, results))
        process.start()
        rows[name] = results.get()
        process.join()
        print(name, rows[name], flush=True)
    out = pathlib.Path(FLAGS.out)
    out.with_suffix(".json").write_text(json.dumps(rows, indent=2) + "\n")
    out.with_suffix(".md").write_text(table(rows))


if __name__ == "__main__":
    app.run(main)
