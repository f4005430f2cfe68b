"""The whole path: a trained model in, a directory with measured artifacts out."""

import os
from pathlib import Path
from typing import Any

import keras
from absl import logging

from tf_structprune.graph import trace
from tf_structprune.layers import keep_everything
from tflite_export.child import prepare_native
from tflite_export.compress._allocate import with_first_convolution
from tflite_export.compress._data import Data, check_data
from tflite_export.compress._epochs import write_history
from tflite_export.compress._hand_over import HandedOver, hand_over, loss_told
from tflite_export.compress._job import Job
from tflite_export.compress._named import objective_of
from tflite_export.compress._outcome import BASELINE, Outcome, outcome_of
from tflite_export.compress._progress import Progress
from tflite_export.compress._refused import keep_refused
from tflite_export.compress._report import CompressReport
from tflite_export.compress._settings import CompressSettings
from tflite_export.compress._sources import data_of
from tflite_export.compress._stages import Done, run_job
from tflite_export.compress._steps import write_steps
from tflite_export.compress._tell import tell
from tflite_export.compress._work import RefusedError, fingerprint, open_work
from tflite_export.devices import HOST, Device, ready
from tflite_export.export import ExportSummary
from tflite_export.write import staged_directory


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
    graph = trace(job.dense, **job.settings.demands)
    before = _given(folder / BASELINE, job)
    done, after = _handed_over(run_job(job), folder, job)
    _check_budgets(before.summary, after.summary, job)
    outcome = outcome_of(job, done, before, after, folder)
    found = outcome.report(skipped=graph.skipped)
    _write(outcome, found, folder, report=report)
    return found


def _given(folder: Path, job: Job) -> HandedOver:
    """The given model's files: what TFLite cannot do is refused before any search."""
    folder.mkdir()
    before = hand_over(job.dense, folder, job, given=True)
    if not before.judgement.accepted:
        told = loss_told(before.attempts, job, "given model's own int8 file")
        logging.warning("%s Pruning goes on: training in int8 may mend it.", told)
    return before


def _write(outcome: Outcome, found: CompressReport, folder: Path, *, report: bool) -> None:
    """The figures of all epochs, the summary, and what is made of it to be looked at."""
    job = outcome.job
    if outcome.steps:
        write_steps(outcome.steps, job.judge.metric, folder, limit=outcome.limit)
    write_history(outcome.history, folder / "history.csv")
    (folder / "summary.json").write_text(found.to_json())
    if report:
        job.progress.doing("writes the report")
        tell(
            found,
            folder,
            dense=job.dense,
            small=outcome.after.model,
            masks=outcome.done.masks,
            before=outcome.files[1],
            after=outcome.files[3],
            history=outcome.history,
            limit=outcome.limit,
            device=job.device,
        )


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
