"""Every method meets the budget and the limits; greedy spares what is sensitive; evolution is never worse."""

from dataclasses import replace

import numpy as np
import pytest

from tests.graphs import chain_graph
from tests.tf_structprune.allocation.planted import GRAPH, NAMES, importance_of, limited, problem_of
from tf_structprune.allocation import (
    METHODS,
    Budget,
    Choices,
    CountedCost,
    Limit,
    Order,
    OutOfReachError,
    find_allocation,
)
from tf_structprune.masks import MaskSet
from tf_structprune.search import EvolutionaryParticleFilter, Magnitude, Metric

MSE = Metric("mse", falls=True)

SMALL = EvolutionaryParticleFilter(particles=4, generations=3, elites=1)
every_method = pytest.mark.parametrize("method", METHODS)


def raised_by_one(problem, allocation):
    """Costs when one group keeps the next larger number that it may keep."""
    choices = Choices.of(problem.graph, problem.base)
    steps = choices.steps_of(allocation.kept)
    for at in np.flatnonzero(steps > 0):
        yield float(problem.limits[0].estimate(choices.kept(steps - (np.arange(len(steps)) == at))))


@pytest.mark.parametrize("fraction", [0.2, 0.5, 0.77, 1.0])
@pytest.mark.parametrize("kind", ["macs", "bytes"])
@every_method
def test_budget_is_met_and_not_overshot_by_more_than_one_unit(method, kind, fraction):
    problem = problem_of(budget=Budget(kind, fraction))
    found = find_allocation(problem, method)
    limit = fraction * found.cost_before
    assert found.cost_after == problem.limits[0].estimate(np.array(list(found.kept.values()))) <= limit
    overshoots = [cost > limit for cost in raised_by_one(problem, found)]
    assert any(overshoots) or fraction == 1
    assert all(overshoots) or method == "uniform"  # elsewhere no unit of any group fits any more


@every_method
def test_amount_is_met_as_its_share_is(method):
    share = find_allocation(problem_of(budget=Budget("macs", 0.5)), method)
    amount = find_allocation(problem_of(budget=Budget("macs", limit=0.5 * GRAPH.macs)), method)
    assert amount.kept == share.kept


@pytest.mark.parametrize("seed", range(3))
@every_method
def test_every_one_of_several_budgets_is_met(method, seed):
    fractions = np.random.default_rng(seed).uniform(0.2, 0.9, 2)
    macs, size = Budget("macs", fractions[0]), Budget("bytes", fractions[1])
    other = Limit(size, CountedCost.of(size, GRAPH, ()))
    found = find_allocation(problem_of(budget=macs, others=(other,)), method)
    assert [spent.budget for spent in found.spent] == [macs, size]
    shares = [spent.after / spent.before / fraction for spent, fraction in zip(found.spent, fractions, strict=True)]
    assert 0.75 < max(shares) <= 1 + 1e-9


@every_method
def test_counted_and_measured_budgets_are_met_together(method):
    latency = Budget("latency", 0.6)
    clock, macs = Clock(), CountedCost.of(latency, GRAPH, ())
    found = find_allocation(problem_of((1, 5, 1), others=(Limit(latency, macs, clock),)), method)
    assert found.cost_after <= 0.5 * found.cost_before
    (spent,) = found.others
    assert spent.after == Clock()(found.kept) <= 0.6 * spent.before


def test_amount_out_of_reach_names_the_least_and_what_binds():
    limit = Limit(
        Budget("arena", limit=10),
        lambda kept: kept.sum(axis=-1),
        lambda kept: 7 + sum(kept.values()),
        why=lambda kept: f"Signals of {max(kept, key=kept.get)} lie there at once.",
    )
    message = (
        r"Budget 'arena': removing feature maps does not make the network that cheap\. Received: at most 10 bytes\. "
        rf"Signals of {NAMES[0]} lie there at once\. Use at least 10 bytes"
    )
    assert set(find_allocation(problem_of(others=(limit,))).kept.values()) == {1}
    with pytest.raises(ValueError, match=message.replace("10 bytes", "9 bytes", 1)):
        find_allocation(problem_of(others=(replace(limit, budget=Budget("arena", limit=9)),)))


@every_method
def test_whole_cost_keeps_everything(method):
    found = find_allocation(problem_of(budget=Budget("macs", 1)), method)
    assert dict(found.kept) == dict(found.units) == {group.name: group.size for group in GRAPH.prunable_groups}
    assert (found.cost_before, found.fraction) == (GRAPH.macs, 1)


