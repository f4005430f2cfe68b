"""Which layer of a lowered network gains how much: the latency of its growing beginnings, dense and lowered.

    python -m benchmarks.lowering_profile --network CIFAR10.small --sparsity 0.7 --methods intra-kernel --no-amx

Run from the checkout, on a machine that does nothing else. The network is cut behind each activation and
pooling; all beginnings, dense and lowered, run in turn in one process, and a layer's latency is the
difference of two medians. A table a method is appended to OUT.md. LiteRT's Python interpreter has no profiler.
"""

import argparse
import pathlib
from typing import Any

import numpy as np

from benchmarks import _without_amx


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="CIFAR10.small")
    parser.add_argument("--sparsity", type=float, default=0.7)
    parser.add_argument("--methods", nargs="+", default=["feature maps", "kernel blocks", "intra-kernel"])
    parser.add_argument("--format", choices=("none", "int8"), default="int8")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-amx", action="store_true")
    parser.add_argument("--out", default="benchmarks/results/lowering_profile.md")
    return parser.parse_args()


def main(options: argparse.Namespace) -> None:
    """Profile every method."""
    amx = "yes" if _without_amx.has_amx() else "no"
    if options.no_amx:
        _without_amx.deny_amx()
        amx = "denied"
    import tflite_export as te  # only now: TensorFlow and LiteRT may ask for AMX once they are imported
    from benchmarks import _lowering_rows, networks

    dense = networks.randomize(networks.LATENCY_NETWORKS[options.network](), options.seed)
    width = _lowering_rows.ROUND_TO[options.network][amx != "yes"]
    lines = []
    for method in options.methods:
        small = _lowering_rows.prune(dense, method, options.sparsity, round_to=width, seed=options.seed)
        low = te.lower(small, quantize=options.format)
        names, dense_us, low_us = profile(dense, low.model, options)
        lines += [
            "",
            f"## {options.network}, {method} {options.sparsity:.0%}, {options.format}, AMX: {amx}, seed {options.seed}",
            "",
            "| up to | dense (us) | lowered (us) | speedup |",
            "|---|---|---|---|",
        ]
        lines += [f"| {n} | {d:.1f} | {k:.1f} | {d / k:.2f} |" for n, d, k in zip(names, dense_us, low_us, strict=True)]
        lines += [f"| whole | {sum(dense_us):.1f} | {sum(low_us):.1f} | {sum(dense_us) / sum(low_us):.2f} |"]
        lines += ["", *(f"    {line}" for line in str(low.plan).splitlines())]
        print("\n".join(lines[-20:]))
    with pathlib.Path(options.out).open("a") as file:
        file.write("\n".join(lines) + "\n")


def profile(dense: Any, lowered: Any, options: argparse.Namespace) -> tuple[list[str], list[float], list[float]]:
    """Names of the layers behind which both are cut, and what each stretch takes in either, in microseconds."""
    import keras

    import tflite_export as te
    from tflite_export.quantize import convert

    kinds = (keras.layers.ReLU, keras.layers.Activation, keras.layers.MaxPooling2D, keras.layers.Dense)
    names = [layer.name for layer in dense.layers if isinstance(layer, kinds)]
    samples = np.random.default_rng(options.seed).normal(size=(4, *dense.input_shape[1:])).astype(np.float32)
    files = [
        convert(
            keras.Model(model.input, model.get_layer(name).output),
            quantize=options.format,
            representative_data=samples,
        )
        for model in (dense, lowered)
        for name in names
    ]
    medians = [report.latency_us for report in te.benchmark_together(files, threads=1, runs=options.runs)]
    first, second = medians[: len(names)], medians[len(names) :]
    return names, *(np.diff([0.0, *part]).clip(min=0.1).tolist() for part in (first, second))


if __name__ == "__main__":
    main(arguments())
