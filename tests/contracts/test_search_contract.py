"""The contract of every selector, over all granularities that it supports."""

from dataclasses import fields

import numpy as np
import pytest

from tests.graphs import chain_graph
from tf_structprune.masks import FEATURE_MAP, GRANULARITIES, INTRA_KERNEL, mask_space, masks_by_layer, sparsity_of
from tf_structprune.search import SEARCHES, SearchState, find

GRAPH = chain_graph([2, 6, 8, 8, 6, 3])
SPARSITY = 0.5
SETTINGS = {
    "best_of_n": {"candidates": 12},
    "particle_filter": {"particles": 6, "generations": 4},
    "evolutionary": {"particles": 6, "generations": 4, "elites": 1},
}
CASES = [
    pytest.param(name, kind, id=f"{name}-{kind}")
    for name in SEARCHES
    for kind in GRANULARITIES
    if name != "activation_vote" or kind == FEATURE_MAP
]
DRAWN = ("best_of_n", "particle_filter", "evolutionary", "random")
SCORED = ("best_of_n", "particle_filter", "evolutionary")
every_case = pytest.mark.parametrize("name, granularity", CASES)
drawn_case = pytest.mark.parametrize("name, granularity", [case for case in CASES if case.values[0] in DRAWN])
scored_case = pytest.mark.parametrize("name, granularity", [case for case in CASES if case.values[0] in SCORED])


def made(name):
    return SEARCHES[name](**SETTINGS.get(name, {}))


def importance_of(name, space, seed=7):
    """Random numbers of the measure that a selector asks for."""
    rng = np.random.default_rng(seed)
    if SEARCHES[name]().measure == "activation_sums":
        return {block: rng.random((5, len(b.alive))) for block, b in space.blocks.items()}
    if space.granularity == INTRA_KERNEL:
        return {block: rng.random((9, len(b.alive))) for block, b in space.blocks.items()}
    return {block: rng.random(b.alive.shape) for block, b in space.blocks.items()}


def toy_score(masks):
    """A sum of fixed values of the mask entries: some candidates are better than others."""
    values = [np.sin(1 + np.arange(m.size)) @ m.ravel() for m in masks.to_arrays().values()]
    return float(sum(values))


def toy_scores(candidates):
    return [toy_score(masks) for masks in candidates]


def search(name, granularity, seed=0):
    """The result and every candidate that was scored."""
    space, seen = mask_space(GRAPH, granularity, SPARSITY), []

    def score(candidates):
        seen.extend(candidates)
        return toy_scores(candidates)

    return find(made(name), space, score, importance=importance_of(name, space), seed=seed), seen


@every_case
def test_every_candidate_has_the_exact_sparsity(name, granularity):
    _, seen = search(name, granularity)
    assert len({sparsity_of(GRAPH, masks) for masks in seen}) == 1
    assert SPARSITY <= sparsity_of(GRAPH, seen[0]) < SPARSITY + 0.12


@every_case
def test_no_candidate_empties_a_layer(name, granularity):
    _, seen = search(name, granularity)
    assert all(layer.weights > 0 for masks in seen for layer in masks_by_layer(GRAPH, masks).values())


@every_case
@pytest.mark.parametrize("seed", [0, 1])
def test_same_seed_gives_the_same_result(name, granularity, seed):
    (first, seen), (second, again) = search(name, granularity, seed), search(name, granularity, seed)
    assert first.scores == second.scores
    assert first.masks.equals(second.masks)
    assert all(a.equals(b) for a, b in zip(seen, again, strict=True))


@drawn_case
def test_other_seed_draws_other_candidates(name, granularity):
    first = [search(name, granularity, seed)[1][0] for seed in range(4)]
    assert not all(masks.equals(first[0]) for masks in first[1:])


@pytest.mark.parametrize("name, granularity", [case for case in CASES if case.values[0] not in DRAWN])
def test_ranking_does_not_depend_on_the_seed(name, granularity):
    assert search(name, granularity, 0)[0].masks.equals(search(name, granularity, 1)[0].masks)


@every_case
def test_best_candidate_ever_seen_is_returned(name, granularity):
    result, seen = search(name, granularity)
    assert result.scores == tuple(toy_score(masks) for masks in seen)
    assert result.score == max(result.scores)
    assert result.masks.equals(seen[int(np.argmax(result.scores))])


@pytest.mark.parametrize("name", SEARCHES)
def test_of_equal_candidates_the_first_is_returned(name):
    space, seen = mask_space(GRAPH, FEATURE_MAP, SPARSITY), []

    def score(candidates):
        seen.extend(candidates)
        return [0.0] * len(candidates)

    assert find(made(name), space, score, importance=importance_of(name, space)).masks is seen[0]


