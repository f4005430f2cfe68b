"""What lowering for a microcontroller does to the tensor arena and the multiplications of int8 networks.

    python -m benchmarks.lowering_arena --out-prefix benchmarks/results/lowering_arena

Run from the checkout. Networks and masks are those of `lowering_latency`, for a CPU without AMX; arenas are
measured in TFLite Micro. Rows are appended to OUT.jsonl, and a call goes on where the last one stopped.
"""

import argparse
import json
import pathlib

import numpy as np

import tflite_export as te
from benchmarks import _lowering_rows, networks
from tflite_export.file import open_file
from tflite_export.quantize import convert
from tflite_export.runtime import arena_bytes

COLUMNS = ("dense", "shrunk", "lowered")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out-prefix", default="benchmarks/results/lowering_arena")
    parser.add_argument("--networks", nargs="+", default=["ResNet-8", "MobileNetV1 0.25", "CIFAR10.small"])
    parser.add_argument("--sparsities", nargs="+", type=float, default=[0.5, 0.7, 0.9])
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def row(name: str, method: str, sparsity: float, seed: int) -> dict:
    """Arena and multiplications of one network, dense, shrunk and lowered."""
    dense = networks.randomize(networks.LATENCY_NETWORKS[name](), seed)
    width = _lowering_rows.ROUND_TO[name][1]
    small = _lowering_rows.prune(dense, method, sparsity, round_to=width, seed=seed)
    low = te.lower(small, target="micro")
    samples = np.random.default_rng(seed).normal(size=(4, *dense.input_shape[1:])).astype(np.float32)
    files = [convert(m, quantize="int8", representative_data=samples) for m in (dense, small.model, low.model)]
    return {
        "network": name,
        "method": method,
        "sparsity": sparsity,
        "seed": seed,
        "arena_bytes": dict(zip(COLUMNS, map(arena_bytes, files), strict=True)),
        "macs": {column: open_file(file).description.macs for column, file in zip(COLUMNS, files, strict=True)},
        "size_bytes": {column: len(file) for column, file in zip(COLUMNS, files, strict=True)},
        "plan": str(low.plan).splitlines(),
    }


def table(rows: list[dict]) -> str:
    """The rows as Markdown."""
    lines = [
        "# Lowering for a microcontroller",
        "",
        "Written by `benchmarks/lowering_arena.py`: int8, random weights and masks, tensor arena in TFLite Micro; "
        f"{len(rows)} rows, of which {sum(_grew(row) for row in rows)} have a larger arena than the dense network.",
        "",
        "| network | method | sparsity | arena dense | shrunk | lowered | MACs dense | shrunk | lowered | layers |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        arena, macs = (" | ".join(f"{row[key][column]:,}" for column in COLUMNS) for key in ("arena_bytes", "macs"))
        plan = [line for line in row["plan"] if not line.startswith("nothing to lower")]
        lowered = sum(": dense," not in line for line in plan)
        place = f"{row['network']} | {row['method']} | {row['sparsity']:.0%}"
        lines.append(f"| {place} | {arena} | {macs} | {lowered} of {len(plan)} |")
    return "\n".join(lines) + "\n"


def _grew(row: dict) -> bool:
    return row["arena_bytes"]["lowered"] > row["arena_bytes"]["dense"]


def main(options: argparse.Namespace) -> None:
    """Measure what is not there yet."""
    out = pathlib.Path(options.out_prefix)
    log = out.with_name(f"{out.name}.jsonl")
    rows = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    done = {(row["network"], row["method"], row["sparsity"], row["seed"]) for row in rows}
    for name in options.networks:
        for sparsity in options.sparsities:
            for method in _lowering_rows.METHODS:
                if (name, method, sparsity, options.seed) in done:
                    continue
                rows.append(row(name, method, sparsity, options.seed))
                with log.open("a") as file:
                    file.write(json.dumps(rows[-1]) + "\n")
                print(name, method, sparsity, rows[-1]["arena_bytes"], rows[-1]["macs"])
    out.with_name(f"{out.name}.md").write_text(table(rows))


if __name__ == "__main__":
    main(arguments())
