"""Weights that TFLite Micro decodes as it runs: bytes by every coder, arena and time, against the unpacked file.

    python -m benchmarks.packed_tflm --files NAME=FILE.tflite,...

The weights of trained int8 files are pruned by magnitude, layer by layer, and rounded to words of few bits, which is
for size and time alone: nothing is retrained. Each file is packed by each coder and by "auto"; TFLite Micro must give
the same integers on random inputs, and our reader the same file. Times are those of the host's reference kernels,
packed and unpacked in turns in one process, so the ratio is one of this machine. ResNet-8 of MLPerf Tiny lies beside
the checkout, in `../shared/data/models/resnet8_int8_reference.tflite`.
"""

import json
import pathlib
import time
import zlib
from typing import Any

import numpy as np
from absl import app, flags

from tflite_export.file import TFLiteFile, open_file, slim
from tflite_export.pack import CODERS, Packed, decoded, pack, stand_in
from tflite_export.pack._tensors import packable
from tflite_export.runtime import arena_bytes, run_tflm

FLAGS = flags.FLAGS
flags.DEFINE_list(
    "files",
    [
        "ResNet-8=../shared/data/models/resnet8_int8_reference.tflite",
        "ResNet-8 half=benchmarks/results/resnet8_half/model_int8.tflite",
    ],
    "Trained int8 files, NAME=FILE.",
)
flags.DEFINE_string("out", "benchmarks/results/packed_tflm", "Results, without the ending.")
flags.DEFINE_integer("inputs", 1000, "Random inputs on which integers are compared.")
flags.DEFINE_integer("rounds", 60, "Timed rounds.")
KINDS = ((0.0, 8), (0.5, 8), (0.8, 8), (0.9, 8), (0.0, 4), (0.8, 4), (0.9, 4))
"""Share of zeros in each layer, bits of a word."""
COLUMNS = ("bitmap", "lut", "huffman", "auto")


def changed(file: TFLiteFile, zeros: float, bits: int) -> TFLiteFile:
    """A slim file with so many zeros and such words in each layer."""
    step = 127 / (2 ** (bits - 1) - 1)

    def edit(model: Any) -> None:
        for index, weights in packable(file).items():
            sizes = np.abs(weights.values.astype(int))
            kept = np.where(zeros and sizes <= np.quantile(sizes, zeros), 0, weights.values)
            values = np.round(np.round(kept / step) * step).astype(np.int8)
            model.buffers[model.subgraphs[0].tensors[index].buffer].data = values.view(np.uint8).ravel()

    return file.edited(edit, slim)


def interpreter(file: TFLiteFile) -> Any:
    """TFLite Micro with room enough."""
    from tflite_micro.python.tflite_micro import runtime

    return runtime.Interpreter.from_bytes(file.data, arena_size=4 * arena_bytes(file))


def time_ratio(one: TFLiteFile, other: TFLiteFile, x: np.ndarray) -> tuple[float, float, float, float]:
    """Milliseconds of the second, and quartiles of first over second, both timed in turns."""
    runs = [interpreter(one), interpreter(other)]
    times = np.zeros((FLAGS.rounds, 2))
    rng = np.random.default_rng(0)
    for round_ in range(-3, FLAGS.rounds):
        for place in rng.permutation(2):
            runs[place].set_input(x[:1], 0)
            begun = time.perf_counter()
            runs[place].invoke()
            times[max(round_, 0), place] = time.perf_counter() - begun
    low, middle, high = np.percentile(times[:, 0] / times[:, 1], (25, 50, 75))
    return float(1000 * np.median(times[:, 1])), float(middle), float(low), float(high)


def packed_row(file: TFLiteFile, how: str, x: np.ndarray, expected: np.ndarray) -> dict[str, Any]:
    """One file packed in one way."""
    try:
        found: Packed = pack(file, how)
    except ValueError as error:
        return {"refused": str(error).partition("Received")[0].strip()}
    row = {"bytes": found.candidate_bytes, "pays": found.saved_bytes > 0, "saved_with_code": found.saved_bytes}
    if not found.pays:
        return row
    apart, runs = found.file.description.decoded_bytes, stand_in(found.file)  # the wheel has DECODE alone
    milliseconds, ratio, low, high = time_ratio(runs, file, x)
    return row | {
        "tensors": {coder: sum(len(g.tensors) for g in found.groups if g.coder == coder) for coder in CODERS},
        "arena": arena_bytes(runs),
        "arena_apart": arena_bytes(runs, decode_bytes=apart),
        "decode_bytes": apart,
        "unpacked_ms": milliseconds,
        "time_ratio": ratio,
        "time_ratio_quartiles": [low, high],
        "differing": int(np.count_nonzero(run_tflm(runs, x) != expected)),
        "inputs": len(x),
        "reads_back": decoded(found.file).data == file.data,
    }


