"""What runs candidates, and who makes one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tf_structprune.layers import MaskedModel
from tf_structprune.masks import MaskSet
from tf_structprune.scoring._changes import Change
from tf_structprune.scoring._local_bench import LocalBench
from tf_structprune.task import Validation


class Bench(Protocol):
    """Runs candidates of a masked model on samples, round after round."""

    def change(self, candidate: MaskSet) -> Change:
        """A candidate on top of the masks that the model has."""

    def begin(self, changes: Sequence[Change]) -> None:
        """Get ready for a round of candidates."""

    def values(self, changes: Sequence[Change], batches: Sequence[int]) -> NDArray[np.float64]:
        """Scores of some candidates of the round, shape (candidates, samples of the batches); only if `by_sample`."""

    def outputs(self, changes: Sequence[Change]) -> list[Any]:
        """Outputs of some candidates on all samples, in the order of the samples as they were given."""

    def score_of(self, outputs: Any) -> float:
        """Score of outputs on all samples."""

    @property
    def sizes(self) -> list[int]:
        """Samples of each batch."""

    @property
    def by_sample(self) -> bool:
        """Whether each sample has a score by itself."""

    def close(self) -> None:
        """Let go of what is held elsewhere."""


class Executor(Protocol):
    """Where candidates are run."""

    def bench(self, masked: MaskedModel, validation: Validation, order: NDArray[np.int64], *, batch_size: int) -> Bench:
        """What runs them.

        Args:
            masked: the model, whose weights must stay as they are; it is not changed.
            validation: samples, targets and score.
            order: indices of all samples in the order of the batches, shape (samples,).
            batch_size: samples a batch.
        """


@dataclass(frozen=True)
class LocalExecutor:
    """Runs candidates in this process."""

    def bench(
        self, masked: MaskedModel, validation: Validation, order: NDArray[np.int64], *, batch_size: int
    ) -> LocalBench:
        """What runs them."""
        return LocalBench(masked, validation, order, batch_size=batch_size)
