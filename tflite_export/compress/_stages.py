"""The stages of a run, one after the other."""

from dataclasses import dataclass, field
from typing import Any

import keras

from tf_structprune.masks import MaskSet
from tf_structprune.stages import Ledger, Stage, StageReport, run_stages
from tflite_export.compress._epochs import epoch_rows
from tflite_export.compress._fixed_point_stage import FixedPointStage
from tflite_export.compress._job import Job
from tflite_export.compress._prune_stage import Present, prune_stages
from tflite_export.compress._work import RefusedError


@dataclass(frozen=True)
class Done:
    """What the stages of a run left.

    Attributes:
        model: the model to export, in fixed point if that was asked for and accepted.
        masks: what is left of the masks on its kernels.
        reports: of all stages, in order.
        sparsity: fraction of the dense model's prunable weights that is gone.
        score: validation score of the pruned model in float.
        history: one row an epoch: stage, granularity, epoch and the figures of `fit`.
    """

    model: keras.Model
    masks: MaskSet
    reports: tuple[StageReport, ...]
    sparsity: float
    score: float
    history: tuple[dict[str, Any], ...]


@dataclass
class _Training:
    """Trains the models of stages, and gathers the figures of `fit`."""

    job: Job
    rows: list[dict[str, Any]] = field(default_factory=list)
    stages: int = 0

    def __call__(self, stage: Stage, model: keras.Model) -> None:
        figures = self.job.retrain(model, stage.callbacks(), name=stage.name)
        self.stages += 1
        self.rows += epoch_rows(self.stages, stage.granularity, figures)


def run_job(job: Job) -> Done:
    """Prune each granularity in turn, retrain, accept or undo; then fixed point, if it is asked for.

    Raises:
        ValueError: nothing to prune, a sparsity or budget out of reach, or a model that has no fixed-point form.
        RefusedError: no stage stayed within the tolerance.
    """
    ledger, training = Ledger(job.judge, Present.of(job.dense)), _Training(job)
    run_stages(ledger, prune_stages(job), training)
    accepted = [report.score_after for report in ledger.reports if report.accepted]
    if ledger.reports and not accepted:
        raise _refusal(ledger.reports, job)
    if job.settings.fixed_point is not None:
        run_stages(ledger, [FixedPointStage(job, job.settings.fixed_point)], training)
        if not any(report.accepted for report in ledger.reports):
            raise _refusal(ledger.reports, job)
    return Done(
        model=ledger.kept.small.model,
        masks=ledger.kept.small.masks,
        reports=ledger.reports,
        sparsity=ledger.kept.sparsity,
        score=accepted[-1] if accepted else job.judge.given,
        history=tuple(training.rows),
    )


def _refusal(reports: tuple[StageReport, ...], job: Job) -> RefusedError:
    metric = job.judge.metric
    tried = ", ".join(
        f"{report.granularity} at sparsity {report.sparsity:.2f}: {metric.text(report.score_after)}"
        for report in reports
    )
    return RefusedError(
        f"No stage stayed within the tolerance of {metric.difference(job.judge.tolerance)}. Received: validation "
        f"{metric.name} {metric.text(job.judge.given)} dense; {tried}. Use a lower --sparsity, more bits, more "
        "--epochs, --distill, or a larger --tolerance. Nothing was written."
    )
