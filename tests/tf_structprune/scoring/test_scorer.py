"""Scores of the engine against the masked model itself."""

import re

import keras
import numpy as np
import pytest
from hypothesis import given, settings

import tf_structprune as sp
from tests import zoo
from tests.marks import sweep_but
from tests.random_models import functional_models
from tf_structprune.layers import MaskedModel
from tf_structprune.masks import GRANULARITIES, MaskSet, mask_space
from tf_structprune.scoring import LocalBench, Scorer
from tf_structprune.scoring._network import Network
from tf_structprune.task import SampleScore, Validation, as_score, check_validation

SAMPLES = 10


def candidates_of(masked, granularity, count, sparsity=0.3, seed=0):
    graph = sp.trace(masked)
    space = mask_space(graph, granularity, sparsity, base=sp.get_masks(masked, graph=graph))
    rng = np.random.default_rng(seed)
    return [space.sample(rng) for _ in range(count)]


def candidates_of_all_sizes(masked, count):
    """Candidates that remove more and more, of every granularity of which the model can lose as much."""
    found = []
    for index in range(count):
        shares = {}
        for granularity, share in {"feature_map": 0.05 + 0.06 * index, "kernel": 0.2, "intra_kernel": 0.1}.items():
            try:
                found_here = sp.random_masks(masked, {**shares, granularity: share}, seed=index)
            except ValueError as error:
                assert re.search("may be pruned|cannot remove that much", str(error))
                continue
            shares[granularity], masks = share, found_here
        found.append(masks)
    return found


def outputs_by_hand(masked, candidates, x):
    """The masked model's outputs for each candidate; it is left with the masks that it had."""
    before, found = sp.get_masks(masked), []
    for candidate in candidates:
        sp.set_masks(masked, candidate)
        found.append(zoo.outputs_of(masked, x))
        sp.set_masks(masked, before)
    return found


def bench_of(masked, x, batch_size=4):
    validation = Validation(x, None, as_score("mse"))
    return LocalBench(
        MaskedModel(masked), validation, np.random.default_rng(0).permutation(len(x)), batch_size=batch_size
    )


def check_outputs(masked, candidates, x):
    bench = bench_of(masked, x)
    changes = [bench.change(candidate) for candidate in candidates]
    bench.begin(changes)
    expected = outputs_by_hand(masked, candidates, x)
    for made, wanted in zip(bench.outputs(changes), expected, strict=True):
        for one, other in zip(keras.tree.flatten(made), wanted, strict=True):
            np.testing.assert_allclose(one, other, atol=2e-4, rtol=2e-4)


OFTEN = ("flatten_head", "residual_projection", "two_outputs", "grouped_convolution", "shared_layer", "sequential")


@pytest.mark.every(3)
@pytest.mark.parametrize("name", sweep_but(OFTEN, {name: (name,) for name in zoo.ZOO}))
def test_outputs_are_those_of_the_masked_model(name):
    """Candidates of equal sizes have a thin network, the others share one that has the channels of all of them."""
    masked = sp.wrap(zoo.build(name))
    equal = [sp.random_masks(masked, {"feature_map": 0.2}, seed=seed) for seed in range(5)]
    check_outputs(masked, [*equal, *candidates_of_all_sizes(masked, 3)], zoo.batch(SAMPLES))


@settings(max_examples=4, deadline=None, derandomize=True)
@given(functional_models())
def test_outputs_of_random_models(model):
    check_random_model(model)


@pytest.mark.sweep
@settings(max_examples=300, deadline=None)
@given(functional_models())
def test_outputs_of_hundreds_of_random_models(model):
    check_random_model(model)


def check_random_model(model):
    masked = sp.wrap(model)
    x = np.random.default_rng(0).uniform(-1, 1, (SAMPLES, *model.inputs[0].shape[1:])).astype(np.float32)
    check_outputs(masked, candidates_of_all_sizes(masked, 5), x)


@pytest.mark.parametrize("name", ["batch_norm_chain", "residual_projection", "grouped_convolution"])
def test_candidates_come_on_top_of_the_masks_that_are_there(name):
    masked = sp.wrap(zoo.build(name))
    sp.set_masks(masked, candidates_of(masked, "feature_map", 1, 0.2)[0])
    before = sp.get_masks(masked)
    candidates = [MaskSet(kernel=c.kernel) for c in candidates_of(masked, "kernel", 5, 0.65)]
    check_outputs(masked, candidates, zoo.batch(SAMPLES))
    assert sp.get_masks(masked).equals(before)


def test_one_late_layer_shares_everything_before():
    masked = sp.wrap(zoo.build("batch_norm_chain"))
    last = sp.trace(masked).prunable_layers[-1].name
    candidates = [MaskSet(kernel={last: c.kernel[last]}) for c in candidates_of(masked, "kernel", 6)]
    bench = bench_of(masked, zoo.batch(SAMPLES))
    changes = [bench.change(candidate) for candidate in candidates]
    bench.begin(changes)
    check_outputs(masked, candidates, zoo.batch(SAMPLES))
    network = bench._place(changes[0]).network
    assert network._varied == [last]
    assert {layer.name for layer in network._own.layers if layer.name in bench._weights} >= {last}
    before = [layer.name for layer in sp.trace(masked).layers if layer.name != last][:1]
    assert not {layer.name for layer in network._own.layers} & set(before)


