"""The partial models of progressive pruning, and which of them the next round begins with."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tf_structprune.allocation import Allocation
from tf_structprune.resume import State

GIVEN = -1
"""The model that was given, as a source."""


@dataclass(frozen=True)
class ADMMReport:
    """One segment of training: from a source to a sparsity.

    Attributes:
        sparsity: fraction of the prunable weights that is gone.
        source: sparsity of the model that it began with.
        score: validation score at its end, higher is better; None without validation data.
        distance: how far the weights were from the pruned ones before they were cut, |W - Z| / |W|.
        accepted: whether it is within the tolerance; True without one.
    """

    sparsity: float
    source: float
    score: float | None
    distance: float
    accepted: bool


@dataclass(frozen=True)
class Segment:
    """What is trained from what.

    Attributes:
        round: index of its sparsity.
        sparsity: to reach.
        source: place of the partial model that it begins with, or `GIVEN`.
        last: whether the round ends with it.
    """

    round: int
    sparsity: float | Allocation
    source: int
    last: bool


def segments_of(sparsities: Sequence[float | Allocation], partials: int) -> tuple[Segment, ...]:
    """The first sparsities from the given model, each later one from every partial model that there is."""
    found = [Segment(at, sparsity, GIVEN, last=True) for at, sparsity in enumerate(sparsities[:partials])]
    for at, sparsity in enumerate(sparsities[partials:], partials):
        found += [Segment(at, sparsity, source, last=source == partials - 1) for source in range(partials)]
    return tuple(found)


@dataclass
class Model:
    """A model that a segment left: its sparsity, its score and its weights."""

    sparsity: float
    score: float
    accepted: bool
    weights: Sequence[NDArray[Any]] = field(repr=False, default=())


@dataclass
class Partials:
    """The models that progressive pruning keeps (Ye et al., arXiv 1810.07378, section 4).

    Attributes:
        given: the model that was given.
        kept: the partial models.
        best: the best of the round that runs, with the place of its source; None before the first.
        reached: the sparsest that was accepted; None before the first.
        reports: of all segments so far.
    """

    given: Model
    kept: list[Model] = field(default_factory=list)
    best: tuple[Model, int] | None = None
    reached: Model | None = None
    reports: list[ADMMReport] = field(default_factory=list)

    def source(self, segment: Segment) -> Model:
        """What a segment begins with."""
        return self.given if segment.source == GIVEN else self.kept[segment.source]

    def take(self, segment: Segment, made: Model, report: ADMMReport) -> None:
        """Keep what a segment made: the first ones all; later the best of a round, in the place of its source."""
        self.reports.append(report)
        if made.accepted and (self.reached is None or (made.sparsity, made.score) > _order(self.reached)):
            self.reached = made
        if segment.source == GIVEN:
            self.kept.append(made)
            return
        if self.best is None or made.score > self.best[0].score:
            self.best = made, segment.source
        if segment.last:
            winner, place = self.best
            self.kept[place], self.best = winner, None

    def to_state(self, values: Mapping[str, Any]) -> State:
        """What a later process needs to go on, with some values of its own."""
        others = [None if self.best is None else self.best[0], self.reached]
        models = [self.given, *self.kept, *(model for model in others if model is not None)]
        told = {
            "models": [{"sparsity": m.sparsity, "score": m.score, "accepted": m.accepted} for m in models],
            "kept": len(self.kept),
            "best": None if self.best is None else self.best[1],
            "reports": [asdict(report) for report in self.reports],
        }
        arrays = {f"{at} {of}": weight for at, m in enumerate(models) for of, weight in enumerate(m.weights)}
        return State(dict(values) | told, arrays)

    @classmethod
    def from_state(cls, state: State, like: Sequence[NDArray[Any]]) -> Self:
        """What `to_state` was given.

        Args:
            state: the state.
            like: weights of the model, which tell their types.
        """
        models = [
            Model(**told, weights=[typed(state.arrays[f"{at} {of}"], each) for of, each in enumerate(like)])
            for at, told in enumerate(state.values["models"])
        ]
        kept, place = int(state.values["kept"]), state.values["best"]
        rest = models[1 + kept :]
        best = None if place is None else (rest.pop(0), int(place))
        return cls(
            models[0],
            models[1 : 1 + kept],
            best,
            rest[0] if rest else None,
            [ADMMReport(**report) for report in state.values["reports"]],
        )


def _order(model: Model) -> tuple[float, float]:
    return model.sparsity, model.score


def typed(array: NDArray[Any], like: NDArray[Any]) -> NDArray[Any]:
    """An array in the type that NumPy does not know, such as bfloat16, which is written as bytes."""
    return array.view(like.dtype) if array.dtype.kind == "V" else np.asarray(array)