@every_case
def test_run_continues_from_saved_arrays(name, granularity, tmp_path):
    selector, space = made(name), mask_space(GRAPH, granularity, SPARSITY)

    def run(save_and_load):
        rng = np.random.default_rng(0)
        state = selector.init(space, importance_of(name, space), rng)
        while not state.done:
            state = save_and_load(state)
            candidates = selector.propose(space, state, rng)
            state = save_and_load(selector.update(state, candidates, tuple(map(toy_score, candidates))))
        return state

    def through_a_file(state):
        np.savez(tmp_path / "state.npz", **state.to_arrays())
        with np.load(tmp_path / "state.npz") as file:
            return SearchState.from_arrays(dict(file))

    straight, resumed = run(lambda state: state), run(through_a_file)
    assert resumed.best.equals(straight.best)
    assert (resumed.round, resumed.scores, resumed.best_score, resumed.done) == (
        straight.round,
        straight.scores,
        straight.best_score,
        True,
    )
    assert all(a.equals(b) for a, b in zip(resumed.population, straight.population, strict=True))


@scored_case
def test_search_is_better_than_one_random_mask(name, granularity):
    found = [search(name, granularity, seed)[0].score for seed in range(6)]
    drawn = [search("random", granularity, seed)[0].score for seed in range(6)]
    assert np.mean(found) > np.mean(drawn)


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("name", ["particle_filter", "evolutionary"])
def test_population_learns_from_its_scores(name, granularity):
    """Under a sharp weight, later generations are better on average than the random first."""
    space, settings = mask_space(GRAPH, granularity, SPARSITY), {"particles": 16, "generations": 12, "sharpness": 5.0}
    gains = []
    for seed in range(4):
        scores = find(SEARCHES[name](**settings), space, toy_scores, seed=seed).scores
        gains.append(np.mean(scores[-16:]) - np.mean(scores[:16]))
    assert np.mean(gains) > 0


@pytest.mark.parametrize("name", SEARCHES)
def test_settings_are_stored_unchanged(name):
    settings = SETTINGS.get(name, {})
    selector = made(name)
    assert {key: getattr(selector, key) for key in settings} == settings
    assert selector == made(name)
    with pytest.raises(AttributeError):
        setattr(selector, "measure", "")  # noqa: B010  # frozen
    assert {field.name for field in fields(selector)} >= set(settings)


@pytest.mark.parametrize("name", SEARCHES)
def test_number_of_candidates_is_what_the_settings_say(name):
    kind = FEATURE_MAP
    expected = {"best_of_n": 12, "particle_filter": 24, "evolutionary": 6 + 3 * 5}.get(name, 1)
    assert len(search(name, kind)[1]) == expected


@pytest.mark.parametrize("name", SEARCHES)
def test_score_that_is_no_number_is_refused(name):
    space = mask_space(GRAPH, FEATURE_MAP, SPARSITY)
    with pytest.raises(ValueError, match=r"candidate's score is not a number\. Received: nan\. Check the model's out"):
        find(
            made(name),
            space,
            lambda candidates: [float("nan")] * len(candidates),
            importance=importance_of(name, space),
        )


@pytest.mark.parametrize("name", SEARCHES)
def test_infinitely_bad_scores_still_give_a_candidate(name):
    space = mask_space(GRAPH, FEATURE_MAP, SPARSITY)
    result = find(
        made(name), space, lambda candidates: [-np.inf] * len(candidates), importance=importance_of(name, space)
    )
    assert sparsity_of(GRAPH, result.masks) >= SPARSITY


@pytest.mark.parametrize("name", SEARCHES)
def test_on_round_hears_every_round(name):
    space, heard = mask_space(GRAPH, FEATURE_MAP, SPARSITY), []
    importance = importance_of(name, space)
    result = find(made(name), space, toy_scores, importance=importance, on_round=heard.append)
    assert [state.round for state in heard] == list(range(1, len(heard) + 1))
    assert heard[-1].done
    assert heard[-1].best_score == result.score == max(result.scores)


@pytest.mark.parametrize("name", ["particle_filter", "evolutionary"])
@pytest.mark.parametrize("more, rounds", [(0.0, 1), (1e-9, 2)], ids=["reached", "missed"])
def test_a_score_equal_to_enough_ends_the_search(name, more, rounds):
    space, heard, given = mask_space(GRAPH, FEATURE_MAP, SPARSITY), [], iter([0.5, 0.75])

    def score(candidates):
        return [next(given), *[0.0] * (len(candidates) - 1)]

    found = find(made(name), space, score, enough=0.5 + more, on_round=heard.append)
    assert len(heard) == rounds
    assert found.score == max(found.scores)


@pytest.mark.parametrize("name", ["particle_filter", "evolutionary"])
def test_enough_ends_the_search_after_the_round(name):
    space = mask_space(GRAPH, FEATURE_MAP, SPARSITY)
    whole = find(made(name), space, toy_scores)
    early = find(made(name), space, toy_scores, enough=-np.inf)
    assert early.scores == whole.scores[: len(early.scores)]
    assert 0 < len(early.scores) < len(whole.scores)
