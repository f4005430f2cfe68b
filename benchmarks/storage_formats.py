"""How many bits formats take for pruned matrices with shared values, and what a product with the stored form costs.

    python -m benchmarks.storage_formats [--turns 15]

The paper's example, the first dense layer of its VGG19 (512 x 4096), rebuilt: normal weights, the smallest p percent
removed, each other one set to the nearest of k quantiles. Sizes are charged in full. What the table calls published is
measured from the authors' bit strings, see the project's notes; the value frequencies of the originals are not known.
Times: one thread, all formats and NumPy's dense product in turns in one process, medians, as ratios to the dense
product of the same turn. "warm": each product straight after another with the same matrix, which then lies in the
processor's caches as far as it fits; "cold": 256 MiB are written in between, as the other layers of a network would.
"""

import json
import os
import pathlib
import time
from collections.abc import Callable
from typing import Any

for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np  # noqa: E402
from absl import app, flags  # noqa: E402

from tf_structprune.storage import FORMATS, Encoded, floor_bits  # noqa: E402

FLAGS = flags.FLAGS
flags.DEFINE_string("out", "benchmarks/results/storage_formats", "Results without suffix.")
flags.DEFINE_integer("turns", 15, "Turns of each comparison.")
flags.DEFINE_integer("seed", 0, "Seed of weights and inputs.")
flags.DEFINE_string("beside", "", "What else ran on the machine, for the table.")

CASES = {60: 31, 80: 18, 90: 10, 95: 6, 97: 5, 99: 3}  # p: values
PUBLISHED = {  # of the dense size, %
    60: {"ham": 8.97, "sham": 25.94, "csc": 60.1, "floor": 8.9},
    80: {"ham": 5.69, "sham": 12.67, "csc": 30.1, "floor": 4.8},
    90: {"ham": 3.97, "sham": 5.95, "csc": 15.1, "floor": 2.3},
    95: {"ham": 3.51, "sham": 2.98, "csc": 7.6, "floor": 1.28},
    97: {"ham": 3.36, "sham": 1.83, "csc": 4.6, "floor": 0.84},
    99: {"ham": 3.16, "sham": 0.63, "csc": 1.6, "floor": 0.28},
}
SHAPES = (512, 4096), (4096, 4096)
TIMED = ("gaps", "sham", "csc", "ham")
SLOW = ("ham",)  # decodes every zero: seconds a product of the larger matrix, which is left out
BATCHES = 1, 8
EVICTED = np.zeros(2**25)
# Okabe and Ito; told apart with every kind of colour blindness, and by their markers.
STYLES = {
    "csc": ("#999999", "v"),
    "cser": ("#CC79A7", "^"),
    "index_map": ("#E69F00", "s"),
    "ham": ("#0072B2", "o"),
    "sham": ("#D55E00", "D"),
    "gaps": ("#009E73", "*"),
}


def matrix_of(shape: tuple[int, int], p: int, values: int) -> np.ndarray:
    """A pruned matrix with shared values, float32."""
    weights = np.random.default_rng(FLAGS.seed).normal(size=shape).astype(np.float32)
    kept = np.abs(weights) > np.percentile(np.abs(weights), p)
    book = np.quantile(weights[kept], np.linspace(0, 1, values))
    middles = (book[1:] + book[:-1]) / 2
    matrix = np.zeros(shape, np.float32)
    matrix[kept] = book[np.searchsorted(middles, weights[kept])]
    return matrix


def sizes_of(matrix: np.ndarray) -> dict[str, float]:
    """Percent of the dense size for each format, after a check that it comes back."""
    dense, found = 8 * matrix.nbytes, {"floor": 100 * floor_bits(matrix) / (8 * matrix.nbytes)}
    for name, kind in FORMATS.items():
        stored = kind.encode(matrix)
        np.testing.assert_array_equal(stored.decode().view(np.uint32), matrix.view(np.uint32))
        if stored.size_bits > stored.bound_bits:
            raise AssertionError(f"{name}: {stored.size_bits} bits above the bound of {stored.bound_bits}")
        found[name] = 100 * stored.size_bits / dense
    return found


def ratios(matrix: np.ndarray, stored: dict[str, Encoded], batch: int, *, cold: bool) -> dict[str, list[float]]:
    """Time of each format's product by that of the dense one in the same turn: quartiles; of the dense one seconds."""
    rng = np.random.default_rng(FLAGS.seed)
    x = rng.normal(size=matrix.shape[0] if batch == 1 else (batch, matrix.shape[0])).astype(np.float32)
    products: dict[str, Callable[[], np.ndarray]] = {"dense": lambda: x @ matrix}
    products |= {name: (lambda each=each: each.dot(x)) for name, each in stored.items()}
    wanted, seconds = products["dense"](), {name: [] for name in products}
    for name, product in products.items():
        np.testing.assert_allclose(product(), wanted, rtol=1e-3, atol=1e-2, err_msg=name)
    for _ in range(FLAGS.turns):
        for name, product in products.items():
            if cold:
                EVICTED[:] += 1
            else:
                product()
            begun = time.perf_counter()
            product()
            seconds[name].append(time.perf_counter() - begun)
    dense = np.array(seconds["dense"])
    quarters = {name: np.percentile(np.array(seconds[name]) / dense, (25, 50, 75)).tolist() for name in stored}
    return quarters | {"dense_ms": [1000 * each for each in np.percentile(dense, (25, 50, 75))]}


