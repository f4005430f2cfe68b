"""Which stages a run has: by its method, one a granularity."""

from tf_structprune.graph import trace
from tf_structprune.masks import FEATURE_MAP, stage_shares
from tf_structprune.stages import Stage
from tflite_export.compress._admm_stage import ADMMStage
from tflite_export.compress._job import Job
from tflite_export.compress._pqk_stage import PQKStage
from tflite_export.compress._prune_stage import PruneStage

_STAGES: dict[str, type[PruneStage] | type[ADMMStage]] = {"search": PruneStage, "admm": ADMMStage}


def prune_stages(job: Job) -> tuple[Stage, ...]:
    """The stages that the settings of a run ask for; none where only fixed point is asked for."""
    settings = job.settings
    if settings.fixed_point and not settings.sparsity:
        return ()
    total = trace(job.dense, **settings.demands).prunable_weights
    if isinstance(settings.sparsity, float | int):
        shares = stage_shares(settings.sparsity, settings.granularity)
        *before, last = (
            (job, f"stage_{i}", kind, share, total)
            for i, (kind, share) in enumerate(zip(settings.granularity, shares, strict=True), 1)
        )
        if settings.method == "pqk":  # one network that is its own teacher at the end, after what a search took out
            return (*(PruneStage(*each) for each in before), PQKStage(*last))
        return tuple(_STAGES[settings.method](*each) for each in (*before, last))
    # What a budget removes is known when it is allocated.
    return (_STAGES[settings.method](job, "stage_1", FEATURE_MAP, 0.0, total, settings.budgets),)
