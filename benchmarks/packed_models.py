"""Whole models in an archive, beside the best general compressors on the same file.

    python -m benchmarks.packed_models [--files a.tflite,b.keras]

Networks with random weights, in float and in int8; each whole, with half of the weights removed, and as `.keras` with
90 % removed and 16 shared values a layer (quantiles). `--files` adds trained models. Everything that is packed is
unpacked and compared. zstd level 19, xz level 9 extreme, brotli level 11.
"""

import importlib.util
import json
import lzma
import pathlib
import tempfile
import time

import keras
import numpy as np
from absl import app, flags

from tf_structprune.storage import load, save

FLAGS = flags.FLAGS
flags.DEFINE_string("out", "benchmarks/results/packed_models", "Results without suffix.")
flags.DEFINE_list("files", [], "Model files besides.")
flags.DEFINE_integer("seed", 0, "Seed of weights and calibration.")


def compressors() -> dict:
    """Those that are installed."""
    found = {"xz": lambda data: lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)}
    if importlib.util.find_spec("zstandard"):
        import zstandard

        found["zstd"] = zstandard.ZstdCompressor(level=19).compress
    if importlib.util.find_spec("brotli"):
        import brotli

        found["brotli"] = lambda data: brotli.compress(data, quality=11)
    return found


def pruned(model: keras.Model, share: float, values: int | None) -> keras.Model:
    """A copy of which so much of each kernel stays, the largest, with so many shared values."""
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    for variable in copy.weights:
        if len(variable.shape) < 2:
            continue
        weights = keras.ops.convert_to_numpy(variable).copy()
        weights[np.abs(weights) <= np.quantile(np.abs(weights), 1 - share)] = 0
        kept = weights != 0
        if values is not None and kept.any():
            book = np.quantile(weights[kept], np.linspace(0, 1, values))
            weights[kept] = book[np.abs(weights[kept][:, None] - book).argmin(axis=1)]
        variable.assign(weights)
    return copy


def models(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """The files, by what they are."""
    from benchmarks.networks import cifar10_small, ds_cnn, mnist1, mobilenet_v1_025, randomize, resnet8
    from tflite_export.quantize import convert

    found = {}
    for build in (resnet8, ds_cnn, mobilenet_v1_025, mnist1, cifar10_small):
        name = build.__name__
        model = randomize(build(), FLAGS.seed)
        half = pruned(model, 0.5, None)
        kinds = {"float": model, "half removed": half, "90 % removed, 16 values": pruned(model, 0.1, 16)}
        for kind, each in kinds.items():
            file = folder / f"{name}_{len(found)}.keras"
            each.save(file)
            found[f"{name}, .keras, {kind}"] = file
        few = np.random.default_rng(FLAGS.seed).random((16, *model.input_shape[1:]), np.float32)
        for kind, each in {"whole": model, "half removed": half}.items():
            file = folder / f"{name}_{len(found)}.tflite"
            file.write_bytes(convert(each, quantize="int8", representative_data=few))
            found[f"{name}, int8 .tflite, {kind}"] = file
    return found


def row_of(name: str, file: pathlib.Path, folder: pathlib.Path) -> dict:
    """Sizes of one file, and times of packing and unpacking."""
    data, begun = file.read_bytes(), time.perf_counter()
    packed = save(file, folder / "packed.sham", overwrite=True)
    saved = time.perf_counter()
    again = load(packed.path, folder / f"again{file.suffix}", overwrite=True)
    loaded = time.perf_counter()
    if file.suffix == ".tflite" and again.read_bytes() != data:
        raise AssertionError(f"{name} does not come back")
    others = {each: len(compress(data)) for each, compress in compressors().items()}
    row = {"name": name, "bytes": len(data), "packed": packed.packed_bytes, **others}
    print(row, flush=True)
    return row | {"save_s": saved - begun, "load_s": loaded - saved, "weights": packed.weights_bytes}


def table(rows: list[dict]) -> str:
    """The rows as Markdown."""
    others = list(compressors())
    lines = [
        "# Models in an archive",
        "",
        f"Written by `python -m benchmarks.packed_models`, seed {FLAGS.seed}. Bytes; the best of the others divides.",
        "",
        f"| model | file | packed | {' | '.join(others)} | packed / best other |",
        f"|---|---|---|{'---|' * len(others)}---|",
    ]
    for row in rows:
        best = min(row[each] for each in others)
        told = " | ".join(f"{row[each]:,}" for each in others)
        lines.append(f"| {row['name']} | {row['bytes']:,} | {row['packed']:,} | {told} | {row['packed'] / best:.3f} |")
    return "\n".join(lines) + "\n"


def main(_: list[str]) -> None:
    """Pack all, and write the table."""
    with tempfile.TemporaryDirectory() as text:
        folder = pathlib.Path(text)
        files = {**models(folder), **{pathlib.Path(file).name: pathlib.Path(file) for file in FLAGS.files}}
        rows = [row_of(name, file, folder) for name, file in files.items()]
    out = pathlib.Path(FLAGS.out)
    out.with_suffix(".json").write_text(json.dumps(rows, indent=1) + "\n")
    out.with_suffix(".md").write_text(table(rows))


if __name__ == "__main__":
    app.run(main)
