"""Allocation for a real masked model: scored with its masks, used by the selectors and by the callback."""

import logging
import re

import keras
import numpy as np
import pytest

import tf_structprune as sp
from tests import zoo
from tf_structprune.allocation import METHODS, Choices, CountedCost
from tf_structprune.masks import kept_space
from tf_structprune.measure import _least_squares, elimination_of, l1
from tf_structprune.scoring import PredictedScorer
from tf_structprune.search import SEARCHES
from tf_structprune.stages import find_masks
from tf_structprune.task import as_score, check_validation

X, Y = zoo.batch(24), np.arange(24) % 3
HALF = sp.Budget("macs", 0.5)
CROSSENTROPY = "sparse_categorical_crossentropy"
QUICK = sp.search.EvolutionaryParticleFilter(particles=4, generations=2)
RESIDUALS = ("residual_projection", "residual_identity", "residual_twice", "grouped_convolution")


def allocated(masked, budget=HALF, **settings):
    return sp.allocate(masked, budget, **{"validation_data": (X, Y), "levels": 2, **settings})


@pytest.fixture
def masked():
    return sp.wrap(zoo.build("chain"))


@pytest.mark.every(3)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["chain", *RESIDUALS])
def test_budget_is_met_and_coupled_groups_keep_the_same(name, method):
    masked = sp.wrap(zoo.build(name))
    budget = sp.Budget("parameters", 0.6)
    found = allocated(masked, budget, method=QUICK if method == "evolutionary" else method)
    assert found.cost_after <= 0.6 * found.cost_before == 0.6 * zoo.build(name).count_params()
    graph = sp.trace(masked)
    sp.set_masks(masked, kept_space(graph, found.kept).top(l1(masked, graph, "feature_map", X)))
    for group in graph.prunable_groups:
        for producer in group.producers:
            mine = np.isin(graph.channels[producer].outputs, group.units)
            kept = np.array(masked.get_layer(producer).output_keep)[mine]
            assert kept.mean() == pytest.approx(found.kept[group.name] / found.units[group.name])


def test_score_is_that_of_the_masks_by_magnitude(masked):
    found = allocated(masked, score="sparse_categorical_crossentropy", method="greedy")
    validation = check_validation((X, Y), as_score("sparse_categorical_crossentropy"), 256)
    assert found.score_before == pytest.approx(validation.of(masked))
    graph = sp.trace(masked)
    sp.set_masks(masked, kept_space(graph, found.kept).top(l1(masked, graph, "feature_map", X)))
    assert found.score == pytest.approx(validation.of(masked))
    assert found.metric.name == "sparse_categorical_crossentropy"


@pytest.mark.parametrize("method", METHODS)
def test_reconstruction_scores_without_labels_or_a_forward_pass(masked, method, monkeypatch):
    monkeypatch.setattr("tf_structprune.stages._allocate.Scorer", lambda *_, **__: pytest.fail("runs candidates"))
    found = allocated(masked, validation_data=(X, None), score="reconstruction", method=method)
    graph = sp.trace(masked)
    choices, macs = Choices.of(graph), CountedCost.of(HALF, graph, ())
    order = elimination_of(masked, graph, X, choices, macs).importance
    values = PredictedScorer(masked, X).score([kept_space(graph, found.kept).top(order), sp.MaskSet()]).values
    assert [found.score, found.score_before] == pytest.approx(values.tolist(), abs=1e-9)
    assert found.metric.name == "reconstruction error" and found.score < found.score_before


def test_reconstruction_takes_the_moments_once(masked, monkeypatch):
    taken = []

    def input_moments(calls, patches, *rest):
        taken.append(sorted(patches))
        return made(calls, patches, *rest)

    made = _least_squares.input_moments
    monkeypatch.setattr(_least_squares, "input_moments", input_moments)
    allocated(masked, score="reconstruction", method="evolutionary")
    assert taken == [sorted(layer.name for layer in sp.trace(masked).layers)]


def test_what_others_make_up_for_goes_first(masked):
    """All maps of "b" are multiples of one another, and large ones."""
    producer = masked.get_layer("b").layer
    kernel, bias = producer.get_weights()
    scale = np.arange(1, kernel.shape[-1] + 1)
    producer.set_weights([5 * kernel[..., :1] * scale, 5 * abs(bias[0]) * scale])
    found = allocated(masked, sp.Budget("macs", 0.7), score="reconstruction", levels=5)
    assert found.kept["b"] < found.units["b"] and found.kept["c"] == found.units["c"]


