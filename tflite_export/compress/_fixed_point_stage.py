"""The stage that puts weights and signals in fixed point."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import keras
import numpy as np

from tf_structprune.callbacks import FixedPointTraining
from tf_structprune.fixed_point import FixedPoint
from tf_structprune.layers import to_fixed_point
from tf_structprune.stages import Begun, StageReport, calibrate
from tf_structprune.task import take
from tflite_export.compress._job import Job
from tflite_export.compress._prune_stage import Present

_CALIBRATION = 512


@dataclass(frozen=True)
class FixedPointStage:
    """Puts the grids in and trains the weights through them.

    Attributes:
        job: the run.
        recipe: word lengths of weights and signals.
        name: tells its files from those of other stages.
    """

    job: Job
    recipe: FixedPoint
    name: str = "fixed_point"
    granularity: ClassVar[str] = "fixed_point"

    def begin(self, present: Present) -> Begun:
        """The model with quantizers; the score before retraining is that with the grids fitted at once.

        Raises:
            ValueError: a model that has no fixed-point form.
        """
        settings = self.job.settings
        keras.utils.set_random_seed(settings.seed)  # of layers that draw, whatever this process did before
        at_once = to_fixed_point(present.small.model, self.recipe)
        calibrate(at_once, calibration_samples(self.job))
        before = self.job.judge.score(at_once)
        model = to_fixed_point(present.small.model, self.recipe)
        report = StageReport(self.granularity, "", present.sparsity, before, before, accepted=False, recipe=self.recipe)
        return Begun(model, report)

    def callbacks(self) -> Sequence[keras.callbacks.Callback]:
        """What fits the grids while it trains."""
        epochs = self.job.settings.retraining(self.job.data.samples).epochs
        return [
            FixedPointTraining(
                calibration_data=calibration_samples(self.job),
                signal_epoch=max(0, min(1, epochs - 1)),
                refit_epochs=epochs // 2,
            )
        ]

    def end(self, present: Present, model: keras.Model) -> Present:
        """The model in fixed point is what is exported."""
        return replace(present, small=replace(present.small, model=model))


def calibration_samples(job: Job) -> Any:
    """Some training samples, drawn by the seed, that grids are fitted to."""
    size = job.data.samples
    rng = np.random.default_rng(job.settings.seed)
    return take(job.data.x_train, rng.choice(size, min(_CALIBRATION, size), replace=False))
