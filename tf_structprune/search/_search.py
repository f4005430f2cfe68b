"""What every selector is: propose candidates, hear their scores, remember the best."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tf_structprune.masks import Importance, MaskSet, MaskSpace


@dataclass(frozen=True)
class SearchState:
    """Everything a selector knows between two rounds.

    Attributes:
        round: rounds of proposals that were scored.
        population: candidates that the next proposals start from.
        scores: their scores, shape (population,).
        best: the best candidate ever scored; None before the first round.
        best_score: its score.
        done: whether the selector has nothing more to propose.
    """

    round: int = 0
    population: tuple[MaskSet, ...] = ()
    scores: tuple[float, ...] = ()
    best: MaskSet | None = None
    best_score: float = -np.inf
    done: bool = False

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Plain arrays, as `numpy.savez` takes them."""
        arrays: dict[str, NDArray[Any]] = {
            "round": np.array(self.round),
            "scores": np.array(self.scores, np.float64),
            "best_score": np.array(self.best_score),
            "done": np.array(self.done),
        }
        members = {str(index): masks for index, masks in enumerate(self.population)}
        if self.best is not None:
            members["best"] = self.best
        for member, masks in members.items():
            arrays.update({f"{member}|{key}": value for key, value in masks.to_arrays().items()})
        return arrays

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> "SearchState":
        """What `to_arrays` wrote."""
        members: dict[str, dict[str, NDArray[Any]]] = {}
        for key, value in arrays.items():
            member, bar, name = key.partition("|")
            if bar:
                members.setdefault(member, {})[name] = value
        best = members.pop("best", None)
        return cls(
            round=int(arrays["round"]),
            population=tuple(MaskSet.from_arrays(members[str(i)]) for i in range(len(members))),
            scores=tuple(float(score) for score in arrays["scores"]),
            best=None if best is None else MaskSet.from_arrays(best),
            best_score=float(arrays["best_score"]),
            done=bool(arrays["done"]),
        )


class Search(Protocol):
    """A selector: `init`, then `propose` and `update` in turn until the state is done.

    Selectors are small and hold settings only. All candidates of a mask space remove the same number of units from
    every block; those of an allocation's space share a cost and not their counts. A higher score is better.
    """

    @property
    def measure(self) -> str:
        """Name of the measure (`measure.MEASURES`) whose numbers `init` needs, "" for none."""

    def init(self, space: MaskSpace, importance: Importance, rng: np.random.Generator) -> SearchState:
        """State before the first round."""

    def propose(self, space: MaskSpace, state: SearchState, rng: np.random.Generator) -> tuple[MaskSet, ...]:
        """Candidates to be scored next, at least one while the state is not done."""

    def update(self, state: SearchState, candidates: tuple[MaskSet, ...], scores: tuple[float, ...]) -> SearchState:
        """State after their scores are known."""


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        masks: the best candidate.
        score: its score.
        scores: the score of every candidate in the order they were scored.
    """

    masks: MaskSet
    score: float
    scores: tuple[float, ...]


def remember_best(state: SearchState, candidates: tuple[MaskSet, ...], scores: tuple[float, ...]) -> SearchState:
    """Count the round and keep the best candidate ever seen; the earlier one wins a tie."""
    index = int(np.argmax(scores))
    if state.best is None or scores[index] > state.best_score:
        state = replace(state, best=candidates[index], best_score=scores[index])
    return replace(state, round=state.round + 1)


def find(
    search: Search,
    space: MaskSpace,
    score: Callable[[tuple[MaskSet, ...]], Sequence[float]],
    *,
    importance: Importance | None = None,
    seed: int = 0,
    enough: float | None = None,
    on_round: Callable[[SearchState], None] | None = None,
) -> SearchResult:
    """Run a selector to its end.

    Args:
        search: the selector.
        space: the candidates it may propose.
        score: scores of the candidates of one round, higher is better; the best of a round must have its exact one.
        importance: numbers of the measure that the selector asks for.
        seed: seed of all its draws.
        enough: score at which the search ends early; None to let the selector decide.
        on_round: called with the state after each round.

    Raises:
        ValueError: a score that is not a number, or a selector that proposes nothing.
    """
    rng = np.random.default_rng(seed)
    state = search.init(space, importance or {}, rng)
    history: list[float] = []
    while not state.done:
        candidates = search.propose(space, state, rng)
        scores = tuple(float(value) for value in score(candidates)) if candidates else ()
        if not scores:
            break
        if np.isnan(scores).any():
            raise ValueError(
                "A candidate's score is not a number. Received: nan. Check the model's outputs on the "
                "validation data, or the score function."
            )
        history += scores
        state = search.update(state, candidates, scores)
        if on_round is not None:
            on_round(state)
        if enough is not None and state.best_score >= enough:
            break
    if state.best is None:
        raise ValueError(f"{type(search).__name__} ended without a candidate. Let it propose at least one.")
    return SearchResult(state.best, state.best_score, tuple(history))