def test_evolution_starts_from_the_path_of_least_squares_too(masked):
    found = {
        method: allocated(masked, score="reconstruction", method=QUICK if method == "evolutionary" else method)
        for method in METHODS
    }
    assert found["evolutionary"].score >= max(each.score for each in found.values())


@pytest.mark.parametrize("score", ["mcr", "reconstruction"])
@pytest.mark.parametrize("method", METHODS)
def test_every_group_keeps_a_quarter(masked, method, score):
    found = allocated(masked, sp.Budget("macs", 0.5), method=QUICK if method == "evolutionary" else method, score=score)
    assert found.floor == 0.25
    assert all(kept >= 0.25 * found.units[name] for name, kept in found.kept.items())


@pytest.mark.parametrize("method", ["greedy", "least_squares"])
def test_floor_is_a_setting(masked, method):
    """All maps of "b" but one are never read."""
    kernel, *rest = masked.get_layer("c").layer.get_weights()
    kernel[:, :, 1:] = 0
    masked.get_layer("c").layer.set_weights([kernel, *rest])
    budget, settings = sp.Budget("macs", 0.5), {"method": method, "score": "reconstruction", "levels": 6}
    free, half = (allocated(masked, budget, floor=floor, **settings) for floor in (0, 0.5))
    assert free.kept["b"] < 0.5 * free.units["b"] == half.kept["b"]
    assert (free.floor, half.floor) == (0, 0.5)


def test_floor_out_of_range_is_refused_before_any_work(masked):
    with pytest.raises(ValueError, match=r"floor must be in \[0, 1\)\. Received: floor=25\."):
        allocated(masked, floor=25, score=lambda *_: pytest.fail("scored"))


def test_group_whose_maps_hardly_matter_gives_most(masked):
    """Maps of "b" that "c" reads with zeros make no difference."""
    wrapped = masked.get_layer("c").layer
    kernel, bias = wrapped.get_weights()
    kernel[:, :, :-1] = 0
    wrapped.set_weights([kernel, bias])
    producer = masked.get_layer("b").layer
    first, offset = producer.get_weights()
    first[..., -1] *= 100  # the one that matters stays by magnitude
    producer.set_weights([first, offset])
    found = allocated(masked, sp.Budget("macs", 0.5), score="sparse_categorical_crossentropy", levels=5)
    assert found.kept["b"] / 6 < found.kept["c"] / 5


def balanced(masked):
    """Images, and the classes that the model gives them once its outputs are shifted to about as many of each."""
    x, _ = zoo.lit_rows(60)
    classifier = masked.get_layer("classifier").layer
    kernel, bias = classifier.get_weights()
    classifier.set_weights([kernel, bias - np.log(masked.predict(x, verbose=0)).mean(axis=0)])
    return x, masked.predict(x, verbose=0).argmax(axis=1)


def near_guessing(masked, caplog, budget=HALF, **settings):
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="absl"):
        allocated(masked, budget, validation_data=balanced(masked), **settings)
    return [record.getMessage() for record in caplog.records if "tell little" in record.getMessage()]


@pytest.mark.parametrize("method", ["greedy", QUICK], ids=["greedy", "evolutionary"])
def test_allocation_near_guessing_is_told(masked, caplog, method):
    (told,) = near_guessing(masked, caplog, method=method)
    assert told.startswith("The allocation errs in ") and ", guessing in 48.33 %: before retraining" in told
    assert 'Use score="reconstruction" (--reconstruct full), or the method least_squares.' in told


def test_scores_near_guessing_are_told_also_of_an_allocation_that_is_not(masked, caplog):
    (told,) = near_guessing(masked, caplog, sp.Budget("macs", 1.0), levels=4, method="greedy")
    near, scored = map(
        int, re.match(r"(\d) of (\d) allocations scored are near guessing; one errs in .*: ", told).groups()
    )
    assert scored == sum(len(steps) for steps in Choices.of(sp.trace(masked), floor=0.25).levels(4)) < 2 * near


