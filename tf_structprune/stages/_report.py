"""What became of one stage."""

from dataclasses import dataclass

from tf_structprune.allocation import Allocation
from tf_structprune.fixed_point import FixedPoint
from tf_structprune.masks import Granularity
from tf_structprune.task import Interval


@dataclass(frozen=True)
class StageReport:
    """What became of one stage.

    Attributes:
        granularity: what it pruned, "layer" or "fixed_point".
        search: name of the selector, "" without one.
        sparsity: fraction of the prunable weights that is gone after it.
        score_before: validation score before retraining, higher is better.
        score_after: validation score when it was accepted or given up.
        accepted: whether that is within the tolerance; if not, the stage was undone.
        interval: what is known of the loss of score since the model was given; None where the score does not tell.
        demands: what its masks had to be like, where it has any.
        allocation: how many maps each group was left, where a budget was asked for.
        recipe: the word lengths, in fixed point.
        layers: what went whole, in order.
    """

    granularity: str
    search: str
    sparsity: float
    score_before: float
    score_after: float
    accepted: bool
    interval: Interval | None = None
    demands: Granularity | None = None
    allocation: Allocation | None = None
    recipe: FixedPoint | None = None
    layers: tuple[str, ...] = ()
