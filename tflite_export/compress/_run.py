"""The whole path: a trained classifier in, a directory with measured artifacts out."""

import csv
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np
from absl import logging
from numpy.typing import NDArray

from tf_structprune.channels import PrunableGraph
from tf_structprune.graph import trace
from tf_structprune.layers import is_fixed_point
from tflite_export.bench import HOST, Device, multiplications_section
from tflite_export.compress._data import Data, check_data
from tflite_export.compress._fixed_point import FixedPointStage, retrain_in_fixed_point
from tflite_export.compress._settings import CompressSettings
from tflite_export.compress._stages import Pruned, epoch_rows, prune_in_stages
from tflite_export.compress._work import NO_WORK, RefusedError, Work, fingerprint, open_work
from tflite_export.export import ExportSummary, write_artifacts
from tflite_export.file import MEMORY_NOTE, TFLiteFile, TFLiteModel, open_file
from tflite_export.quantize import float_form
from tflite_export.runtime import run_litert
from tflite_export.write import remove_partials, staged_directory

_CALIBRATION = 200
_VERIFIED = 1000
_RUNS = 200


def compress(
    dense: keras.Model,
    data: Data,
    out: str | os.PathLike[str],
    *,
    settings: CompressSettings,
    overwrite: bool = False,
    verbose: int = 0,
    device: Device = HOST,
) -> dict[str, Any]:
    """Prune, retrain, export, verify and measure; the directory appears complete or not at all.

    It gets `model.keras`, `model_float32.tflite`, `model_int8.tflite` (in fixed point `model_fixed.tflite` and,
    packed, `model_fixed_int4.tflite`), `micro/`, `history.csv`, `summary.json`, and the dense model's files under
    `baseline/`, for a comparison on the device.

    Searches and epochs of retraining are kept in a hidden folder `.OUT.work` beside it until the end: a run that was
    killed or interrupted goes on when it is started again with the same model, data and settings.

    Args:
        dense: a trained classifier with one input; it is not changed.
        data: training, validation and test data; the test part gives the final figures only.
        out: the directory to make.
        settings: what to do.
        overwrite: replace a directory that an earlier run wrote.
        verbose: 1 shows progress.
        device: what times the files, for budgets, lowering and the figures; by default this machine with one thread.

    Returns:
        The contents of `summary.json`.

    Raises:
        FileExistsError, NotADirectoryError, PermissionError: see `write.staged_directory`.
        ValueError: data, model or settings that do not fit, or the folder of a run with others.
        RefusedError: no stage stayed within the tolerance, or fixed point alone did not.
        VerificationError: an exported file disagrees with Keras, or the runtimes with each other.
    """
    check_data(data, dense, augment=settings.augment)
    with staged_directory(out, overwrite=overwrite) as staged:
        work = open_work(out, fingerprint(dense, data, settings, device))
        remove_partials(out, keep=staged)  # of a killed process
        with work.kept():
            summary = compress_into(staged, dense, data, settings=settings, verbose=verbose, work=work, device=device)
    work.remove()
    return summary


