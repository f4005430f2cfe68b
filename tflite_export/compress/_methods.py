"""Which stages a run has: by its method, one a granularity."""

from tf_structprune.graph import trace
from tf_structprune.masks import stage_shares
from tf_structprune.stages import Stage
from tflite_export.compress._admm_stage import ADMMStage
from tflite_export.compress._job import Job
from tflite_export.compress._layer_stage import RemoveLayers
from tflite_export.compress._prune_stage import PruneStage
from tflite_export.compress._settings import LAYER
from tflite_export.compress._stepwise_stage import StepwiseStage


def prune_stages(job: Job) -> tuple[Stage, ...]:
    """The stages that the settings of a run ask for; none where only fixed point is asked for."""
    settings = job.settings
    if settings.fixed_point and not settings.sparsity:
        return ()
    total = trace(job.dense, **settings.demands).prunable_weights
    shares: tuple[float, ...] = (0.0,)  # what a budget removes is known when it is allocated
    if isinstance(settings.sparsity, float | int):
        shares = stage_shares(settings.sparsity, settings.granularity)
    pairs = zip(settings.granularity, shares, strict=True)
    return tuple(_stage(job, index, kind, share, total) for index, (kind, share) in enumerate(pairs, 1))


def _stage(job: Job, index: int, kind: str, share: float, total: int) -> Stage:
    """A stage of a run, counted from 1."""
    settings, of = job.settings, (job, f"stage_{index}", kind, share, total)
    if kind == LAYER:
        return RemoveLayers(*of, settings.budgets)
    if settings.method == "admm":
        return ADMMStage(*of, settings.budgets)
    if settings.method in ("pqk", "joint") and index == len(settings.granularity):
        return StepwiseStage(*of)  # one network that trains with its words and masks, after what a search took out
    return PruneStage(*of, settings.budgets)
