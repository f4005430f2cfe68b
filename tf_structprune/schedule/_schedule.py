"""When a stage reaches which sparsity."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol


class Schedule(Protocol):
    """How the sparsity of a stage grows from epoch to epoch."""

    def sparsity_at(self, epoch: int, steps_per_epoch: int, final: float) -> float | None:
        """The sparsity that the masks should have when an epoch begins.

        Args:
            epoch: epochs since the stage began, from 0.
            steps_per_epoch: training batches of an epoch.
            final: sparsity at the end of the stage.

        Returns:
            A sparsity in [0, final], or None to leave the masks as they are.
        """


@dataclass(frozen=True)
class OneShot:
    """All at once: the final sparsity when the stage begins, or some epochs later.

    Attributes:
        begin_epoch: epochs of the stage before it is pruned.
    """

    begin_epoch: int = 0

    def __post_init__(self) -> None:
        _check_epochs("begin_epoch", self.begin_epoch, least=0)

    def sparsity_at(self, epoch: int, steps_per_epoch: int, final: float) -> float | None:
        return final if epoch >= self.begin_epoch else None


@dataclass(frozen=True)
class Gradual:
    """Step by step: s(t) = final * (1 - (1 - t)^power), t the share of the epochs begun.

    With power 3 the cubic schedule of Zhu and Gupta, arXiv 1710.01878, equation 1.

    Attributes:
        epochs: epochs over which the sparsity grows; the final one is reached in the last of them.
        begin_epoch: epochs of the stage before the first step.
        power: 1 is linear; higher powers prune more in the early steps.
    """

    epochs: int = 5
    begin_epoch: int = 0
    power: float = 3.0

    def __post_init__(self) -> None:
        _check_epochs("epochs", self.epochs, least=1)
        _check_epochs("begin_epoch", self.begin_epoch, least=0)
        if not self.power > 0:
            raise ValueError(f"power must be positive. Received: power={self.power}. Use e.g. 3.")

    def sparsity_at(self, epoch: int, steps_per_epoch: int, final: float) -> float | None:
        if epoch < self.begin_epoch:
            return None
        share = min(1.0, (epoch - self.begin_epoch + 1) / self.epochs)
        return final if share == 1 else final * (1 - (1 - share) ** self.power)


@dataclass(frozen=True)
class StepSchedule:
    """A tfmot `PruningSchedule`, or any `schedule(step) -> (update, sparsity)`, asked at epoch ends.

    Between two epochs it takes the sparsity of the latest step that asked for an update. The
    object's own sparsities count; the stage's final sparsity is not used.

    Attributes:
        schedule: the callable; a step is one training batch, counted from the stage's begin.
    """

    schedule: Callable[[int], tuple[Any, Any]]

    def sparsity_at(self, epoch: int, steps_per_epoch: int, final: float) -> float | None:
        present = epoch * steps_per_epoch
        for step in range(present, max(-1, present - steps_per_epoch), -1):
            update, sparsity = self.schedule(step)
            if bool(update):
                return float(sparsity)
        return None


def as_schedule(schedule: Any) -> Schedule:
    """A schedule as it is; a tfmot `PruningSchedule` or plain callable wrapped in `StepSchedule`.

    Raises:
        TypeError: neither a schedule nor callable.
    """
    if hasattr(schedule, "sparsity_at"):
        own: Schedule = schedule
        return own
    if callable(schedule):
        return StepSchedule(schedule)
    raise TypeError(
        f"schedule must be a schedule or a tfmot PruningSchedule. Received: schedule={schedule!r}. "
        "Use e.g. OneShot() or Gradual(epochs=5)."
    )


def _check_epochs(name: str, value: int, least: int) -> None:
    if not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be a whole number. Received: {name}={value!r}. Use at least {least}.")