def compress_into(
    folder: Path,
    dense: keras.Model,
    data: Data,
    *,
    settings: CompressSettings,
    verbose: int = 0,
    work: Work = NO_WORK,
    device: Device = HOST,
) -> dict[str, Any]:
    """`compress` into a directory that exists, usually a staged one."""
    pruned = prune_in_stages(dense, data, settings, verbose=verbose, work=work, device=device)
    small, stage, rows = _in_fixed_point(pruned, dense, data, settings, verbose=verbose, work=work)
    baseline_folder = folder / "baseline"
    baseline_folder.mkdir()
    baseline = _export(dense, baseline_folder, data, settings, device)
    compressed = _export(small, folder, data, settings, device)
    files = [*_files(baseline_folder, baseline), *_files(folder, compressed)]
    times = np.median(device.latencies_us(files, runs=_RUNS), axis=1).tolist()
    summary = {
        "baseline": _figures(dense, baseline, times[:2], files[1], data),
        "compressed": _figures(small, compressed, times[2:], files[3], data),
        **_account(pruned, settings, trace(dense, **settings.demands)),
        "fixed_point": _fixed_point(stage, compressed),
        "validation": _validation(pruned, files[1], files[3], data, settings),
        "memory": _memory(baseline, compressed),
        "npu": _npu(baseline, compressed),
        "lowered": list(compressed.lowered),
        "multiplications": multiplications_section(compressed.multiplications),
        "verification": asdict(compressed.verification),
        "exact": {name: asdict(agreement) for name, agreement in compressed.exact.items()},
        "versions": compressed.versions,
    }
    _write_history([*pruned.history, *rows], folder / "history.csv")
    (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    return summary


def _in_fixed_point(
    pruned: Pruned, dense: keras.Model, data: Data, settings: CompressSettings, *, verbose: int, work: Work
) -> tuple[keras.Model, FixedPointStage | None, list[dict[str, Any]]]:
    """The model to export, what became of the recipe if there is one, and its rows of the history."""
    small = pruned.small.model
    if settings.fixed_point is None:
        return small, None, []
    model, stage, figures = retrain_in_fixed_point(
        small, dense, data, settings, mcr_dense=pruned.mcr_dense, verbose=verbose, work=work
    )
    if model is None and not pruned.stages:
        raise RefusedError(
            f"Fixed point left a validation MCR of {100 * stage.mcr_after_retraining:.2f} %, more than the tolerance "
            f"of {100 * settings.tolerance:.2f} points above the dense model's {100 * pruned.mcr_dense:.2f} %, and "
            "nothing else was asked for. Use more bits, more --epochs, --distill, or a larger --tolerance. Nothing "
            "was written."
        )
    return small if model is None else model, stage, epoch_rows(len(pruned.stages), "fixed_point", figures)


def _files(folder: Path, summary: ExportSummary) -> tuple[TFLiteFile, TFLiteFile]:
    """The float and the integer file."""
    integers = summary.float32 if summary.int8 is None else summary.int8
    return open_file(folder / summary.float32.file), open_file(folder / integers.file)


def _fixed_point(stage: FixedPointStage | None, files: ExportSummary) -> dict[str, Any] | None:
    """What became of the recipe, and of its files with packed weights."""
    if stage is None:
        return None
    packed = {"int4": files.int4, "lut": files.lut}
    figures = {
        kind: None if file is None else {"bytes": file.size_bytes, "arena_bytes": file.arena_bytes}
        for kind, file in packed.items()
    }
    return asdict(stage) | figures | {"lut_reason": files.lut_reason}


def int8_accuracy(file: TFLiteModel, x: NDArray[Any], y: NDArray[np.int64]) -> float:
    """Top-1 accuracy of a `.tflite` file in LiteRT."""
    return float(np.mean(run_litert(file, x).reshape(len(x), -1).argmax(axis=1) == y))


def _export(model: keras.Model, folder: Path, data: Data, settings: CompressSettings, device: Device) -> ExportSummary:
    rng = np.random.default_rng(settings.seed)
    chosen = rng.choice(len(data.x_train), min(_CALIBRATION, len(data.x_train)), replace=False)
    return write_artifacts(
        model,
        folder,
        representative_data=data.x_train[chosen],
        verify_data=data.x_val[:_VERIFIED],
        lower=settings.lower,
        target=settings.target,
        device=device,
    )


def _figures(
    model: keras.Model, files: ExportSummary, latencies_us: Sequence[float], int8_file: TFLiteFile, data: Data
) -> dict[str, Any]:
    """The figures of one model; accuracies are of the test data."""
    plain = float_form(model) if is_fixed_point(model) else model
    outputs = np.asarray(plain.predict(data.x_test, batch_size=512, verbose=0))
    integers = files.float32 if files.int8 is None else files.int8
    return {
        "accuracy_float": float(np.mean(outputs.argmax(axis=1) == data.y_test)),
        "accuracy_int8": int8_accuracy(int8_file, data.x_test, data.y_test),
        "parameters": int(plain.count_params()),
        "macs": integers.macs,
        "float32_bytes": files.float32.size_bytes,
        "int8_bytes": integers.size_bytes,
        "latency_us_float32": latencies_us[0],
        "latency_us_int8": latencies_us[1],
        "arena_bytes": None if files.int8 is None else files.int8.arena_bytes,
    }


def _memory(baseline: ExportSummary, compressed: ExportSummary) -> dict[str, Any]:
    """Flash and RAM of the int8 files, with what the figures are in words."""
    sides = {"baseline": baseline.int8, "compressed": compressed.int8}
    return {"note": MEMORY_NOTE} | {side: None if file is None else asdict(file.memory) for side, file in sides.items()}


def _npu(baseline: ExportSummary, compressed: ExportSummary) -> dict[str, Any]:
    """Vela's estimates of the int8 files, or why there are none."""
    sides = {"baseline": baseline.npu, "compressed": compressed.npu}
    estimates = {side: None if npu is None else asdict(npu) for side, npu in sides.items()}
    return estimates | {"reason": compressed.npu_reason or baseline.npu_reason}


def _account(pruned: Pruned, settings: CompressSettings, graph: PrunableGraph) -> dict[str, Any]:
    return {
        "sparsity": pruned.sparsity,
        "tolerance": settings.tolerance,
        "seed": settings.seed,
        "stages": [asdict(stage) for stage in pruned.stages],
        "skipped_layers": [asdict(item) for item in graph.skipped],
        "settings": asdict(settings),
    }


def _validation(
    pruned: Pruned, dense_int8: TFLiteFile, small_int8: TFLiteFile, data: Data, settings: CompressSettings
) -> dict[str, Any]:
    """Validation MCRs, and whether the int8 file too is within the tolerance of the dense int8 file."""
    dense, small = (1 - int8_accuracy(file, data.x_val, data.y_val) for file in (dense_int8, small_int8))
    within = small <= dense + settings.tolerance + 1e-9
    if not within:
        logging.warning(
            "The int8 file's validation MCR is %.2f %%, more than the tolerance of %.2f points above the dense "
            "int8 file's %.2f %%.", 100 * small, 100 * settings.tolerance, 100 * dense
        )  # fmt: skip
    accepted = [stage for stage in pruned.stages if stage.accepted]
    return {
        "mcr_dense_float": pruned.mcr_dense,
        "mcr_compressed_float": accepted[-1].mcr_after_retraining if accepted else pruned.mcr_dense,
        "mcr_dense_int8": dense,
        "mcr_compressed_int8": small,
        "int8_within_tolerance": bool(within),
    }


def _write_history(rows: Sequence[dict[str, Any]], path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)))
        writer.writeheader()
        writer.writerows(rows)
