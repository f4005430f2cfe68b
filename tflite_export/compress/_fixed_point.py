"""The last stage: weights and signals in fixed point, retrained, kept only within the tolerance."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from absl import logging

from tf_structprune.callbacks import FixedPointTraining, calibrate
from tf_structprune.fixed_point import FixedPoint
from tf_structprune.layers import to_fixed_point
from tf_structprune.scoring import Validation, as_score, check_validation
from tflite_export.compress._data import Data
from tflite_export.compress._settings import CompressSettings
from tflite_export.compress._train import retrain
from tflite_export.compress._work import NO_WORK, Work

_CALIBRATION = 512


@dataclass(frozen=True)
class FixedPointStage:
    """What became of the recipe; MCRs are of the validation data.

    Attributes:
        recipe: the word lengths.
        mcr_before_retraining: MCR with the grids fitted, nothing retrained.
        mcr_after_retraining: MCR after the last epoch.
        accepted: whether that is within the tolerance; if not, the integer file is TensorFlow's int8.
    """

    recipe: FixedPoint
    mcr_before_retraining: float
    mcr_after_retraining: float
    accepted: bool


def retrain_in_fixed_point(
    small: keras.Model,
    dense: keras.Model,
    data: Data,
    settings: CompressSettings,
    *,
    mcr_dense: float,
    verbose: int = 0,
    work: Work = NO_WORK,
) -> tuple[keras.Model | None, FixedPointStage, dict[str, list[float]]]:
    """Puts a model in fixed point and retrains it.

    Args:
        small: the pruned model; it is not changed.
        dense: the teacher, for `settings.distill`.
        data: training and validation data.
        settings: with a recipe in `fixed_point`.
        mcr_dense: validation MCR of the dense model, to which the tolerance is added.
        verbose: as for `fit`.
        work: where epochs are kept, so that an interrupted run goes on.

    Returns:
        The model in fixed point, None if it is not within the tolerance; what became of it; the figures of `fit`.

    Raises:
        ValueError: no recipe, or a model that has no fixed-point form.
    """
    if settings.fixed_point is None:
        raise ValueError("retrain_in_fixed_point needs a recipe. Received: fixed_point=None. Use FixedPoint(8, 8).")
    keras.utils.set_random_seed(settings.seed)  # of layers that draw, whatever this process did before
    judge = check_validation((data.x_val, data.y_val), as_score("mcr"), 512)
    rng = np.random.default_rng(settings.seed)
    samples = data.x_train[rng.choice(len(data.x_train), min(_CALIBRATION, len(data.x_train)), replace=False)]
    before = _without_training(small, settings.fixed_point, samples, judge)
    model = to_fixed_point(small, settings.fixed_point)
    length = settings.retraining(len(data.x_train)).epochs
    callback = FixedPointTraining(calibration_data=samples, signal_epoch=min(1, length - 1), refit_epochs=length // 2)
    epochs = work.epochs("fixed_point_epochs")
    figures = retrain(model, dense, data, settings, callbacks=[callback], verbose=verbose, states=epochs)
    after = -judge.of(model)
    accepted = after <= mcr_dense + settings.tolerance + 1e-9
    stage = FixedPointStage(settings.fixed_point, before, after, accepted)
    logging.info("Fixed point: %s", stage)
    return model if accepted else None, stage, figures


def _without_training(small: keras.Model, recipe: FixedPoint, samples: Any, judge: Validation) -> float:
    model = to_fixed_point(small, recipe)
    calibrate(model, samples)
    return -judge.of(model)
