"""The stage that prunes one granularity by ADMM: pulled, cut, retrained."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import keras
import numpy as np

from tf_structprune.allocation import Allocation, Budget
from tf_structprune.callbacks import ADMM
from tf_structprune.layers import MaskedModel
from tf_structprune.masks import Granularity, kept_space
from tf_structprune.resume import State
from tf_structprune.stages import Begun, StageReport
from tflite_export.compress._allocate import allocate_budget
from tflite_export.compress._job import Job
from tflite_export.compress._prune_stage import SEARCH_SAMPLES, Present, demanded, wrapped
from tflite_export.compress._work import of_model

_PULLED = 3 / 5  # of the epochs


@dataclass
class ADMMStage:
    """Prunes one granularity by ADMM, by a share of what is left or to a budget; see `callbacks.ADMM`.

    Attributes:
        job: the run.
        name: "stage_1" and so on.
        granularity: what is pruned.
        share: fraction of the weights that are there to remove; 0 for a budget.
        total: prunable weights of the dense model.
        budgets: what the model may cost, in place of a share.
    """

    job: Job
    name: str
    granularity: str
    share: float
    total: int
    budgets: tuple[Budget, ...] = ()
    _goal: tuple[Granularity, float | Allocation] | None = field(default=None, init=False)  # found when it begins

    def begin(self, present: Present) -> Begun:
        """The model whose weights can be pulled; no mask is new yet.

        Raises:
            ValueError: nothing to prune, or a sparsity or budget out of reach.
        """
        settings = self.job.settings
        keras.utils.set_random_seed(settings.seed)  # of layers that draw, however many stages this process ran
        masked = wrapped(present.small, settings, self.granularity, admm=True)
        keep = present.goal * (1 - self.share) * self.total
        demands, sparsity = demanded(masked, self.granularity, keep, settings)
        allocation = self._allocated(masked) if self.budgets else None
        self._goal = (demands, sparsity if allocation is None else allocation)
        if allocation is not None:
            some = kept_space(masked.graph, allocation.kept, base=masked.masks).sample(np.random.default_rng(0))
            sparsity = masked.sparsity_with(some)
        before = self.job.judge.score(masked.model)
        gone = 1 - (1 - sparsity) * masked.graph.prunable_weights / self.total
        report = StageReport(
            self.granularity, "admm", gone, before, before, accepted=False, demands=demands, allocation=allocation
        )
        return Begun(masked.model, report)

    def callbacks(self) -> Sequence[keras.callbacks.Callback]:
        """What pulls, cuts, and lets the rest of the epochs retrain."""
        if self._goal is None:
            raise RuntimeError(f"Stage {self.name} has not begun. Call begin first.")
        demands, sparsity = self._goal
        epochs = self.job.settings.retraining(self.job.data.samples).epochs
        pulled = min(max(1, round(_PULLED * epochs)), epochs - 1)
        return [
            ADMM(
                sparsity,
                granularity=demands,
                admm_epochs=pulled,
                retrain_epochs=epochs - pulled,
                rho=self.job.settings.rho,
            )
        ]

    def end(self, present: Present, model: keras.Model) -> Present:
        """The shrunk model."""
        return present.pruned(model, self.share, self.total)

    def _allocated(self, masked: MaskedModel) -> Allocation:
        """How many maps each group is left; it is kept, and not searched again."""
        job, name, of = self.job, f"{self.name}_search", of_model(masked.model)
        if (known := job.work.known(name, of)) is not None:
            return Allocation.from_json(known.values["allocation"])
        samples = job.judge.validation.sample(SEARCH_SAMPLES, job.settings.seed)
        allocation = allocate_budget(masked, self.budgets, samples, job)
        job.work.keep(name, State({"allocation": allocation.to_json()}, {}), of)
        return allocation
