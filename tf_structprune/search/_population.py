"""Selectors that move a population: the particle filter, plain and evolutionary."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tf_structprune.masks import Importance, MaskSet, MaskSpace
from tf_structprune.search._one_shot import check_count
from tf_structprune.search._search import Search, SearchState, remember_best


def weights_of(scores: NDArray[np.float64], sharpness: float) -> NDArray[np.float64]:
    """Particle weights proportional to exp(sharpness * score), summing to 1."""
    gap, worse = np.zeros(len(scores)), scores < scores.max()
    gap[worse] = scores[worse] - scores.max()  # only here: the scores may be infinite, e.g. a loss that blew up
    raw = np.exp(sharpness * gap)
    normalized: NDArray[np.float64] = raw / raw.sum()
    return normalized


def systematic_resample(weights: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Indices of the survivors: one uniform draw, then equal steps through the weights.

    Particle i survives floor(n w_i) or ceil(n w_i) times, shape (particles,).
    """
    count = len(weights)
    points = (rng.random() + np.arange(count)) / count
    cumulated = np.cumsum(weights)
    cumulated[-1] = 1.0  # rounding must not lose the last point
    return np.searchsorted(cumulated, points, side="right").astype(np.int64)


def effective_count(weights: NDArray[np.float64]) -> float:
    """N_eff = 1 / sum w_i^2, between 1 and the number of particles."""
    return float(1 / np.square(weights).sum())


class _Population(ABC):
    """A selector whose first candidates are random, or near to those of another one, and whose later ones come from
    scored ones."""

    particles: int
    swap_fraction: float
    first: Search | None

    @property
    def measure(self) -> str:
        return "" if self.first is None else self.first.measure

    def init(self, space: MaskSpace, importance: Importance, rng: np.random.Generator) -> SearchState:
        if self.first is None:
            return SearchState()
        return SearchState(population=self.first.propose(space, self.first.init(space, importance, rng), rng))

    def propose(self, space: MaskSpace, state: SearchState, rng: np.random.Generator) -> tuple[MaskSet, ...]:
        if state.scores:
            return self.next_generation(space, state, rng)
        found = state.population[: self.particles]
        left = range(self.particles - len(found))
        if not found:
            return tuple(space.sample(rng) for _ in left)
        return *found, *(space.perturb(found[at % len(found)], self.swap_fraction, rng) for at in left)

    @abstractmethod
    def next_generation(self, space: MaskSpace, state: SearchState, rng: np.random.Generator) -> tuple[MaskSet, ...]:
        """Candidates made from a scored population."""


@dataclass(frozen=True)
class ParticleFilter(_Population):
    """Sequential importance resampling over masks (Anwar, Hwang and Sung, arXiv 1512.08571).

    A particle is a candidate; its weight is proportional to exp(sharpness * score), with the
    default score exp(-lambda * MCR). When the effective number of particles falls below half,
    they are resampled systematically; then each is perturbed by swapping kept and removed units,
    which keeps the sparsity exact. The best candidate ever scored is the result.

    Attributes:
        particles: population size.
        generations: rounds of scoring; particles * generations candidates are scored in all.
        sharpness: lambda, by which a score difference of 1 counts in the exponent.
        swap_fraction: share of the removed units that a perturbation moves.
        first: selector whose candidates are the first particles, the others perturbed copies of them, e.g.
            `LeastSquares()`: the result is never worse than they are on the score. None for random ones.
    """

    particles: int = 10
    generations: int = 5
    sharpness: float = 50.0
    swap_fraction: float = 0.1
    first: Search | None = None

    def __post_init__(self) -> None:
        _check_population(self.particles, self.generations, self.sharpness, self.swap_fraction)

    def next_generation(self, space: MaskSpace, state: SearchState, rng: np.random.Generator) -> tuple[MaskSet, ...]:
        parents = _survivors(state, self.sharpness, rng)
        return tuple(space.perturb(parent, self.swap_fraction, rng) for parent in parents)

    def update(self, state: SearchState, candidates: tuple[MaskSet, ...], scores: tuple[float, ...]) -> SearchState:
        state = remember_best(state, candidates, scores)
        return replace(state, population=candidates, scores=scores, done=state.round >= self.generations)