@pytest.mark.parametrize(
    "settings",
    [{"method": "uniform"}, {"method": "least_squares"}, {"score": "reconstruction"}, {"score": CROSSENTROPY}],
    ids=["uniform", "least_squares", "reconstruction", "another score"],
)
def test_where_no_error_rate_decides_nothing_is_told(masked, caplog, settings):
    assert near_guessing(masked, caplog, **settings) == []


def test_scores_far_from_guessing_are_not_told(masked, caplog):
    """One map of each group matters, and it stays by magnitude."""
    for producer, consumer in (("b", "c"), ("c", "classifier")):
        kernel, bias = masked.get_layer(producer).layer.get_weights()
        kernel[..., -1] *= 10
        masked.get_layer(producer).layer.set_weights([kernel, bias])
        read, *rest = masked.get_layer(consumer).layer.get_weights()
        read.reshape(-1, kernel.shape[-1], read.shape[-1])[:, :-1] = 0
        masked.get_layer(consumer).layer.set_weights([read, *rest])
    assert near_guessing(masked, caplog) == []


def test_model_is_left_as_it_was(masked):
    sp.set_masks(masked, sp.random_masks(masked, {"feature_map": 0.2, "kernel": 0.2}, seed=3))
    before, weights = sp.get_masks(masked), masked.get_weights()
    found = allocated(masked)
    assert sp.get_masks(masked).equals(before)
    assert all(np.array_equal(a, b) for a, b in zip(weights, masked.get_weights(), strict=True))
    assert all(found.kept[name] <= mask.sum() for name, mask in before.feature_map.items())


def test_model_is_left_as_it_was_after_an_error(masked):
    before = sp.get_masks(masked)
    with pytest.raises(ValueError, match=r"score is not a number\. Received: nan"):
        allocated(masked, score=lambda y_true, y_pred: float("nan"))
    assert sp.get_masks(masked).equals(before)


def test_cost_function_gives_the_latency(masked):
    found = allocated(masked, sp.Budget("latency", 0.5), cost=lambda kept: 1.0 + kept["b"])
    assert (found.cost_before, found.cost_after) == (7.0, 1.0 + found.kept["b"])
    assert found.kept["b"] <= 2


@pytest.mark.parametrize("method", ["greedy", "least_squares"])
def test_several_budgets_are_met_each_by_its_own_cost(masked, method):
    costs = {"flash": lambda kept: 10.0 + kept["b"], "latency": lambda kept: 1.0 + kept["c"]}
    budgets = ["macs=0.9", "flash=13B", sp.Budget("latency", 0.6)]
    found = allocated(masked, budgets, cost=costs, method=method)
    macs, flash, latency = found.spent
    assert macs.after <= 0.9 * macs.before == 0.9 * sp.trace(masked).macs
    assert flash.after == 10 + found.kept["b"] <= 13
    assert latency.after == 1 + found.kept["c"] <= 0.6 * latency.before


def test_estimate_and_reason_of_a_cost_function_are_used(masked):
    class Arena:
        estimate = staticmethod(lambda kept: kept.sum(axis=-1))

        def __call__(self, kept):
            return float(sum(kept.values()))

        def why(self, kept):
            return f"Maps of b: {kept['b']}."

    with pytest.raises(ValueError, match=r"Received: at most 1 bytes\. Maps of b: 1\. Use at least \d bytes"):
        allocated(masked, "arena=1B", cost=Arena())


@pytest.mark.parametrize("cost", [len, {"latency": len}])
def test_cost_of_no_budget_is_refused(masked, cost):
    with pytest.raises(ValueError, match=r"A cost function measures a budget of .* that was given\. Received: cost"):
        allocated(masked, "macs=0.5", cost=cost)


def test_name_of_a_score_is_told(masked):
    assert (
        allocated(masked, method="uniform", score=keras.metrics.SparseCategoricalAccuracy("top1")).metric.name == "top1"
    )
    assert allocated(masked, method="uniform", score=accuracy).metric.name == "accuracy"


def accuracy(y_true, y_pred):
    return float(np.mean(y_pred.argmax(axis=1) == y_true))


def test_model_without_masks_for_maps_is_refused():
    with pytest.raises(ValueError, match=r"Model 'chain' holds no feature map masks, which an allocation is about\. R"):
        allocated(sp.wrap(zoo.build("chain"), granularity="kernel"))