@every_method
def test_limits_are_respected(method):
    graph = limited(round_to=4, min_channels=3)
    kept = find_allocation(problem_of(graph=graph, budget=Budget("macs", 0.3)), method).kept
    sizes = {group.name: group.size for group in graph.prunable_groups}
    assert all(count % 4 == 0 or count == sizes[name] for name, count in kept.items())
    assert min(kept.values()) >= 4


@every_method
def test_group_without_a_choice_stays_whole(method):
    found = find_allocation(problem_of((0, 0, 0), Budget("macs", 0.9), graph=limited(min_channels=11)), method)
    assert found.kept[NAMES[2]] == 10 and min(found.kept.values()) >= 10


@every_method
def test_units_that_are_gone_stay_gone_and_count_towards_the_budget(method):
    base = MaskSet({NAMES[1]: np.arange(16) < 6})
    found = find_allocation(problem_of(budget=Budget("macs", 0.4), base=base), method)
    assert found.kept[NAMES[1]] <= 6 and found.units[NAMES[1]] == 16
    assert found.cost_before == GRAPH.macs and found.cost_after <= 0.4 * GRAPH.macs


def test_uniform_takes_the_same_share_of_every_group():
    found = find_allocation(problem_of((0.0, 9.0, 1.0)), "uniform")
    least = max((found.kept[name] - 1) / found.units[name] for name in NAMES)
    most = min((found.kept[name] + 1) / found.units[name] for name in NAMES)
    assert least <= most < 1  # one share that all keep, give or take a unit


@pytest.mark.parametrize("free", range(3))
@pytest.mark.parametrize("method", ["greedy", "evolutionary"])
def test_insensitive_group_gives_most(method, free):
    prices = [1.0, 1.0, 1.0]
    prices[free] = 0.0
    shares = find_allocation(problem_of(tuple(prices), Budget("macs", 0.7)), method)
    by_name = {name: shares.kept[name] / shares.units[name] for name in NAMES}
    assert by_name.pop(NAMES[free]) < 0.6
    assert set(by_name.values()) == {1}


def test_greedy_spares_what_is_sensitive_and_beats_uniform():
    prices = (9.0, 0.1, 9.0)
    greedy, uniform = (find_allocation(problem_of(prices), method) for method in ("greedy", "uniform"))
    assert greedy.score > uniform.score
    assert greedy.kept[NAMES[0]] > uniform.kept[NAMES[0]]


@pytest.mark.parametrize("seed", range(6))
def test_evolution_is_never_worse_than_what_it_starts_from(seed):
    prices = tuple(np.random.default_rng(seed).uniform(0, 3, 3))
    found = {method: find_allocation(problem_of(prices), method, seed=seed) for method in METHODS}
    assert found["evolutionary"].score >= max(each.score for each in found.values())


def test_evolution_finds_more_where_groups_only_matter_together():
    """The greedy method sees no group matter alone; the score falls when two lose units at a time."""

    def score(candidates):
        lost = [{name: 1 - mask.mean() for name, mask in masks.feature_map.items()} for masks in candidates]
        return [-float(min(shares[NAMES[0]], shares[NAMES[1]])) for shares in lost]

    problem = replace(problem_of(budget=Budget("macs", 0.45)), score=score)
    greedy, evolved = (find_allocation(problem, method, seed=1) for method in ("greedy", "evolutionary"))
    assert evolved.score > greedy.score


@every_method
def test_the_seed_decides(method):
    one, two, other = (find_allocation(problem_of((1, 2, 3)), method, seed=seed) for seed in (3, 3, 4))
    assert one == two
    assert method == "evolutionary" or one == other


def test_nothing_is_scored_twice():
    problem = problem_of()
    find_allocation(problem, "evolutionary")
    seen = [tuple(kept.values()) for kept in problem.score.seen]
    assert len(seen) == len(set(seen))


def test_levels_are_numbers_of_scores_of_each_group():
    problem = problem_of()
    find_allocation(problem, "greedy", levels=3)
    whole = {group.name: group.size for group in GRAPH.prunable_groups}
    alone = [kept for kept in problem.score.seen if sum(kept[name] < whole[name] for name in NAMES) == 1]
    assert len(alone) == 3 * 3
    assert {kept[NAMES[1]] for kept in alone} == {16, 11, 6, 1}


