"""The stage that prunes step by step while it trains, in fixed point at once where that is asked for."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import keras

from tf_structprune.callbacks import PQK, FixedPointTraining, TaylorPruning
from tf_structprune.graph import trace
from tf_structprune.layers import MaskedModel, to_fixed_point, wrap
from tf_structprune.masks import Granularity, MaskSet, Weight
from tf_structprune.schedule import OneShot
from tf_structprune.shrink import ShrunkModel
from tf_structprune.stages import Begun, StageReport
from tflite_export.compress._fixed_point_stage import calibration_samples
from tflite_export.compress._job import Job
from tflite_export.compress._prune_stage import Present, demanded, labelled_samples, wrapped
from tflite_export.compress._train import compiled_for

_PRUNED = 1 / 2  # of the epochs


@dataclass
class StepwiseStage:
    """Prunes one granularity and puts the model in fixed point at once, where that is asked for.

    By the method of the settings: "pqk", see `callbacks.PQK`; "joint", see `callbacks.TaylorPruning`.

    Attributes:
        job: the run.
        name: "stage_1" and so on.
        granularity: what is pruned.
        share: fraction of the weights that are there to remove.
        total: prunable weights of the dense model.
    """

    job: Job
    name: str
    granularity: str
    share: float
    total: int
    _goal: tuple[Granularity, float, MaskSet] | None = field(default=None, init=False)  # found when it begins

    def begin(self, present: Present) -> Begun:
        """The model with masks, and with quantizers where there are to be any; no mask is new yet.

        Raises:
            ValueError: nothing to prune, a sparsity out of reach, or a model that has no fixed-point form.
        """
        settings = self.job.settings
        keras.utils.set_random_seed(settings.seed)  # of layers that draw, however many stages this process ran
        before = self.job.judge.score(present.small.model)
        masked = (
            wrapped(present.small, settings, self.granularity)
            if settings.fixed_point is None
            else self._in_words(present.small)
        )
        keep = present.goal * (1 - self.share) * self.total
        demands, sparsity = demanded(masked, self.granularity, keep, settings)
        self._goal = (demands, sparsity, masked.masks)
        if settings.method == "joint":  # Taylor scores follow its loss, also where it is trained beside a teacher
            masked.model.compile("sgd", **compiled_for(masked.model, self.job.task), jit_compile=False)
        gone = 1 - (1 - sparsity) * masked.graph.prunable_weights / self.total
        report = StageReport(
            self.granularity,
            settings.method,
            gone,
            before,
            before,
            accepted=False,
            demands=demands,
            recipe=settings.fixed_point,
        )
        return Begun(masked.model, report)

    def callbacks(self) -> Sequence[keras.callbacks.Callback]:
        """What prunes and rounds, and for PQK brings the teacher in for the rest of the epochs."""
        epochs = self.job.settings.retraining(self.job.data.samples).epochs
        pruned = min(max(1, round(_PRUNED * epochs)), epochs - 1)
        found = [self._pruning(pruned)]
        if self.job.settings.fixed_point is not None:
            samples = calibration_samples(self.job)
            found.append(FixedPointTraining(calibration_data=samples, signal_epoch=1, refit_epochs=pruned))
        return found

    def end(self, present: Present, model: keras.Model) -> Present:
        """The shrunk model, in fixed point if it is."""
        return present.pruned(model, self.share, self.total)

    def _pruning(self, epochs: int) -> keras.callbacks.Callback:
        """What chooses masks at the beginnings of so many epochs."""
        if self._goal is None:
            raise RuntimeError(f"Stage {self.name} has not begun. Call begin first.")
        demands, sparsity, given = self._goal
        if self.job.settings.method == "joint":
            samples = labelled_samples(self.job)
            return TaylorPruning(sparsity, samples=samples, prune_epochs=epochs, granularity=demands, given=given)
        # Masks of n:m have one sparsity, and none on the way.
        schedule = OneShot() if isinstance(demands, Weight) and demands.n is not None else None
        return PQK(sparsity, granularity=demands, prune_epochs=epochs, schedule=schedule)

    def _in_words(self, small: ShrunkModel) -> MaskedModel:
        """A model in fixed point with masks on what may be pruned of the float one.

        What was normalization or rescaling is a layer with a kernel there, and might be taken for the first one.
        """
        settings = self.job.settings
        fixed = to_fixed_point(small.model, settings.fixed_point)
        prunable = {layer.name.replace("/", "-") for layer in trace(small.model, **settings.demands).prunable_layers}
        kept = tuple(layer.name for layer in trace(fixed).layers if layer.name not in prunable)
        demands = settings.demands | {"keep": kept, "keep_first": False, "keep_last": False}
        # Masks of the stages before are zeros in its kernels, which stay so.
        return MaskedModel(wrap(fixed, granularity=self.granularity, **demands))
