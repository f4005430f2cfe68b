"""The whole path: a trained model in, a directory with measured artifacts out."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from absl import logging

from tf_structprune.graph import trace
from tf_structprune.layers import is_fixed_point, keep_everything
from tf_structprune.masks import as_granularity
from tf_structprune.stages import StageReport
from tf_structprune.task import Samples, Validation
from tflite_export.bench import multiplications_section
from tflite_export.child import prepare_native
from tflite_export.compress._allocate import with_first_convolution
from tflite_export.compress._data import Data, check_data
from tflite_export.compress._epochs import epoch_rows, write_history
from tflite_export.compress._hand_over import Attempt, HandedOver, file_score, hand_over, integer_files, loss_told
from tflite_export.compress._job import Job
from tflite_export.compress._named import objective_of
from tflite_export.compress._progress import Progress
from tflite_export.compress._refused import keep_refused
from tflite_export.compress._report import (
    AttemptFigures,
    CompressReport,
    FixedPointFigures,
    MemoryFigures,
    ModelFigures,
    NpuFigures,
    PackedFigures,
    PruningFigures,
    ValidationFigures,
)
from tflite_export.compress._settings import CompressSettings
from tflite_export.compress._sources import data_of
from tflite_export.compress._stages import Done, run_job
from tflite_export.compress._steps import step_figures, write_steps
from tflite_export.compress._tell import tell
from tflite_export.compress._work import RefusedError, fingerprint, open_work
from tflite_export.devices import HOST, Device, description_of, ready
from tflite_export.export import ExportSummary, FileSummary
from tflite_export.file import TFLiteFile, open_file
from tflite_export.quantize import float_form
from tflite_export.write import staged_directory

_RUNS = 200
_BATCH = 512


def compress(
    dense: keras.Model,
    data: Any,
    out: str | os.PathLike[str],
    *,
    settings: CompressSettings | None = None,
    overwrite: bool = False,
    verbose: int = 0,
    device: Device = HOST,
    loss: Any = None,
    score: Any = None,
    report: bool = True,
    **options: Any,
) -> CompressReport:
    """Prune, retrain, export, verify and measure; the directory appears complete or not at all.

    It gets `model.keras`, `model_float32.tflite`, `model_int8.tflite` (in fixed point `model_fixed.tflite` and,
    packed, `model_fixed_int4.tflite`), `micro/`, `history.csv`, `summary.json`, the dense model's files under
    `baseline/`, for a comparison on the device, and the report: `report.html`, `report.md`, `report.json` and
    `model_explorer/`, see `tflite_export.report`.

    Searches and epochs of retraining are kept in a hidden folder `.OUT.work` beside it until the end: a run that was
    killed or interrupted goes on when it is started again with the same model, data and settings. What a refused run
    reached is in `OUT.refused/`: `model.keras`, `history.csv` and a `summary.json` that says by how much the tolerance
    was missed. The same run with more epochs, a larger tolerance or another rate goes on from there.

    Args:
        dense: a trained model; it is not changed.
        data: training, validation and test data, see `data_of`: arrays, data sets, files or folders; the test part
            gives the final figures only.
        out: the directory to make.
        settings: what to do.
        overwrite: replace a directory that an earlier run wrote.
        verbose: 1 tells on stderr what is done, a line a stage and epoch; 2 also shows what `fit` shows.
        device: what times the files, for budgets, lowering and the figures; by default this machine with one thread.
        loss: what is retrained with in the place of the task's: a Keras loss, its name, a function of (targets,
            outputs), or the text "module:function"; for several outputs a list, or a dictionary by name.
        score: what the tolerance is about in the place of the task's score: "kl", a Keras loss or its name, a Keras
            metric whose higher values are better, a function of (targets, outputs), see `scoring.as_score`, or the text
            "module:function". With a loss or score of one's own targets keep the form in which they are given; with
            both of them any form will do.
        **options: instead of `settings`, fields of `CompressSettings` by name, e.g. `sparsity=0.7`, or `budget` as a
            text such as "macs=0.5".

    Returns:
        What `summary.json` holds.

    Raises:
        FileExistsError, NotADirectoryError, PermissionError: see `write.staged_directory`.
        DeviceError: the device is not there, or was lost.
        TypeError: data in another form, an unknown option, options beside `settings`, or a score that is none.
        ValueError: data, model, settings, loss or score that do not fit, or the folder of a run with others.
        RefusedError: no stage stayed within the tolerance, or fixed point alone did not, or the integer file does not
            and nothing mends it.
        VerificationError: an exported file disagrees with Keras, or the runtimes with each other.
    """
    if settings is not None and options:
        raise TypeError(
            f"Options come in settings or by name. Received: settings beside {', '.join(options)}. "
            "Use dataclasses.replace(settings, ...)."
        )
    settings = settings or CompressSettings.of(options)
    device = ready(device)
    data, objective = data_of(data, seed=settings.seed, model=dense), objective_of(loss, score)
    check_data(data, dense, settings, objective)  # before anything is made
    settings = settings.settled(data.samples)
    with staged_directory(out, overwrite=overwrite) as staged:
        work = open_work(out, fingerprint(dense, data, settings, device, objective))
        with work.kept(), Progress(shown=verbose > 0) as progress:
            job = Job.of(
                dense,
                data,
                settings,
                work=work,
                verbose=verbose,
                device=device,
                progress=progress,
                objective=objective,
            )
            try:
                found = _compressed(job, staged, report=report)
            except RefusedError as error:
                raise keep_refused(error, job.judge, out, work, overwrite=overwrite) from error
    work.remove()
    return found


def compress_into(
    folder: Path,
    dense: keras.Model,
    data: Data,
    *,
    settings: CompressSettings,
    verbose: int = 0,
    device: Device = HOST,
    report: bool = True,
) -> CompressReport:
    """`compress` into a directory that exists, usually a staged one; nothing is kept of a run that ends early."""
    settings = settings.settled(data.samples)
    with Progress(shown=verbose > 0) as progress:
        job = Job.of(dense, data, settings, verbose=verbose, device=device, progress=progress)
        return _compressed(job, folder, report=report)


def _compressed(job: Job, folder: Path, *, report: bool) -> CompressReport:
    prepare_native()
    logging.info("Task: %s", job.task)
    if job.settings.idle:
        logging.warning("%s", job.settings.idle)
    job.progress.line(f"Given model: validation {job.judge.metric.name} {job.judge.metric.text(job.judge.given)}")
    job = with_first_convolution(job)  # what cannot be met or is not there is refused before any work
    dense, settings, device = job.dense, job.settings, job.device
    graph = trace(dense, **settings.demands)
    baseline_folder = folder / "baseline"
    baseline_folder.mkdir()
    before = hand_over(dense, baseline_folder, job, given=True)  # what TFLite cannot do is refused before any search
    if not before.judgement.accepted:
        told = loss_told(before.attempts, job, "given model's own int8 file")
        logging.warning("%s Pruning goes on: training in int8 may mend it.", told)
    done, after = _handed_over(run_job(job), folder, job)
    baseline, compressed = before.summary, after.summary
    _check_budgets(baseline, compressed, job)
    files = [*_files(baseline_folder, baseline), *_files(folder, compressed)]
    job.progress.doing("times the files")
    times = np.median(device.latencies_us(files, runs=_RUNS), axis=1).tolist()
    steps = step_figures(done.steps, done.step, folder, job) if settings.smallest else ()
    limit = job.judge.metric.value(job.judge.given - job.judge.tolerance)
    if steps:
        write_steps(steps, job.judge.metric, folder, limit=limit)
    job.progress.doing("scores the files on the test part")
    found = CompressReport(
        baseline=_figures(before.model, baseline, times[:2], files[1], job),
        compressed=_figures(after.model, compressed, times[2:], files[3], job),
        task=str(job.task),
        figure=job.task.figure,
        metric=job.judge.metric,
        sparsity=done.sparsity,
        stages=tuple(_stage(report, job) for report in done.reports if report.search),
        skipped_layers=graph.skipped,
        settings=settings,
        fixed_point=_fixed_point(done, compressed, job),
        validation=_validation(done, before, after, job),
        memory=_memory(baseline, compressed),
        micro_reason=compressed.micro_reason,
        bundle_notes=compressed.bundle_notes,
        npu=NpuFigures(baseline.npu, compressed.npu, compressed.npu_reason or baseline.npu_reason),
        lowered=compressed.lowered,
        steps=steps,
        packed=_packed(compressed.packed),
        packing=compressed.packing,
        device=description_of(device),
        multiplications=multiplications_section(compressed.multiplications),
        verification=compressed.verification,
        exact=compressed.exact,
        versions=compressed.versions,
    )
    rows = (*done.history, *epoch_rows(len(done.reports) + 1, "int8", after.figures))
    write_history(rows, folder / "history.csv")
    (folder / "summary.json").write_text(found.to_json())
    if report:
        job.progress.doing("writes the report")
        tell(
            found,
            folder,
            dense=dense,
            small=after.model,
            masks=done.masks,
            before=files[1],
            after=files[3],
            history=rows,
            limit=limit,
            device=device,
        )
    return found


def _handed_over(done: Done, folder: Path, job: Job) -> tuple[Done, HandedOver]:
    """The files of what the stages left; of steps to the smallest model, of the smallest whose file is accepted."""
    while True:
        masked = not done.masks.equals(keep_everything(done.masks))
        try:
            return done, hand_over(done.model, folder, job, lowered=masked and job.settings.lower == "auto")
        except RefusedError as error:
            before = None if job.settings.fixed_point else done.before()
            if before is None:
                raise error.after(done.history, stage=len(done.reports) + 1) from error
            job.progress.line(f"The step before is handed over: {error}")
            done = before


def _check_budgets(baseline: ExportSummary, compressed: ExportSummary, job: Job) -> None:
    """Refuse a file that is beyond the budgets of files, as a file that was mended may be."""
    for budget in job.settings.budgets:
        name = {"flash": "flash_bytes", "arena": "arena_bytes"}.get(budget.kind)
        if name is None or baseline.int8 is None or compressed.int8 is None:
            continue
        whole, cost = (getattr(each.packed or each.int8, name) for each in (baseline, compressed))
        if whole is not None and cost is not None and cost > budget.most(whole):
            raise RefusedError(
                f"The integer file is beyond the budget of {budget.kind}. Received: {budget.text(cost)}, of at most "
                f"{budget.text(budget.most(whole))}. {job.settings.remedy}"
            )


def _files(folder: Path, summary: ExportSummary) -> tuple[TFLiteFile, TFLiteFile]:
    """The float and the integer file."""
    return open_file(folder / summary.float32.file), integer_files(folder, summary)[0]


def _fixed_point(done: Done, files: ExportSummary, job: Job) -> FixedPointFigures | None:
    """What became of the recipe, and of its files with packed weights."""
    for report in reversed(done.reports):  # the last one, where PQK was taken back
        if report.recipe is not None:
            before, after = (job.judge.metric.value(score) for score in (report.score_before, report.score_after))
            int4, lut = (_packed(file) for file in (files.int4, files.lut))
            return FixedPointFigures(
                report.recipe, before, after, report.accepted, int4, lut, files.lut_reason, report.interval
            )
    return None


def _packed(file: FileSummary | None) -> PackedFigures | None:
    return None if file is None else PackedFigures(file.size_bytes, file.arena_bytes)


def _figures(
    model: keras.Model, files: ExportSummary, latencies_us: Sequence[float], int8_file: TFLiteFile, job: Job
) -> ModelFigures:
    """The figures of one model; scores are of the test data."""
    plain = float_form(model) if is_fixed_point(model) else model
    score, figure = job.task.score, job.task.figure
    tested = Validation(job.data.x_test, job.data.y_test, score, _BATCH).for_model(job.dense)
    integers = files.float32 if files.int8 is None else files.int8
    return ModelFigures(
        score_float=figure.value(tested.of(plain)),
        score_int8=figure.value(file_score(int8_file, Samples.of(job.dense, tested.x), tested.y, score)),
        parameters=int(plain.count_params()),
        macs=integers.macs,
        float32_bytes=files.float32.size_bytes,
        int8_bytes=integers.size_bytes,
        latency_us_float32=latencies_us[0],
        latency_us_int8=latencies_us[1],
        arena_bytes=None if files.int8 is None else files.int8.arena_bytes,
    )


def _memory(baseline: ExportSummary, compressed: ExportSummary) -> MemoryFigures:
    """Flash and RAM of the int8 files."""
    return MemoryFigures(*(None if side.int8 is None else side.int8.memory for side in (baseline, compressed)))


def _stage(report: StageReport, job: Job) -> PruningFigures:
    return PruningFigures(
        granularity=report.granularity,
        demands=None if report.demands is None else as_granularity(report.demands),
        search=report.search,
        sparsity=report.sparsity,
        before=job.judge.metric.value(report.score_before),
        after=job.judge.metric.value(report.score_after),
        accepted=report.accepted,
        allocation=report.allocation,
        interval=report.interval,
        layers=report.layers or None,
    )


def _validation(done: Done, before: HandedOver, after: HandedOver, job: Job) -> ValidationFigures:
    metric, interval = job.judge.metric, after.judgement.interval
    return ValidationFigures(
        dense_float=metric.value(job.judge.given),
        compressed_float=metric.value(done.score),
        dense_int8=metric.value(before.judgement.score),
        compressed_int8=metric.value(after.judgement.score),
        int8_within_tolerance=after.judgement.accepted,
        interval=interval,
        samples_to_tell=interval.samples_to_tell(job.judge.tolerance) if interval and job.judge.tolerance else None,
        attempts=tuple(_attempt(attempt, job) for attempt in after.attempts),
    )


def _attempt(attempt: Attempt, job: Job) -> AttemptFigures:
    judgement = attempt.judgement
    value = None if judgement is None else job.judge.metric.value(judgement.score)
    return AttemptFigures(attempt.name, value, attempt.reason or None)
