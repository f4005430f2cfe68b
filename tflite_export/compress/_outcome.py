"""What a run left, and the figures of it that its report has."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tf_structprune.channels import Skipped
from tf_structprune.layers import is_fixed_point
from tf_structprune.masks import as_granularity
from tf_structprune.stages import StageReport
from tf_structprune.task import Samples, Validation
from tflite_export.bench import multiplications_section
from tflite_export.compress._epochs import epoch_rows
from tflite_export.compress._hand_over import Attempt, HandedOver, file_score, integer_files
from tflite_export.compress._job import Job
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
from tflite_export.compress._stages import Done
from tflite_export.compress._steps import StepFigures, step_figures
from tflite_export.devices import description_of
from tflite_export.export import ExportSummary, FileSummary
from tflite_export.file import TFLiteFile, open_file
from tflite_export.quantize import float_form

BASELINE = "baseline"
"""Folder of the given model's files."""
_RUNS = 200
_BATCH = 512


@dataclass(frozen=True)
class Outcome:
    """What a run left.

    Attributes:
        job: what was to be done.
        done: what the stages left.
        before: the given model's files.
        after: those that are handed over.
        files: float and integer file of the given model, then of the compressed one.
        times: microseconds of each of them.
        steps: to the smallest model; none where that was not asked for.
    """

    job: Job
    done: Done
    before: HandedOver
    after: HandedOver
    files: tuple[TFLiteFile, ...]
    times: tuple[float, ...]
    steps: tuple[StepFigures, ...]

    @property
    def limit(self) -> float:
        """Validation score, as it is told, at which the tolerance ends."""
        return self.job.judge.metric.value(self.job.judge.given - self.job.judge.tolerance)

    @property
    def history(self) -> tuple[dict[str, Any], ...]:
        """Figures of each epoch, a row each."""
        return (*self.done.history, *epoch_rows(len(self.done.reports) + 1, "int8", self.after.figures))

    def report(self, *, skipped: tuple[Skipped, ...]) -> CompressReport:
        """The figures; scores are of the test data, where it is not said otherwise.

        Args:
            skipped: layers that stayed whole, and why.
        """
        job, done, baseline, compressed = self.job, self.done, self.before.summary, self.after.summary
        job.progress.doing("scores the files on the test part")
        return CompressReport(
            baseline=_figures(self.before.model, baseline, self.times[:2], self.files[1], job),
            compressed=_figures(self.after.model, compressed, self.times[2:], self.files[3], job),
            task=str(job.task),
            figure=job.task.figure,
            metric=job.judge.metric,
            sparsity=done.sparsity,
            stages=tuple(_stage(stage, job) for stage in done.reports if stage.search),
            skipped_layers=skipped,
            settings=job.settings,
            fixed_point=_fixed_point(done, compressed, job),
            validation=_validation(done, self.before, self.after, job),
            memory=_memory(baseline, compressed),
            micro_reason=compressed.micro_reason,
            bundle_notes=compressed.bundle_notes,
            npu=NpuFigures(baseline.npu, compressed.npu, compressed.npu_reason or baseline.npu_reason),
            lowered=compressed.lowered,
            steps=self.steps,
            packed=_packed(compressed.packed),
            packing=compressed.packing,
            device=description_of(job.device),
            multiplications=multiplications_section(compressed.multiplications),
            verification=compressed.verification,
            exact=compressed.exact,
            versions=compressed.versions,
        )


def outcome_of(job: Job, done: Done, before: HandedOver, after: HandedOver, folder: Path) -> Outcome:
    """What a run left in its folder, timed."""
    files = (*_files(folder / BASELINE, before.summary), *_files(folder, after.summary))
    job.progress.doing("times the files")
    times = np.median(job.device.latencies_us(files, runs=_RUNS), axis=1).tolist()
    steps = step_figures(done.steps, done.step, folder, job) if job.settings.smallest else ()
    return Outcome(job, done, before, after, files, tuple(times), tuple(steps))


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