def test_what_candidates_share_is_computed_once_a_batch(monkeypatch):
    masked = sp.wrap(zoo.build("batch_norm_chain"))
    bench = bench_of(masked, zoo.batch(SAMPLES))
    changes = [bench.change(candidate) for candidate in candidates_of(masked, "kernel", 6)]
    bench.begin(changes)
    computed, shared = [], Network.shared
    monkeypatch.setattr(Network, "shared", lambda network, inputs: computed.append(1) or shared(network, inputs))
    bench.outputs(changes)
    assert len(computed) == len(bench.sizes)


def scored(masked, candidates, **settings):
    x = zoo.batch(200)
    y = np.random.default_rng(5).integers(0, 3, len(x))
    return sp.score(masked, candidates, data=(x, y), batch_size=16, **settings), (x, y)


@pytest.mark.every(3)
@pytest.mark.parametrize("score", ["mcr", "sparse_categorical_crossentropy", keras.metrics.SparseCategoricalAccuracy()])
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_scores_are_those_of_the_masked_model(granularity, score):
    masked = sp.wrap(zoo.build("batch_norm_chain"), granularity=GRANULARITIES)
    candidates = candidates_of(masked, granularity, 6, 0.5)
    found, (x, y) = scored(masked, candidates, score=score, racing=False)
    expected = [as_score(score)(y, outputs[0]) for outputs in outputs_by_hand(masked, candidates, x)]
    np.testing.assert_allclose(found.values, expected, atol=1e-4)
    assert (found.samples == len(x)).all()


def test_race_finds_a_best_candidate_with_its_exact_score():
    masked = sp.wrap(zoo.build("batch_norm_chain"))
    candidates = candidates_of(masked, "kernel", 12, 0.6)
    raced, _ = scored(masked, candidates, score="sparse_categorical_crossentropy")
    exact, _ = scored(masked, candidates, score="sparse_categorical_crossentropy", racing=False)
    assert raced.best == exact.best
    assert raced.values[raced.best] == pytest.approx(exact.values[exact.best])
    assert raced.scored_samples < exact.scored_samples
    assert str(raced).startswith("12 candidates, best ")


def test_equal_candidates_are_scored_once():
    masked = sp.wrap(zoo.build("batch_norm_chain"))
    one, other = candidates_of(masked, "kernel", 2)
    found, (x, _) = scored(masked, [one, other, one, one], racing=False)
    assert found.samples.tolist() == [len(x), len(x), 0, 0]
    assert found.values[0] == found.values[2] == found.values[3]


def test_rounds_know_what_was_scored_before():
    masked = sp.wrap(zoo.build("residual_projection"))
    first, second = (candidates_of(masked, "feature_map", 4, seed=seed) for seed in (0, 1))
    x, y = zoo.batch(40), np.arange(40) % 3
    validation = check_validation((x, y), as_score("sparse_categorical_crossentropy"), 8)
    scorer = Scorer(masked, validation, racing=False, batch_size=8)
    alone, heard = scorer.score(first), []
    both = scorer.score([*second, *first], on_samples=heard.append)
    assert both.values[4:].tolist() == alone.values.tolist()
    assert both.samples.tolist() == [40] * 4 + [0] * 4
    assert sum(heard) == 160
    fresh = Scorer(masked, validation, racing=False, batch_size=8).score(second)
    np.testing.assert_allclose(both.values[:4], fresh.values, atol=1e-6)


def test_labels_are_not_needed():
    """Without labels the model with open masks is the teacher, whatever masks are in."""
    masked = sp.wrap(zoo.build("batch_norm_chain"))
    x = zoo.batch(60)
    dense = zoo.outputs_of(masked, x)[0]
    candidates = candidates_of(masked, "kernel", 5, 0.5)
    sp.set_masks(masked, candidates[0])
    before = sp.get_masks(masked)
    found = sp.score(masked, candidates, data=(x, None), score="kl", racing=False)
    expected = [as_score("kl")(dense, outputs[0]) for outputs in outputs_by_hand(masked, candidates, x)]
    np.testing.assert_allclose(found.values, expected, atol=1e-4)
    assert sp.get_masks(masked).equals(before)
    open_masks = MaskSet(kernel={name: np.ones_like(mask) for name, mask in candidates[0].kernel.items()})
    assert sp.score(masked, [open_masks], data=(x, None), score="kl").values[0] == pytest.approx(0, abs=1e-6)


