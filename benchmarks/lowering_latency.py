"""What pruning buys whole networks: latency dense, shrunk and lowered, float32 and int8, beside tfmot.

    python -m benchmarks.lowering_latency --out-prefix benchmarks/results/lowering_latency
    python -m benchmarks.lowering_latency --networks ResNet-8 --sparsities 0.5 --formats int8 --runs 20 --layers
    python -m benchmarks.lowering_latency --no-amx

Run from the checkout, on a machine that does nothing else. Every network has random weights and loses
50, 70 and 90 % of them by random masks: feature maps, kernel blocks, intra-kernel patterns, the three
combined, and by tfmot. All files of one network, sparsity and format run in turn in one process. Each row
is appended to OUT.jsonl when it is measured, so an interrupted call goes on where it stopped and a call with
--no-amx adds its rows to those with AMX; OUT.md is the table of OUT.jsonl.
"""

import argparse
import gc
import json
import pathlib
import platform
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks import _lowering_table, _without_amx

KEY = ("network", "sparsity", "format", "method", "cpu", "amx", "seed")


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out-prefix", default="benchmarks/results/lowering_latency", help="results without suffix")
    parser.add_argument("--networks", nargs="+", help="networks to measure, all by default")
    parser.add_argument("--sparsities", nargs="+", type=float, default=[0.5, 0.7, 0.9])
    parser.add_argument("--formats", nargs="+", choices=("none", "int8"), default=["none", "int8"])
    parser.add_argument("--methods", nargs="+", help="ways to prune, all by default")
    parser.add_argument("--runs", type=int, default=100, help="timed runs of each file")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights, masks and inputs")
    parser.add_argument("--layers", action="store_true", help="print what became of each layer below the table")
    parser.add_argument("--no-amx", action="store_true", help="measure as on a CPU without AMX")
    return parser.parse_args(argv)


def chosen(asked: Sequence[str] | None, there: Sequence[str], option: str) -> list[str]:
    """The names asked for, all that there are if none.

    Raises:
        SystemExit: an unknown name.
    """
    if unknown := set(asked or ()) - set(there):
        raise SystemExit(f"{option}: unknown. Received: {', '.join(sorted(unknown))}. Use: {', '.join(there)}.")
    return list(asked or there)


def measured(options: argparse.Namespace, machine: dict[str, Any], done: set[tuple]) -> Iterator[dict]:
    """The rows that are not there yet."""
    import keras

    from benchmarks import networks

    for network in chosen(options.networks, list(networks.LATENCY_NETWORKS), "--networks"):
        dense = networks.randomize(networks.LATENCY_NETWORKS[network](), options.seed)
        for sparsity in options.sparsities:
            yield from _measured(dense, {"network": network, "sparsity": sparsity, **machine}, options, done)
        del dense
        keras.backend.clear_session()
        gc.collect()


def _measured(dense: Any, place: dict[str, Any], options: argparse.Namespace, done: set[tuple]) -> Iterator[dict]:
    """The rows of one network and sparsity."""
    from benchmarks import _lowering_rows as rows

    network, sparsity, seed = place["network"], place["sparsity"], options.seed
    open_ = {
        quantize: [
            method
            for method in chosen(options.methods, [*rows.METHODS, rows.TFMOT], "--methods")
            if key({**place, "format": quantize, "method": method, "seed": seed}) not in done
        ]
        for quantize in options.formats
    }
    needed = set().union(*open_.values())
    shrunk = {
        method: rows.prune(dense, method, sparsity, round_to=rows.ROUND_TO[network][place["amx"] != "yes"], seed=seed)
        for method in rows.METHODS
        if method in needed
    }
    others = {}
    if rows.TFMOT in needed:
        with tempfile.TemporaryDirectory() as folder:
            others[rows.TFMOT] = rows.tfmot_files(network, sparsity, seed, pathlib.Path(folder))
    for quantize, methods in open_.items():
        mine = ({name: value for name, value in part.items() if name in methods} for part in (shrunk, others))
        if methods:
            for row in rows.measure(dense, *mine, quantize=quantize, runs=options.runs, seed=seed):
                yield {**place, "format": quantize, "seed": seed, "runs": options.runs, **row}


def key(row: dict) -> tuple:
    """What makes a row one of its own."""
    return tuple(row[name] for name in KEY)


def cpu() -> str:
    """Name of this CPU."""
    info = pathlib.Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def main(options: argparse.Namespace) -> None:
    """Measure what is not there yet; write after each row."""
    amx = "yes" if _without_amx.has_amx() else "no"
    if options.no_amx:
        _without_amx.deny_amx()
        amx = "denied"
    # Only now: TensorFlow and LiteRT may ask for AMX once they are imported.
    from benchmarks import _lowering_rows

    out = pathlib.Path(options.out_prefix)
    log = out.with_name(f"{out.name}.jsonl")
    rows = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    for row in measured(options, {"cpu": cpu(), "amx": amx}, {key(row) for row in rows}):
        rows.append(row)
        with log.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(*(row[name] for name in KEY[:4]), {name: each["latency_us"] for name, each in row["files"].items()})
    methods = [*_lowering_rows.METHODS, _lowering_rows.TFMOT]
    out.with_name(f"{out.name}.md").write_text(_lowering_table.table(rows, methods, layers=options.layers))


if __name__ == "__main__":
    main(arguments())
