"""Bad settings are refused by name, and what only one selector does."""

import numpy as np
import pytest

from tests.graphs import chain_graph
from tf_structprune.masks import GRANULARITIES, INTRA_KERNEL, KERNEL, IntraKernelStrided, Kernel, mask_space
from tf_structprune.search import (
    ActivationVote,
    BestOfN,
    EvolutionaryParticleFilter,
    Magnitude,
    ParticleFilter,
    RandomMask,
    SearchState,
    find,
)

POPULATIONS = [ParticleFilter, EvolutionaryParticleFilter]
each_population = pytest.mark.parametrize("kind", POPULATIONS, ids=lambda kind: kind.__name__)


@pytest.mark.parametrize("value", [0, -3, 2.0, "5", None])
def test_best_of_n_refuses_a_bad_count(value):
    with pytest.raises(ValueError, match=r"candidates must be a whole number\. Received: candidates=.*Use at least 1"):
        BestOfN(value)


@each_population
@pytest.mark.parametrize("settings", [{"particles": 1}, {"particles": 2.5}, {"generations": 0}], ids=str)
def test_population_refuses_bad_counts(kind, settings):
    (name,) = settings
    with pytest.raises(ValueError, match=rf"{name} must be a whole number\. Received: {name}=.*Use at least [12]\."):
        kind(**settings)


@each_population
@pytest.mark.parametrize("sharpness", [0.0, -1.0, float("nan")])
def test_population_refuses_a_bad_sharpness(kind, sharpness):
    with pytest.raises(ValueError, match=r"sharpness must be positive\. Received: sharpness=.*Use e\.g\. 50"):
        kind(sharpness=sharpness)


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
@pytest.mark.parametrize("name", ["swap_fraction", "crossover", "mutation"])
def test_evolutionary_refuses_bad_fractions(name, value):
    with pytest.raises(ValueError, match=rf"{name} must be in \[0, 1\]\. Received: {name}=.*share or probability"):
        EvolutionaryParticleFilter(**{name: value})


@pytest.mark.parametrize("value", [-0.1, 1.1])
def test_particle_filter_refuses_a_bad_swap_fraction(value):
    with pytest.raises(ValueError, match=r"swap_fraction must be in \[0, 1\]\. Received: swap_fraction="):
        ParticleFilter(swap_fraction=value)


def test_evolutionary_refuses_too_many_elites():
    with pytest.raises(
        ValueError, match=r"elites must be fewer than particles\. Received: elites=4, particles=4.*most 3"
    ):
        EvolutionaryParticleFilter(particles=4, elites=4)
    with pytest.raises(ValueError, match=r"elites must be a whole number\. Received: elites=-1\. Use at least 0"):
        EvolutionaryParticleFilter(elites=-1)


@pytest.mark.parametrize("granularity", [KERNEL, INTRA_KERNEL])
def test_activation_vote_refuses_other_granularities(granularity):
    space = mask_space(chain_graph([2, 4, 4, 4, 3]), granularity, 0.5)
    with pytest.raises(
        ValueError, match=rf"ranks feature maps only\. Received: granularity='{granularity}'\. Use Best"
    ):
        find(ActivationVote(), space, lambda candidates: [0.0] * len(candidates))


def test_activation_vote_removes_the_maps_with_most_votes():
    space = mask_space(chain_graph([2, 4, 3, 4, 3]), "feature_map", 0.3)
    assert space.removed["layer_1"] == 1
    # two of three images have their least sum in map 2, although map 0 has the least mean
    sums = np.array([[9.0, 9, 1], [9.0, 9, 1], [0.0, 90, 90]])
    importance = {"layer_1": sums, "layer_2": np.ones((3, 4))}
    masks = find(ActivationVote(), space, lambda candidates: [0.0] * len(candidates), importance=importance).masks
    assert masks.feature_map["layer_1"].tolist() == [True, True, False]


def test_activation_vote_breaks_ties_by_the_mean():
    space = mask_space(chain_graph([2, 4, 3, 4, 3]), "feature_map", 0.3)
    sums = np.array([[1.0, 9, 8], [9.0, 0, 8]])  # one vote each for maps 0 and 1; map 1 is the weaker
    importance = {"layer_1": sums, "layer_2": np.ones((2, 4))}
    masks = find(ActivationVote(), space, lambda candidates: [0.0] * len(candidates), importance=importance).masks
    assert masks.feature_map["layer_1"].tolist() == [True, False, True]