def auto_row(file: TFLiteFile, x: np.ndarray, expected: np.ndarray, alone: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The file packed by "auto", which is measured once more only if it mixes coders."""
    found = pack(file)
    used = {group.coder for group in found.groups}
    if len(used) == 1:
        (coder,) = used
        if alone[coder].get("bytes") == found.candidate_bytes:
            return alone[coder] | {"same_as": coder}
    return packed_row(file, "auto", x, expected)


def rows_of(name: str, path: str) -> list[dict[str, Any]]:
    """All kinds of one network."""
    given = open_file(path)
    base = given.edited(slim)
    (end,) = base.description.inputs
    x = np.random.default_rng(0).integers(-128, 128, (FLAGS.inputs, *end.shape[1:])).astype(np.int8)
    rows = []
    for zeros, bits in KINDS:
        file = changed(base, zeros, bits)
        expected = run_tflm(file, x)
        row = {"network": name, "zeros": zeros, "bits": bits, "given": len(given.data), "slim": len(file.data)}
        row |= {"zlib": len(zlib.compress(file.data, 9)), "arena": arena_bytes(file)}
        row["packed"] = {how: packed_row(file, how, x, expected) for how in CODERS}
        row["packed"]["auto"] = auto_row(file, x, expected, row["packed"])
        rows.append(row)
        print(row, flush=True)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """The figures as Markdown."""
    lines = [
        "# Weights that TFLite Micro decodes",
        "",
        "Written by `python -m benchmarks.packed_tflm`. Trained int8 files, pruned by magnitude and rounded, not "
        "retrained; bytes of the whole `.tflite`. auto in bold where it pays: where the file and 8,500 bytes of code "
        f"of the operator are smaller than the unpacked file. On {rows[0]['packed']['huffman']['inputs']:,} random "
        "inputs TFLite Micro gave the same integers for every packed file as for the unpacked one, and every one read "
        "back byte for byte, unless told below. Arena: in all, and with the decoded weights in memory of their own, of "
        "which the next column tells the bytes. Time: packed over unpacked, host, reference kernels, in turns, median "
        "and quartiles.",
        "",
        "| network | zeros | bits | given | slim | zlib of it | bitmap | lut | huffman | auto | arena unpacked | "
        "huffman | apart | decoded | time, bitmap | time, lut | time, huffman |",
        "|" + "---|" * 17,
    ]
    for row in rows:
        packed = row["packed"]
        sizes = [f"{packed[how]['bytes']:,}" if "bytes" in packed[how] else "-" for how in COLUMNS]
        sizes[-1] = f"**{sizes[-1]}**" if packed["auto"]["pays"] else sizes[-1]
        best = packed["huffman"]
        ram = [f"{best[key]:,}" if key in best else "-" for key in ("arena", "arena_apart", "decode_bytes")]
        times = [_time(packed[how]) for how in COLUMNS[:-1]]
        cells = [row["network"], f"{row['zeros']:.0%}", row["bits"], f"{row['given']:,}", f"{row['slim']:,}"]
        cells += [f"{row['zlib']:,}", *sizes, f"{row['arena']:,}", *ram, *times]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join([*lines, *_wrong(rows)]) + "\n"


def _time(row: dict[str, Any]) -> str:
    if "time_ratio" not in row:
        return "-"
    low, high = row["time_ratio_quartiles"]
    return f"{row['time_ratio']:.2f} ({low:.2f} to {high:.2f})"


def _wrong(rows: list[dict[str, Any]]) -> list[str]:
    """Lines about files that do not compute or read back as they should."""
    return [
        f"\nWRONG: {row['network']}, {row['zeros']:.0%}, {row['bits']} bits, {how}: {found}"
        for row in rows
        for how, found in row["packed"].items()
        if found.get("differing") or not found.get("reads_back", True)
    ]


def main(_: list[str]) -> None:
    """Measure, write JSON and Markdown."""
    rows = [row for each in FLAGS.files for row in rows_of(*each.split("=", 1))]
    out = pathlib.Path(FLAGS.out)
    out.with_suffix(".json").write_text(json.dumps(rows, indent=1) + "\n")
    out.with_suffix(".md").write_text(table(rows))


if __name__ == "__main__":
    app.run(main)
