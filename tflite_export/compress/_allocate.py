"""How the budget of a run is allocated."""

import keras
from absl import logging

from tf_structprune.allocation import Allocation, Budget
from tf_structprune.callbacks import allocate
from tf_structprune.scoring import Validation
from tflite_export.bench import Device, latency_cost
from tflite_export.compress._data import Data
from tflite_export.compress._settings import CompressSettings

_TIMED_SAMPLES = 16  # for the ranges of the signals, on which the time does not depend


def allocate_budget(
    masked: keras.Model, budget: Budget, images: Validation, *, data: Data, settings: CompressSettings, device: Device
) -> Allocation:
    """The allocation that the settings ask for; a latency is that of the int8 file.

    Args:
        masked: the model as it is now; it is left as it was.
        budget: what it may cost.
        images: what candidates are scored on.
        data: training samples for the files that are timed.
        settings: method, seed, and who scores.
        device: what times the files.
    """
    cost = None
    if budget.kind == "latency":
        cost = latency_cost(masked, device=device, quantize="int8", representative_data=data.x_train[:_TIMED_SAMPLES])
    found = allocate(
        masked,
        budget,
        validation_data=(images.x, images.y),
        method=settings.allocation,
        score=images.score,
        cost=cost,
        seed=settings.seed,
        batch_size=images.batch_size,
        executor=settings.scorer,
    )
    logging.info("Allocation: %s", found)
    return found
