"""Which stages a run has: by its method, one a granularity, or one a round of it."""

import math
from collections.abc import Iterator
from dataclasses import replace

from tf_structprune.graph import trace
from tf_structprune.masks import stage_shares
from tf_structprune.stages import Ledger, Stage
from tflite_export.compress._admm_stage import ADMMStage
from tflite_export.compress._job import Job
from tflite_export.compress._layer_stage import RemoveLayers
from tflite_export.compress._prune_stage import PruneStage
from tflite_export.compress._settings import LAYER
from tflite_export.compress._stepwise_stage import StepwiseStage

_ROUND = 0.2  # of what is left, that goes in a round of iterative pruning


def prune_stages(job: Job, ledger: Ledger) -> Iterator[Stage]:
    """The stages that the settings of a run ask for, each when the one before is judged; none for fixed point alone.

    Rounds of iterative pruning (Frankle and Carbin, arXiv 1803.03635; each retrained from the weights that are left,
    only the rate begun anew: Renda et al., arXiv 2003.02389) end with the first that is taken back.

    Args:
        job: the run.
        ledger: its own.
    """
    settings = job.settings
    if settings.fixed_point and not settings.sparsity:
        return
    total = trace(job.dense, **settings.demands).prunable_weights
    shares: tuple[float, ...] = (0.0,)  # what a budget removes is known when it is allocated
    if isinstance(settings.sparsity, float | int):
        shares = stage_shares(settings.sparsity, settings.granularity)
    index = 0
    for kind, share in zip(settings.granularity, shares, strict=True):
        for part in _rounds(share) if settings.method == "imp" and kind != LAYER else (share,):
            index += 1
            yield _stage(job, index, kind, part, total)
            if not ledger.reports[-1].accepted:
                break  # further rounds would begin where this one did


def _rounds(share: float) -> tuple[float, ...]:
    """What each round removes of what it finds, so that all together remove a share."""
    count = max(1, math.ceil(math.log(1 - share) / math.log(1 - _ROUND) - 1e-9))
    return *(_ROUND,) * (count - 1), 1 - (1 - share) / (1 - _ROUND) ** (count - 1)


def _stage(job: Job, index: int, kind: str, share: float, total: int) -> Stage:
    """A stage of a run, counted from 1."""
    settings, of = job.settings, (job, f"stage_{index}", kind, share, total)
    if kind == LAYER:
        return RemoveLayers(*of, settings.budgets)
    if settings.method == "admm":
        return ADMMStage(*of, settings.budgets)
    if settings.method == "imp":
        job = replace(job, settings=replace(settings, search="magnitude"))
        return PruneStage(job, *of[1:])
    if settings.method in ("pqk", "joint") and index == len(settings.granularity):
        return StepwiseStage(*of)  # one network that trains with its words and masks, after what a search took out
    return PruneStage(*of, settings.budgets)