@dataclass(frozen=True)
class EvolutionaryParticleFilter(_Population):
    """Particle filter with crossover, mutation and elitism against sample impoverishment.

    The hybrid of arXiv 1512.08571: between resampling and perturbation, two survivors are crossed
    with repair, so that every child has the exact sparsity; some of these children are then mutated,
    and all that were not crossed, which would be copies; the elite passes unchanged.

    Attributes:
        particles: population size.
        generations: rounds of scoring.
        sharpness: lambda, by which a score difference of 1 counts in the exponent.
        crossover: probability that a child has two parents.
        mutation: probability that a child of two parents is perturbed as well; one of a single parent always is.
        swap_fraction: share of the removed units that a perturbation moves.
        elites: how many of the best particles survive unchanged; they are not scored again.
        first: as for `ParticleFilter`.
    """

    particles: int = 10
    generations: int = 5
    sharpness: float = 50.0
    crossover: float = 0.7
    mutation: float = 0.7
    swap_fraction: float = 0.1
    elites: int = 2
    first: Search | None = None

    def __post_init__(self) -> None:
        _check_population(self.particles, self.generations, self.sharpness, self.swap_fraction)
        _check_fraction("crossover", self.crossover)
        _check_fraction("mutation", self.mutation)
        check_count("elites", self.elites, least=0)
        if self.elites >= self.particles:
            raise ValueError(
                f"elites must be fewer than particles. Received: elites={self.elites}, "
                f"particles={self.particles}. Use at most {self.particles - 1} elites."
            )

    def next_generation(self, space: MaskSpace, state: SearchState, rng: np.random.Generator) -> tuple[MaskSet, ...]:
        parents = _survivors(state, self.sharpness, rng)[: self.particles - self.elites]
        breed = self._breeder(space, parents, rng)
        return tuple(breed(parent) for parent in parents)

    def update(self, state: SearchState, candidates: tuple[MaskSet, ...], scores: tuple[float, ...]) -> SearchState:
        elite = np.argsort(-np.array(state.scores), kind="stable")[: self.elites] if state.scores else ()
        population = tuple(state.population[i] for i in elite) + candidates
        all_scores = tuple(state.scores[i] for i in elite) + scores
        state = remember_best(state, candidates, scores)
        return replace(state, population=population, scores=all_scores, done=state.round >= self.generations)

    def _breeder(
        self, space: MaskSpace, parents: tuple[MaskSet, ...], rng: np.random.Generator
    ) -> Callable[[MaskSet], MaskSet]:
        def breed(child: MaskSet) -> MaskSet:
            crossed = rng.random() < self.crossover
            if crossed:
                child = space.cross(child, parents[rng.integers(len(parents))], rng)
            if not crossed or rng.random() < self.mutation:
                child = space.perturb(child, self.swap_fraction, rng)
            return child

        return breed


def _survivors(state: SearchState, sharpness: float, rng: np.random.Generator) -> tuple[MaskSet, ...]:
    weights = weights_of(np.array(state.scores), sharpness)
    if effective_count(weights) >= len(weights) / 2:
        return tuple(state.population[i] for i in rng.permutation(len(weights)))
    chosen = systematic_resample(weights, rng)
    return tuple(state.population[i] for i in rng.permutation(chosen))


def _check_population(particles: int, generations: int, sharpness: float, swap_fraction: float) -> None:
    check_count("particles", particles, least=2)
    check_count("generations", generations)
    if not sharpness > 0:
        raise ValueError(f"sharpness must be positive. Received: sharpness={sharpness}. Use e.g. 50.")
    _check_fraction("swap_fraction", swap_fraction)


def _check_fraction(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must be in [0, 1]. Received: {name}={value}. It is a share or probability.")