def test_own_settings_of_the_filter_are_used():
    problem = problem_of()
    found = find_allocation(problem, SMALL)
    assert found.method == "evolutionary"
    assert len(problem.score.seen) <= 1 + 3 * 8 + 4 * 3  # the whole model, each group alone, the particles


def test_result_tells_what_was_asked_and_found():
    problem = problem_of((1, 2, 3))
    found = find_allocation(problem, "greedy", metric=MSE)
    lost = {name: found.units[name] - found.kept[name] for name in NAMES}
    assert found.score == -sum(price * lost[name] for name, price in zip(NAMES, (1, 2, 3), strict=True))
    assert (found.budget, found.method, found.score_before, found.metric) == (
        problem.limits[0].budget,
        "greedy",
        0,
        MSE,
    )


# A measured cost: fixed microseconds, a price for the MACs of each layer, and noise that comes back the same.


class Clock:
    """Measures, and remembers what it measured."""

    def __init__(self, noise=0.02):
        self.noise, self.seen = noise, []

    def __call__(self, kept):
        self.seen.append(tuple(kept.values()))
        rng = np.random.default_rng(self.seen[-1])
        terms = problem_of().limits[0].estimate.terms(np.array(list(kept.values())))
        return (5 + float(terms @ [1e-3, 4e-3, 2e-3, 1e-3, 1e-3])) * (1 + self.noise * rng.random())


@pytest.mark.parametrize("fraction", [0.5, 0.8, 1.0])
@every_method
def test_latency_is_met_as_measured(method, fraction):
    clock = Clock()
    found = find_allocation(problem_of((1, 5, 1), Budget("latency", fraction), measure=clock), method)
    measured = Clock()
    assert found.cost_before == measured({group.name: group.size for group in GRAPH.prunable_groups})
    assert found.cost_after == measured(found.kept) <= fraction * found.cost_before
    assert found.cost_after >= (fraction - 0.15) * found.cost_before
    assert len(clock.seen) == len(set(clock.seen))


def peak(kept):
    """Like an arena: what two neighbours hold together at the most, shape (...), of shape (..., groups)."""
    kept = np.asarray(kept, np.float64)
    return 4 + np.maximum(kept[..., 0] + kept[..., 1], kept[..., 1] + kept[..., 2])


@pytest.mark.parametrize("method", ["greedy", "least_squares"])
def test_what_does_not_bind_a_measured_budget_is_given_back(method):
    arena = Budget("arena", 0.6)
    problem = problem_of(budget=arena, measure=lambda kept: float(peak(list(kept.values()))))
    problem = replace(problem, limits=(replace(problem.limits[0], estimate=peak),))
    found = find_allocation(problem, method)
    assert found.cost_after <= 0.6 * found.cost_before
    assert all(cost > 0.6 * found.cost_before for cost in raised_by_one(problem, found))


@pytest.mark.parametrize("slope", [0.0, 0.04, -0.04])
@pytest.mark.parametrize("method", ["greedy", "least_squares"])
def test_an_estimate_that_errs_costs_little_of_a_measured_budget(method, slope):
    """The estimate errs the more, the more of the first group stays."""
    arena = Budget("arena", 0.7)
    problem = problem_of(budget=arena, measure=lambda kept: float(peak(list(kept.values()))))
    wrong = replace(problem.limits[0], estimate=lambda kept: peak(kept) * (1 + slope * np.asarray(kept)[..., 0]))
    found = find_allocation(replace(problem, limits=(wrong,)), method)
    assert 0.9 * 0.7 < found.cost_after / found.cost_before <= 0.7


def test_greedy_takes_where_the_measured_cost_is():
    """All groups are alike to the score; only the MACs of one layer take time."""

    def seconds(kept):
        return 1 + 1e-3 * float(problem_of().limits[0].estimate.terms(np.array(list(kept.values())))[-1])

    found = find_allocation(problem_of(budget=Budget("latency", 0.6), measure=seconds), "greedy")
    assert found.kept[NAMES[2]] < found.units[NAMES[2]]
    assert [found.kept[name] for name in NAMES[:2]] == [found.units[name] for name in NAMES[:2]]


