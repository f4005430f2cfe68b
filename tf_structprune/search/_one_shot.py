"""Selectors that propose once: random masks and rankings."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tf_structprune.masks import FEATURE_MAP, Importance, MaskSet, MaskSpace
from tf_structprune.search._search import SearchState, remember_best


def check_count(name: str, value: int, least: int = 1) -> None:
    """Refuse a setting that is not a whole number of at least `least`."""
    if not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be a whole number. Received: {name}={value!r}. Use at least {least}.")


class _OneRound(ABC):
    """A selector that proposes once and is done; by default it needs no measure."""

    @property
    def measure(self) -> str:
        return ""

    def init(self, space: MaskSpace, importance: Importance, rng: np.random.Generator) -> SearchState:
        return SearchState()

    @abstractmethod
    def propose(self, space: MaskSpace, state: SearchState, rng: np.random.Generator) -> tuple[MaskSet, ...]:
        """The candidates of the only round."""

    def update(self, state: SearchState, candidates: tuple[MaskSet, ...], scores: tuple[float, ...]) -> SearchState:
        return replace(remember_best(state, candidates, scores), done=True)


class _Ranking(_OneRound):
    """A selector whose one candidate follows from the measure, made in `init`."""

    def propose(self, space: MaskSpace, state: SearchState, rng: np.random.Generator) -> tuple[MaskSet, ...]:
        return state.population


@dataclass(frozen=True)
class BestOfN(_OneRound):
    """Best of N random masks (Anwar and Sung, arXiv 1610.09639, section 2).

    Draws N candidates over all prunable layers jointly, scores each before any retraining and
    takes the best.

    Attributes:
        candidates: N. The papers find 50 enough up to 40 % sparsity; higher sparsities gain from
            more.
    """

    candidates: int = 50

    def __post_init__(self) -> None:
        check_count("candidates", self.candidates)

    def propose(self, space: MaskSpace, state: SearchState, rng: np.random.Generator) -> tuple[MaskSet, ...]:
        return tuple(space.sample(rng) for _ in range(self.candidates))


@dataclass(frozen=True)
class RandomMask(_OneRound):
    """One random mask: the baseline that every other selector has to beat."""

    def propose(self, space: MaskSpace, state: SearchState, rng: np.random.Generator) -> tuple[MaskSet, ...]:
        return (space.sample(rng),)


class _Top(_Ranking):
    """A selector that keeps the units of which the measure says most."""

    def init(self, space: MaskSpace, importance: Importance, rng: np.random.Generator) -> SearchState:
        return SearchState(population=(space.top(importance),))


@dataclass(frozen=True)
class Magnitude(_Top):
    """Keep the units of largest L1 norm (Li et al., arXiv 1608.08710)."""

    @property
    def measure(self) -> str:
        return "l1"


@dataclass(frozen=True)
class SquaredMagnitude(_Top):
    """Keep the units of largest L2 norm."""

    @property
    def measure(self) -> str:
        return "l2"


@dataclass(frozen=True)
class GeometricMedian(_Top):
    """Remove the maps nearest to the geometric median of their layer (He et al., arXiv 1811.00250)."""

    @property
    def measure(self) -> str:
        return "geometric_median"


@dataclass(frozen=True)
class NormalizationScale(_Top):
    """Keep the maps of largest batch normalization scale (Liu et al., arXiv 1708.06519)."""

    @property
    def measure(self) -> str:
        return "normalization_scale"


@dataclass(frozen=True)
class LeastSquares(_Top):
    """Remove what the other weights make up for best, one unit after the other (`measure.least_squares`)."""

    @property
    def measure(self) -> str:
        return "least_squares"


@dataclass(frozen=True)
class Taylor(_Top):
    """Remove what changes the loss on labelled samples least, to first order (Molchanov et al., arXiv 1906.10771)."""

    @property
    def measure(self) -> str:
        return "taylor"


@dataclass(frozen=True)
class ActivationVote(_Ranking):
    """Activation sum voting, for feature maps (Anwar, thesis, Seoul National University 2017).

    Each validation image votes for the maps of least summed |activation|, as many as are to be
    removed; the maps with most votes go, the smaller mean sum decides a tie.
    """

    @property
    def measure(self) -> str:
        return "activation_sums"

    def init(self, space: MaskSpace, importance: Importance, rng: np.random.Generator) -> SearchState:
        if space.granularity != FEATURE_MAP:
            raise ValueError(
                f"ActivationVote ranks feature maps only. Received: granularity={space.granularity!r}. "
                "Use BestOfN or ParticleFilter for kernels and patterns."
            )
        keep_votes = {
            name: _keep_value(np.where(space.alive[name], importance[name], np.inf), lost)
            for name, lost in space.removed.items()
        }
        return SearchState(population=(space.top(keep_votes),))


def _keep_value(sums: NDArray[np.float64], removed: int) -> NDArray[np.float64]:
    """Minus the votes of each map; the mean sum, scaled below one vote, breaks ties.

    Args:
        sums: summed |activation|, shape (images, maps); infinite for maps that are gone already.
        removed: how many maps each image votes for.
    """
    least = np.argsort(sums, axis=1, kind="stable")[:, :removed]
    votes = np.bincount(least.ravel(), minlength=sums.shape[1])
    mean = np.where(np.isfinite(sums), sums, 0).mean(axis=0)
    return np.asarray(mean / (mean.max() * (1 + 1e-9) + 1e-30) - votes, np.float64)
