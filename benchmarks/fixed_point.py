"""What fixed point costs and saves: accuracy, bytes, arena and agreement of the runtimes, of retrained models.

    python -m benchmarks.fixed_point_training ... --out MODELS      (once for each model, see there)
    python -m benchmarks.fixed_point --models MODELS --out-prefix benchmarks/results/fixed_point

Exports every model of MODELS, which compares LiteRT's reference kernels, TFLite Micro and the NumPy reference value
by value on 1,000 test images, and tests both files in LiteRT on the whole test set. Every model of the folder gives
a row; none is picked. The float network's accuracy stands beside it. Models that OUT.json has are not measured again.
"""

import argparse
import json
import pathlib
import tempfile
from collections.abc import Sequence
from typing import Any

EXACT_SAMPLES = 1000
PATHS = ("data", "model", "out", "teacher")  # of the machine that trained
COLUMNS = (
    "network",
    "weights",
    "signals",
    "steps",
    "epochs",
    "seed",
    "top-1 float (%)",
    "top-1 int8 file (%)",
    "top-1 int4 file (%)",
    "int8 file (bytes)",
    "int4 file (bytes)",
    "TFLM arena int8",
    "TFLM arena int4",
    "values that differ",
    "XNNPACK: steps, same class (%)",
)


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", required=True, type=pathlib.Path, help="folder that fixed_point_training wrote")
    parser.add_argument("--out-prefix", default="benchmarks/results/fixed_point", type=pathlib.Path)
    return parser.parse_args(argv)


def measured(path: pathlib.Path) -> dict[str, Any]:
    """The row of one model."""
    import keras

    import tflite_export as te
    from benchmarks.fixed_point_training import data_of, name_of
    from tflite_export.compress import file_score, load_model

    options = argparse.Namespace(**json.loads(path.with_suffix(".json").read_text())["options"])
    data = data_of(options)
    model = keras.models.load_model(path, compile=False)
    with tempfile.TemporaryDirectory() as folder:
        summary = te.export(
            model,
            pathlib.Path(folder) / "export",
            representative_data=data.x_train[:256],
            verify_data=data.x_test[:EXACT_SAMPLES],
            npu=None,
        )
        files = [file for file in (summary.int8, summary.int4) if file is not None]
        accuracy = [
            1 + file_score(pathlib.Path(folder) / "export" / file.file, data.x_test, data.y_test) for file in files
        ]
        whole = same_class(pathlib.Path(folder) / "export" / files[0].file, data.x_test)
    outputs = load_model(options.model).predict(data.x_test, batch_size=512, verbose=0)
    return {
        "model": name_of(options),
        "network": pathlib.Path(options.model).stem,
        "options": {
            key: value for key, value in vars(options).items() if key not in ("data", "model", "out", "teacher")
        },
        "accuracy_float": float((outputs.argmax(axis=1) == data.y_test).mean()),
        "accuracy": dict(zip((file.file for file in files), accuracy, strict=True)),
        "files": {
            file.file: {"bytes": file.size_bytes, "arena_bytes": file.arena_bytes, "parameters": file.parameters}
            for file in files
        },
        "xnnpack_top1_test": whole,
        "exact": summary.to_dict()["exact"],
        "versions": summary.versions,
    }


def same_class(path: pathlib.Path, x: Any) -> float:
    """Share of samples to which XNNPACK and LiteRT's reference kernels give the same class."""
    from tflite_export.runtime import run_litert

    data = path.read_bytes()
    fast, reference = run_litert(data, x), run_litert(data, x, kernels="reference")
    return float((fast.argmax(axis=1) == reference.argmax(axis=1)).mean())


def table(rows: list[dict[str, Any]]) -> str:
    """All rows as Markdown."""
    lines = [
        "# Fixed point: accuracy, bytes, arena, agreement",
        "",
        "Written by `benchmarks/fixed_point.py` from models of `benchmarks/fixed_point_training.py`. Accuracies: whole "
        "test set, LiteRT with XNNPACK, at the last epoch, every model that was trained. Epochs 0: grids fitted, "
        "nothing retrained. int4: weights two in a byte. Values that differ: scores of 1,000 test images between "
        "LiteRT's reference kernels, TFLite Micro and the NumPy reference, all pairs, both files. XNNPACK: the largest "
        "difference to the reference kernels in steps of the output on these, and the share of the whole test set to "
        "which both give the same class.",
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "|" + "---|" * len(COLUMNS),
    ]
    return "\n".join([*lines, *(_line(row) for row in rows)]) + "\n"


def _line(row: dict[str, Any]) -> str:
    options, files = row["options"], list(row["files"])
    int8, int4 = files[0], files[1] if len(files) > 1 else None

    differing = sum(
        exact[pair] or 0 for exact in row["exact"].values() for pair in ("numpy_litert", "numpy_tflm", "litert_tflm")
    )
    steps = f"{'free' if options['free'] else '2^n'}, one a {'channel' if options['per_channel'] else 'layer'}"
    cells = [
        row["network"],
        f"{options['weight_bits']} bits",
        f"{options['signal_bits']} bits",
        steps,
        options["epochs"],
        options["seed"],
        f"{100 * row['accuracy_float']:.2f}",
        *(f"{100 * row['accuracy'][file]:.2f}" if file else "-" for file in (int8, int4)),
        *(f"{row['files'][file]['bytes']:,}" if file else "-" for file in (int8, int4)),
        *(f"{row['files'][file]['arena_bytes']:,}" if file else "-" for file in (int8, int4)),
        differing,
        f"{row['exact'][int8]['xnnpack_steps']}, {_same(row, int8)}",
    ]
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def _same(row: dict[str, Any], file: str) -> str:
    """Samples with the same class in percent; rows measured before the whole test set was compared have the 1,000."""
    if "xnnpack_top1_test" in row:
        return f"{100 * row['xnnpack_top1_test']:.2f}"
    return f"{100 * row['exact'][file]['xnnpack_top1']:.1f} (1,000 images)"


def main() -> None:
    """Measure every model of the folder, write the table."""
    options = arguments()
    paths = sorted(options.models.glob("*.keras"))
    if not paths:
        raise SystemExit(f"{options.models} has no .keras file. Train some with benchmarks.fixed_point_training.")
    store = options.out_prefix.with_suffix(".json")
    rows = json.loads(store.read_text()) if store.exists() else []
    for path in paths:
        if path.stem not in {row["model"] for row in rows}:
            rows.append(measured(path))
            store.write_text(json.dumps(rows, indent=2) + "\n")
            options.out_prefix.with_suffix(".md").write_text(table(rows))


if __name__ == "__main__":
    main()
