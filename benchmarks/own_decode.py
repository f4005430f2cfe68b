"""Weights packed with pack="own" in TFLite Micro, built from its sources: the same integers, bytes, code and time.

    python -m benchmarks.own_decode --tflm DIR --resnet8 resnet8_int8.tflite --out benchmarks/results/own_decode

DIR is a checkout of TFLite Micro in which `make -f tensorflow/lite/micro/tools/make/Makefile microlite` ran. Code is
measured where arm-none-eabi-gcc is: object code for a Cortex-M4, without the functions that nothing calls. Times are
medians of interleaved runs on this host's processor, reference kernels as the makefile builds them. Files: the one
that is given and the committed ResNet-8 of half the MACs, with zeros put where weights are smallest.
"""

import argparse
import json
import pathlib
import shutil
import subprocess
import tempfile

import numpy as np

from benchmarks import _own_decode_files as files
from tf_structprune.storage import FORMATS
from tflite_export.file import TFLiteFile, open_file, slim
from tflite_export.micro import encode, sources
from tflite_export.pack import CODE_SIZES, CODERS, pack
from tflite_export.pack._tensors import packable

SAMPLES, ROUNDS, ROUND_SAMPLES = 1000, 11, 10
ARENA = 2**18
CASES = ((0.0, 8), (0.5, 8), (0.8, 8), (0.9, 8), (0.0, 4), (0.8, 4), (0.9, 4))
RUN = ((0.8, 8), (0.0, 4), (0.9, 4))
WIDTHS = (6, 8, 12, 16, 24, 32, 48)
NEEDED = ("u16", "u32", "symbol_at", "weight_at", "sham_intact", "sham_coded_open", "sham_coded_read")
MAKE = "tensorflow/lite/micro/tools/make/downloads"
ARM = ("-mcpu=cortex-m4", "-mthumb", "-ffunction-sections", "-c")
CXX = ("-std=c++17", "-fno-rtti", "-fno-exceptions", "-fno-threadsafe-statics", "-DTF_LITE_STATIC_MEMORY")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tflm", type=pathlib.Path, required=True)
    parser.add_argument("--resnet8", type=pathlib.Path, required=True, help="ResNet-8 of MLPerf Tiny in int8")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("benchmarks/results/own_decode"))
    return parser.parse_args()


class Host:
    """TFLite Micro on this machine with the operator in it, in a folder."""

    def __init__(self, tflm: pathlib.Path, folder: pathlib.Path) -> None:
        self._folder, self._tflm = folder, tflm.resolve()
        for name, text in sources(operator=True).items():
            (folder / name).write_text(text)
        shutil.copy(pathlib.Path(__file__).with_name("_own_decode.cc"), folder / "runner.cc")
        (library,) = self._tflm.glob("gen/*_default_gcc/lib/libtensorflow-microlite.a")
        subprocess.run(["gcc", "-std=c99", "-O2", "-c", "sham.c"], cwd=folder, check=True)
        units = ["runner.cc", "tf_structprune_decode.cc", "sham.o", str(library)]
        command = ["g++", "-O2", *CXX, *self.includes, *units, "-lm", "-o", "runner"]
        subprocess.run(command, cwd=folder, check=True)

    @property
    def includes(self) -> list[str]:
        """Where the headers are."""
        third = [f"-I{self._tflm / MAKE / name}" for name in ("flatbuffers/include", "gemmlowp", "ruy")]
        return ["-I.", f"-I{self._tflm}", *third]

    def run(self, file: TFLiteFile, samples: np.ndarray) -> tuple[np.ndarray, int, float]:
        """Outputs, bytes used of the arena, milliseconds an inference."""
        paths = [self._folder / name for name in ("model.tflite", "inputs", "outputs")]
        paths[0].write_bytes(file.data)
        samples.tofile(paths[1])
        command = [self._folder / "runner", paths[0], str(ARENA), paths[1], paths[2]]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        arena, taken = (int(word) for word in done.stdout.split())
        return np.fromfile(paths[2], np.int8).reshape(len(samples), -1), arena, taken / 1e3 / len(samples)

    def code_bytes(self, option: str) -> dict[str, int] | None:
        """Object code for a Cortex-M4; None without its compiler."""
        if shutil.which("arm-none-eabi-g++") is None:
            return None
        compiler = ["arm-none-eabi-g++", *CXX, *self.includes, *ARM, option]
        subprocess.run(["arm-none-eabi-gcc", "-std=c99", *ARM, option, "sham.c"], cwd=self._folder, check=True)
        subprocess.run([*compiler, "tf_structprune_decode.cc"], cwd=self._folder, check=True)
        kernels = sorted(self._tflm.glob("tensorflow/lite/micro/kernels/decode*.cc"))
        theirs = [str(path) for path in kernels if "test" not in path.name]
        subprocess.run([*compiler, *theirs], cwd=self._folder, check=True)
        needed = tuple(f".text.{name}" for name in NEEDED)
        return {
            "decoder": self._size(["sham.o"], needed),
            "operator": self._size(["tf_structprune_decode.o"]),
            "all_of_sham_c": self._size(["sham.o"]),
            "tflm_decode_objects": self._size([pathlib.Path(path).with_suffix(".o").name for path in theirs]),
        }

    def _size(self, objects: list[str], kept: tuple[str, ...] = (".text", ".rodata")) -> int:
        done = subprocess.run(
            ["arm-none-eabi-size", "-A", *objects], cwd=self._folder, capture_output=True, text=True, check=True
        )
        rows = [line.split() for line in done.stdout.splitlines() if line.startswith(kept)]
        return sum(int(row[1]) for row in rows)


