"""Where a run of iterative pruning stands, as an object and as a state that can be kept in a file."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from numpy.typing import NDArray

from tf_structprune.callbacks._partial import Model, typed
from tf_structprune.resume import State

Weights = Sequence[NDArray[Any]]

_ROUNDING = 1e-9


@dataclass(frozen=True)
class RoundReport:
    """One round: cut, rewound, trained.

    Attributes:
        sparsity: fraction of the prunable weights that is gone.
        score: validation score at its end, higher is better; None without validation data.
        accepted: whether it is within the tolerance; True without one.
    """

    sparsity: float
    score: float | None
    accepted: bool


def sparsities_of(present: float, sparsity: float, share: float) -> tuple[float, ...]:
    """The sparsities of the rounds: each removes the same share of what is left, the last one what is missing.

    Args:
        present: of the model that is given.
        sparsity: of the last round.
        share: removed in a round, in (0, 1).
    """
    kept, found = 1 - present, []
    while kept * (1 - share) > 1 - sparsity + _ROUNDING:
        kept *= 1 - share
        found.append(1 - kept)
    return (*found, sparsity) if sparsity > present + _ROUNDING else ()


@dataclass
class Rounds:
    """What iterative pruning keeps.

    Attributes:
        present: sparsity of the model that was given.
        origin: weights that later rounds begin with; None before they are known, or where there are none.
        dense: the model before the first cut; None until then.
        reached: the sparsest that was accepted; None before the first.
        reports: of all rounds so far.
    """

    present: float
    origin: Weights | None = field(repr=False, default=None)
    dense: Model | None = None
    reached: Model | None = None
    reports: list[RoundReport] = field(default_factory=list)

    def take(self, made: Model, report: RoundReport) -> None:
        """Keep what a round made."""
        self.reports.append(report)
        if made.accepted:
            self.reached = made

    def to_state(self, seeds: Weights) -> State:
        """What a later process needs to go on.

        Args:
            seeds: states of the network's random numbers.
        """
        told: dict[str, Any] = {"present": self.present, "reports": [asdict(report) for report in self.reports]}
        arrays = {f"seed {at}": seed for at, seed in enumerate(seeds)}
        kept = {"origin": self.origin, "dense": self.dense, "reached": self.reached}
        for name, each in kept.items():
            told[name] = {"sparsity": each.sparsity, "score": each.score} if isinstance(each, Model) else bool(each)
            weights = each.weights if isinstance(each, Model) else each or ()
            arrays |= {f"{name} {at}": weight for at, weight in enumerate(weights)}
        return State(told, arrays)

    @classmethod
    def from_state(cls, state: State, like: Weights) -> Self:
        """What `to_state` was given.

        Args:
            state: the state.
            like: weights of the model, which tell their types.
        """

        def weights(name: str) -> list[NDArray[Any]]:
            return [typed(state.arrays[f"{name} {at}"], each) for at, each in enumerate(like)]

        def model(name: str) -> Model | None:
            told = state.values[name]
            return Model(told["sparsity"], told["score"], True, weights(name)) if told else None

        return cls(
            float(state.values["present"]),
            weights("origin") if state.values["origin"] else None,
            model("dense"),
            model("reached"),
            [RoundReport(**report) for report in state.values["reports"]],
        )