def test_several_outputs_are_scored_together():
    masked = sp.wrap(zoo.build("two_outputs"))
    x = zoo.batch(30)
    targets = [np.arange(30) % value.shape[-1] for value in zoo.outputs_of(masked, x)]
    candidates = candidates_of(masked, "kernel", 4)
    losses = ["sparse_categorical_crossentropy"] * 2
    found = sp.score(masked, candidates, data=(x, targets), score=losses, racing=False)
    expected = [as_score(losses)(targets, outputs) for outputs in outputs_by_hand(masked, candidates, x)]
    np.testing.assert_allclose(found.values, expected, rtol=1e-4)
    named = dict(zip(masked.output_names, targets, strict=True))
    again = sp.score(masked, candidates, data=(x, named), score=losses, racing=False)
    assert again.values.tolist() == found.values.tolist()


def test_seed_decides_the_order_of_samples_and_nothing_else():
    masked = sp.wrap(zoo.build("batch_norm_chain"))
    candidates = candidates_of(masked, "kernel", 4)
    one, other = (scored(masked, candidates, racing=False, seed=seed)[0].values for seed in (0, 7))
    np.testing.assert_allclose(one, other)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"candidates": []}, r"nothing to score\. Received: no candidates\. Give at least one"),
        ({"batch_size": 0}, r"batch_size must be at least 1\. Received: batch_size=0\. Use e\.g\. 128"),
        ({"executor": "cluster"}, r"Unknown executor\. Received: executor='cluster'\. Use 'local' or 'ray'"),
        ({"score": "acc"}, r"Unknown score\. Received: score='acc'"),
        ({"score": lambda y, p: np.nan}, r"score is not a number\. Received: nan\. Check the model"),
        (
            {"score": SampleScore(lambda y, p: np.full(len(p), np.nan))},
            r"score is not a number\. Received: nan\. Check the model",
        ),
        ({"candidates": [MaskSet(kernel={"nobody": np.ones((1, 1), bool)})]}, r"no layer of that name\. Received"),
        ({"data": (np.zeros((3, 8, 8, 2)), np.zeros(2))}, r"one label for each sample\. Received: 3 samples, 2 labels"),
        (
            {"data": (np.zeros((3, 7, 8, 2)), np.zeros(3))},
            r"does not fit model 'chain'\. Received: samples of shape \(7, 8, 2\)\. Use shape \(8, 8, 2\)",
        ),
        ({"data": (np.zeros((3, 8, 8)), np.zeros(3))}, r"Received: samples of shape \(8, 8\)\. Use shape \(8, 8, 2\)"),
        ({"data": (np.zeros((0, 8, 8, 2)), np.zeros(0))}, r"one label for each sample\. Received: 0 samples, 0 labels"),
        (
            {"data": (np.zeros((2, 8, 8, 2)), ["cat", "dog"])},
            r"targets that are numbers\. Received: y of dtype <U3\. Numb",
        ),
        (
            {"data": (np.zeros((2, 8, 8, 2)), [0, None])},
            r"targets that are numbers\. Received: y of dtype object\. Numb",
        ),
        ({"data": (np.zeros((2, 8, 8, 2)), {"x": np.zeros(2)})}, r"names of the model's outputs\. Received: x\. Use: "),
    ],
)
def test_bad_input_is_refused(change, message):
    masked = sp.wrap(zoo.build("chain"))
    arguments = {"candidates": candidates_of(masked, "kernel", 2), "data": (zoo.batch(4), np.zeros(4)), **change}
    with pytest.raises(ValueError, match=message):
        sp.score(masked, **arguments)


def test_plain_model_is_refused():
    with pytest.raises(ValueError, match=r"has no masks\. Received: a plain model\. Use wrap\(model\) first"):
        sp.score(zoo.build("chain"), [MaskSet()], data=(zoo.batch(4), np.zeros(4)))


def test_targets_are_needed_or_a_dense_model():
    validation = check_validation((zoo.batch(4), None), as_score("kl"), 4)
    with pytest.raises(ValueError, match=r"Without labels the outputs of the dense model are the targets\. Received"):
        validation.of(zoo.build("chain"))


def test_nested_models_with_layers_of_one_name_are_run_whole():
    """Their layers cannot be those of one flat model, so nothing is shared; the outputs are right all the same."""
    inner = keras.Input((8, 8, 4))
    block = keras.Model(inner, zoo.conv(keras.layers.BatchNormalization(name="norm")(inner), 6, name="b"), name="block")
    inputs = keras.Input(zoo.INPUT_SHAPE)
    h = keras.layers.BatchNormalization(name="norm")(zoo.conv(inputs, 4, name="a"))
    model = zoo.randomize(keras.Model(inputs, zoo.conv(block(h), 3, name="c")))
    masked = sp.wrap(model)
    candidates = candidates_of(masked, "kernel", 4)
    check_outputs(masked, candidates, zoo.batch(SAMPLES))
    bench = bench_of(masked, zoo.batch(SAMPLES))
    changes = [bench.change(candidate) for candidate in candidates]
    bench.begin(changes)
    assert bench._place(changes[0]).network._shared is None