def test_magnitude_keeps_the_largest():
    space = mask_space(chain_graph([2, 4, 3, 4, 3]), "feature_map", 0.3)
    importance = {"layer_1": np.array([3.0, 1, 2]), "layer_2": np.ones(4)}
    masks = find(Magnitude(), space, lambda candidates: [0.0] * len(candidates), importance=importance).masks
    assert masks.feature_map["layer_1"].tolist() == [True, False, True]


def test_elites_survive_unscored():
    space = mask_space(chain_graph([2, 4, 6, 6, 3]), "feature_map", 0.5)
    rng, selector = np.random.default_rng(0), EvolutionaryParticleFilter(particles=4, generations=3, elites=2)
    state = selector.init(space, {}, rng)
    first = selector.propose(space, state, rng)
    state = selector.update(state, first, (0.0, 3.0, 1.0, 2.0))
    second = selector.propose(space, state, rng)
    assert len(second) == 2
    state = selector.update(state, second, (-1.0, -1.0))
    assert state.population[:2] == (first[1], first[3])
    assert state.scores == (3.0, 2.0, -1.0, -1.0)
    assert state.best is first[1]


class _Silent(RandomMask):
    """A broken selector."""

    def init(self, space, importance, rng):
        return SearchState(done=True)


def test_selector_without_a_candidate_is_refused():
    with pytest.raises(ValueError, match=r"_Silent ended without a candidate\. Let it propose at least one"):
        find(
            _Silent(), mask_space(chain_graph([2, 4, 4, 4, 3]), KERNEL, 0.5), lambda candidates: [0.0] * len(candidates)
        )


@pytest.mark.parametrize("demands", [*GRANULARITIES, Kernel(5), IntraKernelStrided((3,))], ids=str)
def test_children_have_parts_of_two_parents_and_nothing_else(demands):
    """With crossover alone: what both keep is kept, and of what only one keeps there is some of either."""
    space, rng = mask_space(chain_graph([2, 30, 30, 30, 3]), demands, 0.5), np.random.default_rng(0)
    selector = EvolutionaryParticleFilter(particles=4, crossover=1.0, mutation=0.0, elites=0)
    state = selector.init(space, {}, rng)
    state = selector.update(state, selector.propose(space, state, rng), (0.0,) * 4)
    parents = [_entries(masks, space.granularity) for masks in state.population]
    mixed = 0
    for child in selector.propose(space, state, rng):
        own = _entries(child, space.granularity)
        pairs = [(a, b) for i, a in enumerate(parents) for b in parents[:i] if a & b <= own <= a | b]
        assert pairs
        mixed += all(own - a and own - b for a, b in pairs)
    assert mixed >= 1  # a child may be crossed with itself


def _entries(masks, granularity):
    """What a candidate keeps, as a set: units, or the pattern of each map."""
    arrays = masks.of(granularity)
    if granularity == INTRA_KERNEL:
        return {
            (name, index, *map(int, pattern))
            for name, patterns in arrays.items()
            for index, pattern in enumerate(patterns)
        }
    return {(name, int(index)) for name, mask in arrays.items() for index in np.flatnonzero(mask)}


def planted():
    """A space, which units are worth most, and the score of keeping them."""
    graph = chain_graph([2, 12, 16, 3])
    rng = np.random.default_rng(3)
    worth = {group.name: rng.permutation(group.size).astype(float) for group in graph.prunable_groups}

    def score(candidates):
        return [float(sum(worth[name][mask].sum() for name, mask in each.feature_map.items())) for each in candidates]

    return mask_space(graph, "feature_map", 0.5), worth, score


def removed(masks):
    """The units that are gone."""
    return {(name, int(unit)) for name, mask in masks.feature_map.items() for unit in np.flatnonzero(~mask)}


@each_population
def test_population_starts_from_another_selector(kind):
    space, worth, _ = planted()
    selector, rng = kind(particles=5, first=Magnitude()), np.random.default_rng(0)
    assert selector.measure == "l1"
    state = selector.init(space, worth, rng)
    candidates = selector.propose(space, SearchState.from_arrays(state.to_arrays()), rng)
    assert len(candidates) == 5
    lost = [removed(each) for each in candidates]
    assert lost[0] == removed(space.top(worth))
    assert all(0 < len(lost[0] - each) <= 2 for each in lost[1:])  # a tenth of 14 removed units, in two groups


@pytest.mark.parametrize("seed", range(4))
@each_population
def test_population_is_never_worse_than_what_it_starts_from(kind, seed):
    space, worth, score = planted()
    rough = {name: np.round(values / 4) for name, values in worth.items()}
    start = score([space.top(rough)])[0]
    found = find(kind(particles=5, generations=4, first=Magnitude()), space, score, importance=rough, seed=seed)
    assert found.scores[0] == start <= found.score
