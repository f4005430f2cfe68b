"""Which stages a run has: by its method, one a granularity."""

from tf_structprune.graph import trace
from tf_structprune.masks import stage_shares
from tf_structprune.stages import Stage
from tflite_export.compress._admm_stage import ADMMStage
from tflite_export.compress._job import Job
from tflite_export.compress._layer_stage import RemoveLayers
from tflite_export.compress._prune_stage import PruneStage
from tflite_export.compress._settings import LAYER, CompressSettings

_STAGES: dict[str, type[PruneStage] | type[ADMMStage]] = {"search": PruneStage, "admm": ADMMStage}


def prune_stages(job: Job) -> tuple[Stage, ...]:
    """The stages that the settings of a run ask for; none where only fixed point is asked for."""
    settings = job.settings
    if settings.fixed_point and not settings.sparsity:
        return ()
    total = trace(job.dense, **settings.demands).prunable_weights
    if isinstance(settings.sparsity, float | int):
        pairs = zip(settings.granularity, stage_shares(settings.sparsity, settings.granularity), strict=True)
        return tuple(
            _stage(kind, settings)(job, f"stage_{i}", kind, share, total) for i, (kind, share) in enumerate(pairs, 1)
        )
    (kind,) = settings.granularity
    # What a budget removes is known when it is allocated.
    return (_stage(kind, settings)(job, "stage_1", kind, 0.0, total, settings.budgets),)


def _stage(kind: str, settings: CompressSettings) -> type[PruneStage] | type[ADMMStage] | type[RemoveLayers]:
    return RemoveLayers if kind == LAYER else _STAGES[settings.method]
