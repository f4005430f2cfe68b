"""Which stages a run has: by its method, one a granularity."""

from tf_structprune.graph import trace
from tf_structprune.masks import FEATURE_MAP, stage_shares
from tf_structprune.stages import Stage
from tflite_export.compress._admm_stage import ADMMStage
from tflite_export.compress._job import Job
from tflite_export.compress._prune_stage import PruneStage

_STAGES: dict[str, type[PruneStage] | type[ADMMStage]] = {"search": PruneStage, "admm": ADMMStage}


def prune_stages(job: Job) -> tuple[Stage, ...]:
    """The stages that the settings of a run ask for; none where only fixed point is asked for."""
    settings = job.settings
    if settings.fixed_point and not settings.sparsity:
        return ()
    made, total = _STAGES[settings.method], trace(job.dense, **settings.demands).prunable_weights
    if isinstance(settings.sparsity, float | int):
        pairs = zip(settings.granularity, stage_shares(settings.sparsity, settings.granularity), strict=True)
        return tuple(made(job, f"stage_{i}", kind, share, total) for i, (kind, share) in enumerate(pairs, 1))
    # What a budget removes is known when it is allocated.
    return (made(job, "stage_1", FEATURE_MAP, 0.0, total, settings.budgets),)
