"""The stages of a run, one after the other."""

import math
from dataclasses import dataclass, field, replace
from typing import Any

import keras

from tf_structprune.layers import is_fixed_point
from tf_structprune.masks import MaskSet
from tf_structprune.stages import Ledger, Stage, StageReport, run_stages
from tflite_export.compress._epochs import epoch_rows
from tflite_export.compress._fixed_point_stage import FixedPointStage
from tflite_export.compress._job import Job
from tflite_export.compress._methods import prune_stages
from tflite_export.compress._prune_stage import Present
from tflite_export.compress._smallest import Smallest, Step
from tflite_export.compress._work import Reached, RefusedError


@dataclass(frozen=True)
class Done:
    """What the stages of a run left.

    Attributes:
        model: the model to export, in fixed point if that was asked for and accepted.
        masks: what is left of the masks on its kernels.
        reports: of all stages, in order.
        sparsity: fraction of the dense model's prunable weights that is gone.
        score: validation score of the pruned model in float; of PQK's in fixed point, as it was pruned.
        history: one row an epoch: stage, granularity, epoch and the figures of `fit`.
        steps: on the way to the smallest model, in order; none where that was not asked for.
    """

    model: keras.Model
    masks: MaskSet
    reports: tuple[StageReport, ...]
    sparsity: float
    score: float
    history: tuple[dict[str, Any], ...]
    steps: tuple[Step, ...] = ()

    @property
    def step(self) -> str:
        """Name of the last step that was accepted, "" for none."""
        return next((step.name for step in reversed(self.steps) if step.report.accepted), "")

    def before(self) -> "Done | None":
        """The same without the last accepted step and what came behind it; None where there is none before it."""
        accepted = [at for at, step in enumerate(self.steps) if step.report.accepted]
        if len(accepted) < 2:
            return None
        step = self.steps[accepted[-2]]
        small = step.reached.small
        return replace(
            self,
            model=small.model,
            masks=small.masks,
            sparsity=step.reached.sparsity,
            score=step.report.score_after,
            steps=tuple(
                replace(each, report=replace(each.report, accepted=False)) if at == accepted[-1] else each
                for at, each in enumerate(self.steps)
            ),
        )


@dataclass
class _Training:
    """Trains the models of stages, and gathers the figures of `fit`."""

    job: Job
    rows: list[dict[str, Any]] = field(default_factory=list)
    trained: list[tuple[Stage, keras.Model]] = field(default_factory=list)

    def __call__(self, stage: Stage, model: keras.Model) -> None:
        figures = self.job.retrain(model, stage.callbacks(), name=stage.name)
        self.trained.append((stage, model))
        self.rows += epoch_rows(len(self.trained), stage.granularity, figures)

    def best(self, ledger: Ledger) -> Reached:
        """What the stage reached that scores best, where none is accepted."""
        scores = [report.score_after if math.isfinite(report.score_after) else -math.inf for report in ledger.reports]
        index = max(range(len(scores)), key=scores.__getitem__)
        stage, model = self.trained[index]
        epochs = sum(row["stage"] == index + 1 for row in self.rows)
        reached = stage.end(ledger.kept, model).small.model
        return Reached(reached, stage.name, ledger.reports[index].score_after, epochs, tuple(self.rows))


def run_job(job: Job) -> Done:
    """Prune each granularity in turn, retrain, accept or undo; then fixed point, if it is asked for.

    Raises:
        ValueError: nothing to prune, a sparsity or budget out of reach, or a model that has no fixed-point form.
        RefusedError: no stage stayed within the tolerance.
    """
    ledger, training = Ledger(job.judge, Present.of(job.dense), tell=job.progress.line), _Training(job)
    smallest = Smallest(job, training.trained)
    run_stages(ledger, smallest.stages(ledger) if job.settings.smallest else prune_stages(job, ledger), training)
    accepted = [report.score_after for report in ledger.reports if report.accepted]
    if ledger.reports and not accepted:
        raise _refusal(ledger, training)
    if job.settings.fixed_point is not None and not is_fixed_point(ledger.kept.small.model):
        run_stages(ledger, [FixedPointStage(job, job.settings.fixed_point)], training)
        if not any(report.accepted for report in ledger.reports):
            raise _refusal(ledger, training)
    return Done(
        model=ledger.kept.small.model,
        masks=ledger.kept.small.masks,
        reports=ledger.reports,
        sparsity=ledger.kept.sparsity,
        score=accepted[-1] if accepted else job.judge.given,
        history=tuple(training.rows),
        steps=tuple(smallest.steps),
    )


def _refusal(ledger: Ledger, training: _Training) -> RefusedError:
    job, reports = training.job, ledger.reports
    metric = job.judge.metric
    tried = ", ".join(
        f"{report.granularity} at sparsity {report.sparsity:.2f}: {metric.text(report.score_after)}"
        for report in reports
    )
    return RefusedError(
        f"No stage stayed within the tolerance of {metric.difference(job.judge.tolerance)}. Received: validation "
        f"{metric.name} {metric.text(job.judge.given)} dense; {tried}. {job.settings.remedy}",
        training.best(ledger),
    )
