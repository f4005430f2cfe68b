"""The whole path: a trained model in, a directory with measured artifacts out."""

import csv
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from absl import logging
from numpy.typing import NDArray

from tf_structprune.graph import trace
from tf_structprune.layers import is_fixed_point
from tf_structprune.masks import as_granularity
from tf_structprune.stages import StageReport
from tf_structprune.task import as_score
from tflite_export.bench import HOST, Device, multiplications_section
from tflite_export.compress._data import Data, check_data
from tflite_export.compress._job import Job
from tflite_export.compress._settings import CompressSettings
from tflite_export.compress._stages import Done, run_job
from tflite_export.compress._work import NO_WORK, Work, fingerprint, open_work
from tflite_export.export import ExportSettings, ExportSummary, write_artifacts
from tflite_export.file import MEMORY_NOTE, TFLiteFile, TFLiteModel, open_file
from tflite_export.quantize import float_form
from tflite_export.runtime import dequantize, run_litert
from tflite_export.write import staged_directory

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
        dense: a trained model with one input and one output; it is not changed.
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
    check_data(data, dense, augment=settings.augment)  # before anything is made
    settings = settings.settled(len(data.x_train))
    with staged_directory(out, overwrite=overwrite) as staged:
        work = open_work(out, fingerprint(dense, data, settings, device))
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
    settings = settings.settled(len(data.x_train))
    job = Job.of(dense, data, settings, work=work, verbose=verbose, device=device)
    logging.info("Task: %s", job.task)
    done = run_job(job)
    baseline_folder = folder / "baseline"
    baseline_folder.mkdir()
    baseline = _export(dense, baseline_folder, job)
    compressed = _export(done.model, folder, job)
    files = [*_files(baseline_folder, baseline), *_files(folder, compressed)]
    times = np.median(device.latencies_us(files, runs=_RUNS), axis=1).tolist()
    summary = {
        "baseline": _figures(dense, baseline, times[:2], files[1], job),
        "compressed": _figures(done.model, compressed, times[2:], files[3], job),
        **_account(done, job),
        "fixed_point": _fixed_point(done, compressed, job),
        "validation": _validation(done, files[1], files[3], job),
        "memory": _memory(baseline, compressed),
        "npu": _npu(baseline, compressed),
        "lowered": list(compressed.lowered),
        "multiplications": multiplications_section(compressed.multiplications),
        "verification": asdict(compressed.verification),
        "exact": {name: asdict(agreement) for name, agreement in compressed.exact.items()},
        "versions": compressed.versions,
    }
    _write_history(done.history, folder / "history.csv")
    (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    return summary


def _files(folder: Path, summary: ExportSummary) -> tuple[TFLiteFile, TFLiteFile]:
    """The float and the integer file."""
    integers = summary.float32 if summary.int8 is None else summary.int8
    return open_file(folder / summary.float32.file), open_file(folder / integers.file)


def _fixed_point(done: Done, files: ExportSummary, job: Job) -> dict[str, Any] | None:
    """What became of the recipe, and of its files with packed weights."""
    for report in done.reports:
        if report.recipe is not None:
            packed = {"int4": files.int4, "lut": files.lut}
            figures = {
                kind: None if file is None else {"bytes": file.size_bytes, "arena_bytes": file.arena_bytes}
                for kind, file in packed.items()
            }
            scores = _stage_scores(report, job)
            return {"recipe": asdict(report.recipe), **scores, **figures, "lut_reason": files.lut_reason}
    return None


def file_outputs(file: TFLiteModel, x: NDArray[Any]) -> NDArray[Any]:
    """Outputs of a `.tflite` file in LiteRT as real numbers."""
    parsed = open_file(file)
    outputs = run_litert(parsed, x)
    return outputs if outputs.dtype.kind == "f" else dequantize(outputs, parsed.description.outputs[0])


def file_score(file: TFLiteModel, x: NDArray[Any], y: NDArray[Any], score: Any = "mcr") -> float:
    """Score of a `.tflite` file in LiteRT, higher is better.

    Args:
        file: the file.
        x: samples.
        y: their targets.
        score: as `task.as_score` takes it.
    """
    outputs = file_outputs(file, x)
    return as_score(score)(y, outputs.reshape(len(x), -1) if y.ndim < 3 else outputs)


def _export(model: keras.Model, folder: Path, job: Job) -> ExportSummary:
    data, settings = job.data, job.settings
    rng = np.random.default_rng(settings.seed)
    chosen = rng.choice(len(data.x_train), min(_CALIBRATION, len(data.x_train)), replace=False)
    return write_artifacts(
        model,
        folder,
        ExportSettings(lower=settings.lower, target=settings.target, device=job.device),
        representative_data=data.x_train[chosen],
        verify_data=data.x_val[:_VERIFIED],
    )


def _figures(
    model: keras.Model, files: ExportSummary, latencies_us: Sequence[float], int8_file: TFLiteFile, job: Job
) -> dict[str, Any]:
    """The figures of one model; scores are of the test data."""
    plain = float_form(model) if is_fixed_point(model) else model
    x, y, score, figure = job.data.x_test, job.data.y_test, job.task.score, job.task.figure
    in_float = score(y, np.asarray(plain.predict(x, batch_size=512, verbose=0)))
    integers = files.float32 if files.int8 is None else files.int8
    return {
        f"{figure.key}_float": figure.value(in_float),
        f"{figure.key}_int8": figure.value(file_score(int8_file, x, y, score)),
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


def _account(done: Done, job: Job) -> dict[str, Any]:
    graph = trace(job.dense, **job.settings.demands)
    return {
        "task": str(job.task),
        "figure": asdict(job.task.figure),
        "metric": asdict(job.judge.metric),
        "sparsity": done.sparsity,
        "tolerance": job.settings.tolerance,
        "seed": job.settings.seed,
        "stages": [_stage(report, job) for report in done.reports if report.recipe is None],
        "skipped_layers": [asdict(item) for item in graph.skipped],
        "settings": asdict(job.settings),
    }


def _stage(report: StageReport, job: Job) -> dict[str, Any]:
    return {
        "granularity": report.granularity,
        "demands": None if report.demands is None else asdict(as_granularity(report.demands)),
        "search": report.search,
        "sparsity": report.sparsity,
        **_stage_scores(report, job),
        "allocation": None if report.allocation is None else asdict(report.allocation),
    }


def _stage_scores(report: StageReport, job: Job) -> dict[str, Any]:
    metric = job.judge.metric
    return {
        f"{metric.key}_before_retraining": metric.value(report.score_before),
        f"{metric.key}_after_retraining": metric.value(report.score_after),
        "accepted": report.accepted,
    }


def _validation(done: Done, dense_int8: TFLiteFile, small_int8: TFLiteFile, job: Job) -> dict[str, Any]:
    """Validation scores, and whether the int8 file too is within the tolerance of the dense int8 file."""
    metric, tolerance = job.judge.metric, job.settings.tolerance
    x, y = job.data.x_val, job.data.y_val
    dense, small = (file_score(file, x, y, job.task.score) for file in (dense_int8, small_int8))
    within = replace(job.judge, given=dense).accepts(small)
    if not within:
        logging.warning(
            "The int8 file's validation %s is %s, more than the tolerance of %s from the dense int8 file's %s.",
            metric.name, metric.text(small), metric.difference(tolerance), metric.text(dense)
        )  # fmt: skip
    return {
        f"{metric.key}_dense_float": metric.value(job.judge.given),
        f"{metric.key}_compressed_float": metric.value(done.score),
        f"{metric.key}_dense_int8": metric.value(dense),
        f"{metric.key}_compressed_int8": metric.value(small),
        "int8_within_tolerance": within,
    }


def _write_history(rows: Sequence[dict[str, Any]], path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)))
        writer.writeheader()
        writer.writerows(rows)