def size_row(name: str, file: TFLiteFile, zeros: float, bits: int) -> dict:
    """Bytes of one file as it is, and packed by each coder."""
    given = files.pruned(file, zeros, bits)
    row = {"network": name, "zeros": zeros, "bits": bits, "weights": _weights(given)}
    row["unpacked_bytes"] = len(given.edited(slim).data)
    for how in CODERS:
        try:
            packed = pack(given, how)
        except ValueError:
            continue
        row[how] = len(packed.file.data)
    row["auto"] = _coder(given)
    own = CODE_SIZES[CODERS["own"].operator].least_bytes
    row["own_saves_with_code"] = row["unpacked_bytes"] - row["own"] - own if "own" in row else None
    return row


def _weights(file: TFLiteFile) -> int:
    return sum(file.description.tensors[index].elements for index in file.description.weights)


def _coder(file: TFLiteFile) -> str:
    """What "auto" chooses."""
    return ", ".join(sorted({group.coder for group in pack(file, "auto").groups})) or "none"


def coding_row(name: str, file: TFLiteFile, zeros: float, bits: int) -> dict:
    """Bytes of the weights alone by several codings, one table for all layers or one each."""
    layers = list(packable(files.pruned(file, zeros, bits)).values())
    values = [each.values.ravel() for each in layers]
    row = {"network": name, "zeros": zeros, "bits": bits, "weights": sum(each.size for each in values)}
    row["floor"] = round(sum(_entropy_bytes(each.counts) for each in layers))
    row["own_shared"], row["own_each"] = encode(values).size_bytes, sum(encode([each]).size_bytes for each in values)
    for kind in ("gaps", "sham", "ham"):
        stored = (FORMATS[kind].encode(each.values.reshape(len(each.values), -1).T).size_bits for each in layers)
        row[kind] = sum(stored) // 8
    return row


def _entropy_bytes(counts: np.ndarray) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log2(shares)).sum() * counts.sum() / 8)


def run_row(host: Host, name: str, file: TFLiteFile, zeros: float, bits: int) -> dict:
    """One file in TFLite Micro, packed by us, packed for DECODE, and as it is."""
    given, rng = files.pruned(file, zeros, bits), np.random.default_rng(0)
    packed = pack(given, "own")
    kinds = {"unpacked": packed.unpacked, "own": packed.file, "huffman": pack(given, "huffman").file}
    samples = rng.integers(-128, 128, (SAMPLES, *given.description.inputs[0].shape[1:])).astype(np.int8)
    wanted, arena, _ = host.run(kinds["unpacked"], samples)
    outputs, own_arena, _ = host.run(kinds["own"], samples)
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(ROUNDS):
        for kind, each in kinds.items():
            times[kind].append(host.run(each, samples[:ROUND_SAMPLES])[2])
    return {
        "network": name,
        "zeros": zeros,
        "bits": bits,
        "samples": SAMPLES,
        "different_integers": int(np.count_nonzero(outputs != wanted)),
        "bytes": {kind: len(each.data) for kind, each in kinds.items()},
        "arena_bytes": {"unpacked": arena, "own": own_arena},
        "ms": {kind: float(np.median(each)) for kind, each in times.items()},
    }


