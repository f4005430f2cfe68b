"""The way to the smallest model within the tolerance: step by step, and half a step where one is refused."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import keras
import numpy as np

from tf_structprune.allocation import MEASURED, Budget, Choices, CountedCost
from tf_structprune.graph import trace, weight_shapes
from tf_structprune.masks import FEATURE_MAP
from tf_structprune.stages import Ledger, Stage, StageReport
from tflite_export.compress._job import Job
from tflite_export.compress._prune_stage import Present, PruneStage

FIRST_STEP = 0.25
"""Share of what is left that the first step takes."""
LEAST_STEP = 0.05
"""Steps are halved down to this one: a smaller one is not worth a retraining."""


@dataclass(frozen=True)
class Step:
    """A step on the way.

    Attributes:
        name: of the stage that it was.
        report: what became of it.
        reached: what it led to, whether it was accepted or not.
    """

    name: str
    report: StageReport
    reached: Present


@dataclass
class Smallest:
    """The stages of a run that goes on as long as the tolerance holds.

    The first stage meets the budgets, if there are any. From there each takes a share of the cost that is left; one
    that is refused halves the share, and the next begins with what was accepted before it. The floor of the settings is
    that of the channels which a step finds, not of the given model's: step by step groups go below it as far as the
    tolerance allows, and where a step cannot be made with it, it gives way as for any budget.

    Attributes:
        job: the run.
        trained: the stages that were trained so far and their models, which the run appends to.
        steps: those that were taken, in order.
    """

    job: Job
    trained: Sequence[tuple[Stage, keras.Model]]
    steps: list[Step] = field(default_factory=list)

    def stages(self, ledger: Ledger) -> Iterator[PruneStage]:
        """The stages, each made when the one before it is judged.

        Args:
            ledger: of the run.
        """
        total = trace(self.job.dense, **self.job.settings.demands).prunable_weights
        share, budgets = FIRST_STEP, self.job.settings.budgets
        while share >= LEAST_STEP:
            budgets = budgets or self._next(ledger.kept, share)
            if not budgets:
                return
            name, before = f"stage_{len(self.steps) + 1}", ledger.kept
            stage = PruneStage(self.job, name, FEATURE_MAP, 0.0, total, budgets)
            yield stage
            report = ledger.reports[-1]
            reached = ledger.kept if report.accepted else stage.end(before, self.trained[-1][1])
            self.steps.append(Step(stage.name, report, reached))
            if not report.accepted:
                if self.job.settings.budgets and not self.accepted:
                    return  # a smaller model than the budgets ask for loses no less
                share /= 2
            budgets = ()

    @property
    def accepted(self) -> tuple[Step, ...]:
        """The steps that were kept, the smallest model last."""
        return tuple(step for step in self.steps if step.report.accepted)

    @property
    def falling(self) -> Budget:
        """What falls from step to step: the first cost of the budgets that is counted, else MACs."""
        counted = [budget for budget in self.job.settings.budgets if budget.kind not in MEASURED]
        return counted[0] if counted else Budget("macs", 1.0)

    def _next(self, present: Present, share: float) -> tuple[Budget, ...]:
        """The budget of a step that takes a share of what is left, or all that may go; none where nothing may."""
        model, budget = present.small.model, self.falling
        graph = trace(model, **self.job.settings.demands)
        if not graph.prunable_groups:
            return ()
        count, choices = CountedCost.of(budget, graph, weight_shapes(model, graph)), Choices.of(graph)
        now, least = (float(count(choices.kept(steps))) for steps in (np.zeros_like(choices.most), choices.most))
        if least >= now:
            return ()
        return (Budget(budget.kind, weight_bits=budget.weight_bits, limit=max(least, (1 - share) * now)),)
