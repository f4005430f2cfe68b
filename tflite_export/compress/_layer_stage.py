"""The stage that removes whole layers: those that the rest can best make up for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from tf_structprune.allocation import Budget, OutOfReachError
from tf_structprune.graph import trace
from tf_structprune.layers import rebuild
from tf_structprune.masks import MaskSet
from tf_structprune.resume import State
from tf_structprune.shrink import ShrinkPlan, ShrunkModel
from tf_structprune.stages import Begun, LayerChoice, StageReport, counted_cost, find_layers, remove_layers
from tf_structprune.task import take
from tflite_export.compress._allocate import MEASURED_SAMPLES, flash_bytes, integer_file, packed_arena_bytes
from tflite_export.compress._early_end import EarlyEnd
from tflite_export.compress._job import Job
from tflite_export.compress._prune_stage import Present, solving_samples
from tflite_export.compress._work import of_model
from tflite_export.file import TFLiteFile

_SCORED = 256  # samples that layers are chosen with


@dataclass(frozen=True)
class RemoveLayers:
    """Removes convolutions and residual blocks whole, by a share of the weights or to a budget; see `find_layers`.

    Attributes:
        job: the run.
        name: "stage_1"; layers go before anything else does.
        granularity: "layer".
        share: fraction of the weights to remove; 0 for a budget.
        total: prunable weights of the dense model.
        budgets: what the model may cost, in place of a share.
    """

    job: Job
    name: str
    granularity: str
    share: float
    total: int
    budgets: tuple[Budget, ...] = ()

    def begin(self, present: Present) -> Begun:
        """The model without the layers, which the rest makes up for.

        Raises:
            ValueError: no layer that may go, or a sparsity or budget out of reach.
        """
        settings, model = self.job.settings, present.small.model
        keras.utils.set_random_seed(settings.seed)
        self.job.progress.doing(f"{self.name}: which layers go")
        names = self._chosen(model)
        samples = None if settings.reconstruct == "none" else solving_samples(self.job)
        small = remove_layers(model, names, samples=samples, mode=settings.reconstruct, seed=settings.seed)
        before = self.job.judge.score(small)
        keras.utils.set_random_seed(settings.seed)
        report = StageReport(
            self.granularity,
            settings.reconstruct,
            self._gone(small),
            before,
            before,
            accepted=False,
            layers=names,
        )
        return Begun(small, report)

    def callbacks(self) -> Sequence[keras.callbacks.Callback]:
        """What ends the retraining early."""
        return (EarlyEnd(self.job.judge),) if self.job.settings.early_end else ()

    def end(self, present: Present, model: keras.Model) -> Present:
        """The model as it was trained."""
        small = ShrunkModel(rebuild(model, {}), MaskSet(), ShrinkPlan({}))
        return Present(small, present.goal * (1 - self.share), self._gone(model))

    def _gone(self, model: keras.Model) -> float:
        """The share of the prunable weights that a model lacks; there may be none left."""
        return 1 - trace(model, **self.job.settings.demands).prunable_weights / self.total

    def _chosen(self, model: keras.Model) -> tuple[str, ...]:
        """The layers that go; they are kept, and not searched again."""
        job, name, of = self.job, f"{self.name}_search", of_model(model)
        if (known := job.work.known(name, of)) is not None:
            return tuple(known.values["layers"])
        names = self._found(model).names
        job.work.keep(name, State({"layers": list(names)}, {}), of)
        return names

    def _found(self, model: keras.Model) -> LayerChoice:
        job, settings = self.job, self.job.settings
        least = (1 - self.share) * self.total

        def weights(small: keras.Model) -> float:
            return float(trace(small, **settings.demands).prunable_weights)

        costs = LayerCosts(job, self.budgets, model) if self.budgets else None
        try:
            return find_layers(
                model,
                (lambda small: weights(small) <= least) if costs is None else costs.meet,
                solving_samples(job, _SCORED),
                price=weights if costs is None else None,
                keep=settings.keep,
                mode=settings.reconstruct,
                seed=settings.seed,
                tell=lambda text: job.progress.doing(f"{self.name}: {text}"),
            )
        except OutOfReachError as error:
            raise OutOfReachError(f"{error}{'' if costs is None else costs.least}") from error


class LayerCosts:
    """What models cost, in terms of some budgets.

    Args:
        job: the run.
        budgets: what a model may cost.
        whole: the model of whose costs they are shares.
    """

    def __init__(self, job: Job, budgets: tuple[Budget, ...], whole: keras.Model) -> None:
        self._job, self._budgets = job, budgets
        self._few = take(job.data.x_train, slice(MEASURED_SAMPLES))
        self._whole = whole
        self._timed: tuple[TFLiteFile, float] | None = None
        self._most = {budget: budget.most(self._cost(whole, budget)) for budget in budgets}
        self._least: dict[Budget, float] = {}

    def meet(self, model: keras.Model) -> bool:
        """Whether a model meets all of them."""
        return all(self._costs_at_most(model, budget, most) for budget, most in self._most.items())

    @property
    def least(self) -> str:
        """The least that was seen of what is not met, in a sentence for people behind another one."""
        told = [
            f"{budget.text(least)} instead of {budget.text(self._most[budget])}"
            for budget, least in self._least.items()
            if least > self._most[budget]
        ]
        return f" The least that was reached: {', '.join(told)}." if told else ""

    def _costs_at_most(self, model: keras.Model, budget: Budget, most: float) -> bool:
        cost = self._cost(model, budget)
        self._least[budget] = min(cost, self._least.get(budget, cost))
        return cost <= most

    def _cost(self, model: keras.Model, budget: Budget) -> float:
        job = self._job
        if budget.kind in _OF_FILES:
            return float(_OF_FILES[budget.kind](integer_file(model, self._few, job), how=job.settings.pack))
        if budget.kind == "latency":
            return self._latency(model)
        return counted_cost(model, budget)

    def _latency(self, model: keras.Model) -> float:
        """Microseconds of the given model's file, times how much faster this one's is, timed in turns with it."""
        if self._timed is None:
            file = integer_file(self._whole, self._few, self._job)
            self._timed = file, float(np.median(self._job.device.latencies_us((file,), runs=_RUNS)))
        file, whole_us = self._timed
        if model is self._whole:
            return whole_us
        both = (file, integer_file(model, self._few, self._job))
        whole, here = np.median(self._job.device.latencies_us(both, runs=_RUNS), axis=1)
        return whole_us * float(here / whole)


_OF_FILES: dict[str, Any] = {"flash": flash_bytes, "arena": packed_arena_bytes}
_RUNS = 100
