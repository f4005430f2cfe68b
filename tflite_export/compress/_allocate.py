"""How the budget of a run is allocated."""

from absl import logging

from tf_structprune.allocation import Allocation, Budget
from tf_structprune.layers import MaskedModel
from tf_structprune.stages import allocate
from tf_structprune.task import Validation, take
from tflite_export.bench import latency_cost
from tflite_export.compress._job import Job

_TIMED_SAMPLES = 16  # for the ranges of the signals, on which the time does not depend


def allocate_budget(masked: MaskedModel, budget: Budget, samples: Validation, job: Job) -> Allocation:
    """The allocation that the settings ask for; a latency is that of the int8 file.

    Args:
        masked: the model as it is now; it is left as it was.
        budget: what it may cost.
        samples: what candidates are scored on.
        job: the run: method, seed, who scores, and training samples for the files that are timed.
    """
    settings = job.settings
    cost = None
    if budget.kind == "latency":
        cost = latency_cost(
            masked.model,
            device=job.device,
            quantize="int8",
            representative_data=take(job.data.x_train, slice(_TIMED_SAMPLES)),
        )
    found = allocate(
        masked,
        budget,
        validation_data=(samples.x, samples.y),
        method=settings.allocation,
        score=samples.score,
        cost=cost,
        seed=settings.seed,
        batch_size=samples.batch_size,
        executor=settings.scorer,
    )
    logging.info("Allocation: %s", found)
    return found