def test_plain_model_is_refused():
    with pytest.raises(ValueError, match=r"Model 'chain' has no masks\. Received: a plain model\. Use wrap"):
        allocated(zoo.build("chain"))


def test_latency_without_a_cost_function_is_refused(masked):
    with pytest.raises(ValueError, match=r"kind='latency' without cost\. Use cost=tflite_export\.latency_cost"):
        allocated(masked, sp.Budget("latency", 0.5))


@pytest.fixture(scope="module")
def allocation():
    return allocated(sp.wrap(zoo.build("chain")))


def kept_in(masked):
    return {name: int(mask.sum()) for name, mask in sp.get_masks(masked).feature_map.items()}


@pytest.mark.parametrize("search", SEARCHES)
def test_every_selector_finds_masks_with_the_counts(search):
    masked = sp.wrap(zoo.build("batch_norm_chain"))
    allocation = allocated(masked, method="uniform")
    validation = check_validation((X, Y), as_score("mcr"), 24)
    small = {"best_of_n": {"candidates": 3}, "particle_filter": {"particles": 3, "generations": 2}}
    small["evolutionary"] = {"particles": 3, "generations": 2}
    selector = SEARCHES[search](**small.get(search, {}))
    result = find_masks(masked, "feature_map", allocation, search=selector, validation=validation)
    assert {name: int(mask.sum()) for name, mask in result.masks.feature_map.items()} == dict(allocation.kept)


@pytest.mark.parametrize("granularity", ["kernel", sp.IntraKernelStrided()])
def test_other_granularities_are_refused(masked, allocation, granularity):
    validation = check_validation((X, Y), as_score("mcr"), 24)
    message = r"An allocation gives the number of feature maps in each group\. Received: granularity='.*kernel'\. Use"
    with pytest.raises(ValueError, match=message):
        find_masks(masked, granularity, allocation, search=sp.search.RandomMask(), validation=validation)


def test_allocation_of_another_model_is_refused(allocation):
    validation = check_validation((X, Y), as_score("mcr"), 24)
    with pytest.raises(ValueError, match=r"Model 'leaky' has other channel groups than the allocation"):
        find_masks(
            sp.wrap(zoo.build("leaky")), "feature_map", allocation, search=sp.search.RandomMask(), validation=validation
        )


def test_fit_prunes_to_the_allocation(run, allocation):
    masked, callback, history = run(sparsity=allocation)
    assert kept_in(masked) == dict(allocation.kept)
    (report,) = callback.reports
    assert report.accepted and history["prune_sparsity"] == [report.sparsity] * 3
    assert report.sparsity == sp.sparsity_of(sp.trace(masked), sp.get_masks(masked))


def test_fit_prunes_kernels_behind_an_allocation(run, allocation):
    masked, callback, _ = run(
        granularity=("feature_map", "kernel"), sparsity={"feature_map": allocation, "kernel": 0.4}, epochs=3
    )
    assert [report.granularity for report in callback.reports] == ["feature_map", "kernel"]
    assert kept_in(masked) == dict(allocation.kept)
    assert any(not mask.all() for mask in sp.get_masks(masked).kernel.values())


def test_fit_refuses_the_allocation_of_another_model(run, allocation):
    with pytest.raises(ValueError, match=r"Model 'leaky' has other channel groups than the allocation"):
        run("leaky", sparsity=allocation)


def made(**settings):
    return sp.StructuredPruning(**{"validation_data": (X, Y), "verbose": 0, **settings})


def test_callback_refuses_what_an_allocation_cannot_do(allocation):
    with pytest.raises(ValueError, match=r"An allocation is for feature maps alone\. Received: granularity=\('feat"):
        made(sparsity=allocation, granularity=("feature_map", "kernel"))
    with pytest.raises(ValueError, match=r"number of feature maps in each group\. Received: granularity='kernel'"):
        made(sparsity=allocation, granularity="kernel")
    with pytest.raises(ValueError, match=r"number of feature maps in each group\. Received: granularity='kernel'"):
        made(sparsity={"kernel": allocation}, granularity="kernel")
    with pytest.raises(ValueError, match=r"An allocation is reached at once\. Received: schedule=Gradual.*Use OneShot"):
        made(sparsity=allocation, schedule=sp.schedule.Gradual(3))