def test_the_order_is_asked_for_by_fitted_prices_of_a_latency():
    """Elimination weighs what a unit frees: of a latency where the time is, not where the MACs are."""

    def seconds(kept):
        return 1 + 1e-3 * float(problem_of().limits[0].estimate.terms(np.array(list(kept.values())))[-1])

    seen = []
    problem = problem_of(budget=Budget("latency", 0.6), measure=seconds)
    asked = replace(problem, order=lambda choices, cost: seen.append(cost) or problem.order(choices, cost))
    found = find_allocation(asked, "least_squares")
    (cost,) = seen
    sizes = np.array(list(found.units.values()))
    gains = [float(cost(sizes) - cost(sizes - unit)) for unit in np.eye(len(sizes), dtype=int)]
    np.testing.assert_allclose(gains[:2], 0, atol=1e-6)  # the last layer's MACs alone take time
    assert gains[2] > 1e-4


def test_evolution_under_a_latency_is_never_worse_than_greedy():
    found = [
        find_allocation(problem_of((1, 3, 2), Budget("latency", 0.6), measure=Clock()), method, seed=2)
        for method in ("greedy", "evolutionary")
    ]
    assert found[1].score >= found[0].score


WRONG = {
    "method unknown": (
        {"method": "luck"},
        r"Unknown method of allocation\. Received: method='luck'\. Use one of: un",
    ),
    "filter with a start": (
        {"method": EvolutionaryParticleFilter(first=Magnitude())},
        r"Allocations start from the greedy and the uniform one\. Received: a filter with first=Magnitude\(\)\. Leave",
    ),
    "no levels": ({"levels": 0}, r"levels must be a whole number of at least 1\. Received: levels=0\. Use e\.g\. 8"),
    "half a level": ({"levels": 2.5}, r"levels must be a whole number of at least 1\. Received: levels=2\.5"),
}


@pytest.mark.parametrize("settings, message", WRONG.values(), ids=WRONG)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        find_allocation(problem_of(), **settings)


def test_budget_out_of_reach_names_one_that_is_not():
    message = r"Budget 'macs': removing feature maps does not make the network that cheap\. Received: fraction=0\.01"
    with pytest.raises(ValueError, match=message) as refused:
        find_allocation(problem_of(budget=Budget("macs", 0.01)))
    least = float(str(refused.value).split("at least ")[1].split(",")[0])
    assert set(find_allocation(problem_of(budget=Budget("macs", least))).kept.values()) == {1}


def test_least_squares_needs_a_path():
    problem = replace(problem_of(), order=lambda choices, cost: Order(importance_of()))
    with pytest.raises(ValueError, match=r"follows a path of groups\. Received: an order without one\. Use stages"):
        find_allocation(problem, "least_squares")


def test_order_is_not_asked_for_where_a_budget_is_out_of_reach():
    problem = problem_of(budget=Budget("macs", 0.01))
    with pytest.raises(OutOfReachError):
        find_allocation(replace(problem, order=lambda *_: pytest.fail("asked for")))


def test_graph_without_groups_is_refused():
    with pytest.raises(ValueError, match=r"Model 'made_up' has no channel group that may be pruned\. Received: an al"):
        find_allocation(replace(problem_of(), graph=chain_graph([2, 4, 3])))


@pytest.mark.parametrize("kind, measure, told", [("latency", None, "without"), ("macs", Clock(), "with")])
def test_cost_function_belongs_to_a_latency(kind, measure, told):
    with pytest.raises(
        ValueError, match=rf"A cost function measures latency, flash, arena,.*kind='{kind}' {told} cost\. Use"
    ):
        problem_of(budget=Budget(kind, 0.5), measure=measure)


@pytest.mark.parametrize("cost", [0.0, -1.0, np.nan, np.inf])
def test_measured_cost_must_be_a_positive_number(cost):
    with pytest.raises(ValueError, match=r"A measured cost must be positive and finite\. Received: .*Check the cost"):
        find_allocation(problem_of(budget=Budget("latency", 0.5), measure=lambda kept: cost))


def test_score_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match=r"An allocation's score is not a number\. Received: nan\. Check the model's"):
        find_allocation(replace(problem_of(), score=lambda candidates: [np.nan] * len(candidates)))


def test_score_of_the_whole_model_must_be_finite():
    with pytest.raises(ValueError, match=r"score before allocation must be finite\. Received: -inf\. Check the score"):
        find_allocation(replace(problem_of(), score=lambda candidates: [-np.inf] * len(candidates)))