def table(result: dict) -> str:
    """The results as Markdown."""
    runs, sizes = result["runs"], result["sizes"]
    kinds = ("unpacked", "own", "huffman")
    same = [[*_head(row), f"{row['samples']:,}", row["different_integers"], *row["bytes"].values()] for row in runs]
    times = [[*_head(row), *(f"{row['ms'][kind]:.2f}" for kind in kinds), *row["arena_bytes"].values()] for row in runs]
    coders = ("unpacked_bytes", "own", "huffman", "bitmap", "lut", "own_saves_with_code")
    files_ = [[*_head(row), row["weights"], *(row.get(each) for each in coders), row["auto"]] for row in sizes]
    codings = [[*_head(row), *list(row.values())[3:]] for row in result["codings"]]
    code = [[option, *(row or {}).values()] for option, row in result["code_bytes"].items()]
    return "\n".join(
        [
            "# Weights that TFLite Micro decodes with our own operator",
            "\nWritten by `benchmarks/own_decode.py`.",
            "\n## In TFLite Micro on this host",
            f"\nBuilt from its sources, reference kernels; medians of {ROUNDS} interleaved runs of {ROUND_SAMPLES} "
            "inferences.\n",
            *_rows("network | zeros | bits | inputs | other integers | unpacked (bytes) | own | Huffman", same),
            "",
            *_rows("network | zeros | bits | unpacked (ms) | own | Huffman | arena unpacked (bytes) | own", times),
            "\n## Files (bytes)\n",
            *_rows(
                "network | zeros | bits | weights | unpacked | own | Huffman | bitmap | table | own saves with code "
                "| auto",
                files_,
            ),
            "\n## Codings (bytes)\n\nWeights alone. Floor: entropy of the values of each layer, without tables. Gaps, "
            "sHAM and HAM are formats of `tf_structprune.storage`, each layer with its own tables.\n",
            *_rows(
                "network | zeros | bits | weights | floor | own, one table | a table each | gaps | sHAM | HAM", codings
            ),
            "\n## Code (bytes)\n\nObject code for a Cortex-M4.\n",
            *_rows("built | decoder | operator | all of sham.c | DECODE, all its objects", code),
            "",
        ]
    )


def _rows(head: str, rows: list[list]) -> list[str]:
    """Lines of a table."""
    lines = [f"| {head} |", "|---" * len(head.split("|")) + "|"]
    return lines + ["| " + " | ".join(_text(value) for value in row) + " |" for row in rows]


def _text(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _head(row: dict) -> list[str]:
    return [row["network"], f"{row['zeros']:.0%}", str(row["bits"])]


def main() -> None:
    """Measures and writes."""
    asked = arguments()
    given = {"ResNet-8": open_file(asked.resnet8)}
    given["ResNet-8, half"] = open_file(pathlib.Path("benchmarks/results/resnet8_half/model_int8.tflite"))
    sizes = [size_row(name, file, *case) for name, file in given.items() for case in CASES]
    codings = [coding_row(name, file, *case) for name, file in given.items() for case in CASES]
    for width in WIDTHS:
        file = files.network(width)
        sizes += [size_row(f"3 convolutions of {width}", file, *case) for case in ((0.0, 8), (0.5, 8), (0.8, 4))]
    with tempfile.TemporaryDirectory() as folder:
        host = Host(asked.tflm, pathlib.Path(folder))
        code = {option: host.code_bytes(option) for option in ("-Os", "-O2")}
        runs = [run_row(host, "ResNet-8, half", given["ResNet-8, half"], *case) for case in RUN]
        runs.append(run_row(host, "ResNet-8", given["ResNet-8"], 0.8, 4))
    result = {"runs": runs, "sizes": sizes, "codings": codings, "code_bytes": code}
    asked.out.with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")
    asked.out.with_suffix(".md").write_text(table(result))
    print(table(result))


if __name__ == "__main__":
    main()