def decoding(matrix: np.ndarray, stored: dict[str, Encoded]) -> dict[str, float]:
    """Megabytes of dense weights a second that decoding gives, medians."""
    found = {}
    for name, each in stored.items():
        seconds = []
        for _ in range(max(3, FLAGS.turns // 3)):
            begun = time.perf_counter()
            each.decode()
            seconds.append(time.perf_counter() - begun)
        found[name] = matrix.nbytes / 1e6 / float(np.median(seconds))
    return found


def measured(shape: tuple[int, int]) -> list[dict]:
    """A row a p."""
    rows = []
    for p, values in CASES.items():
        matrix = matrix_of(shape, p, values)
        timed = [name for name in TIMED if shape == SHAPES[0] or name not in SLOW]
        stored = {name: FORMATS[name].encode(matrix) for name in timed}
        row: dict[str, Any] = {
            "shape": shape,
            "p": p,
            "values": values,
            "sizes": sizes_of(matrix),
            "mb_s": decoding(matrix, stored),
        }
        for batch in BATCHES:
            for cold in (False, True):
                name = f"{'cold' if cold else 'warm'}, batch {batch}"
                row[name] = ratios(matrix, stored, batch, cold=cold)
        rows.append(row)
        print(shape, p, {name: round(size, 3) for name, size in row["sizes"].items()}, flush=True)
    return rows


def table(rows: list[dict]) -> str:
    """Sizes and times as Markdown."""
    lines = [
        "# Formats of pruned matrices with shared values",
        "",
        f"Written by `python -m benchmarks.storage_formats`, seed {FLAGS.seed}. {FLAGS.beside}".rstrip(),
        "",
        "## Size, % of the dense float32 matrix, everything charged",
        "",
        "Published figures of the same form in brackets: 512 x 4096 alone, whose value frequencies are not known.",
        "",
        "| matrix | p | k | floor | gaps | gaps / floor | sHAM | HAM | CSC | CSER | index map |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        size, first = row["sizes"], tuple(row["shape"]) == SHAPES[0]
        told = {
            name: f"{size[name]:.3f}" + (f" ({PUBLISHED[row['p']][name]:g})" if first else "")
            for name in ("floor", "sham", "ham", "csc")
        }
        lines.append(
            f"| {row['shape'][0]} x {row['shape'][1]} | {row['p']} | {row['values']} | {told['floor']} | "
            f"**{size['gaps']:.3f}** | {size['gaps'] / size['floor']:.3f} | {told['sham']} | {told['ham']} | "
            f"{told['csc']} | {size['cser']:.3f} | {size['index_map']:.3f} |"
        )
    lines += [
        "",
        "## Time of a product with the stored form by that of NumPy's dense one, one thread, medians (quartiles)",
        "",
        "| matrix | p | | dense (ms) | gaps | sHAM | CSC | HAM |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        for name, found in row.items():
            if not isinstance(found, dict) or "dense_ms" not in found:
                continue
            told = " | ".join(
                "{1:.2f} ({0:.2f} to {2:.2f})".format(*found[each]) if each in found else "" for each in TIMED
            )
            lines.append(
                f"| {row['shape'][0]} x {row['shape'][1]} | {row['p']} | {name} | {found['dense_ms'][1]:.3f} | {told} |"
            )
    lines += [
        "",
        "## Decoding, megabytes of dense weights a second, one thread",
        "",
        "| matrix | p | gaps | sHAM | CSC | HAM |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        told = " | ".join(f"{row['mb_s'][name]:,.0f}" if name in row["mb_s"] else "" for name in TIMED)
        lines.append(f"| {row['shape'][0]} x {row['shape'][1]} | {row['p']} | {told} |")
    return "\n".join(lines) + "\n"


def plot(rows: list[dict], path: pathlib.Path) -> None:
    """Sizes by p."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import StrMethodFormatter

    figure = Figure(figsize=(5.6, 3.8), layout="constrained")
    place = figure.subplots()
    shown = [row for row in rows if tuple(row["shape"]) == SHAPES[0]]
    ranks = range(len(shown))
    place.fill_between(ranks, [row["sizes"]["floor"] for row in shown], 0.1, color="#DDDDDD", label="below entropy")
    for name, (color, marker) in STYLES.items():
        place.plot(
            ranks, [row["sizes"][name] for row in shown], color=color, marker=marker, label=name.replace("_", " ")
        )
    place.set_xticks(list(ranks), [f"{row['p']} %\nk={row['values']}" for row in shown])
    place.set_yscale("log")
    place.set_ylim(0.2, 100)
    place.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    place.set_ylabel("size, % of dense float32")
    place.set_xlabel("removed weights and shared values, 512 x 4096")
    place.legend(frameon=False, fontsize=8, ncols=2)
    figure.savefig(path, dpi=130)


def main(_: list[str]) -> None:
    """Measure, and write table and plot."""
    rows = [row for shape in SHAPES for row in measured(shape)]
    out = pathlib.Path(FLAGS.out)
    out.with_suffix(".json").write_text(json.dumps(rows, indent=1) + "\n")
    out.with_suffix(".md").write_text(table(rows))
    plot(rows, out.with_suffix(".png"))


if __name__ == "__main__":
    app.run(main)
