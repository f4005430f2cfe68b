"""The allocator finds what looking at every choice finds, and never passes a limit."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tf_structprune.fixed_point import FixedPoint, LayerBits, allocate_bits, weight_bytes

WHOLE = 10**9  # losses are counted in billionths

_loss = st.one_of(st.integers(-20, 200).map(lambda images: images / 2000), st.floats(-0.5, 2.0))


def _losses(smallest):
    words = st.sets(st.integers(smallest, 8), min_size=1, max_size=4)
    return words.flatmap(lambda chosen: st.fixed_dictionaries(dict.fromkeys(sorted(chosen), _loss)))


weights_and_losses = st.lists(st.tuples(st.integers(1, 300), _losses(2)), min_size=1, max_size=4)
signals = st.lists(_losses(3), max_size=3)


def named(layers):
    """Losses and weights by name."""
    losses = {f"layer_{at}": lost for at, (_, lost) in enumerate(layers)}
    return losses, {f"layer_{at}": count for at, (count, _) in enumerate(layers)}


def lost(losses, words):
    """Sum of losses in billionths; gains count as none."""
    return sum(round(max(0.0, by_word[word]) * WHOLE) for by_word, word in zip(losses, words, strict=True))


def size(weights, words):
    return sum(-(-count * word // 8) for count, word in zip(weights, words, strict=True))


def every(losses):
    return itertools.product(*(sorted(by_word) for by_word in losses))


def words_of(recipe, names, part="weight_bits"):
    return [getattr(recipe.bits_of(name), part) for name in names]


@given(weights_and_losses, st.integers(1, 1200))
def test_size_gives_the_least_loss_that_fits(layers, size_bytes):
    losses, weights = named(layers)
    fitting = [words for words in every(losses.values()) if size(weights.values(), words) <= size_bytes]
    if not fitting:
        with pytest.raises(ValueError, match=rf"The weights do not fit\. Received: size_bytes={size_bytes}, and in"):
            allocate_bits(losses, weights, size_bytes=size_bytes)
        return
    recipe = allocate_bits(losses, weights, size_bytes=size_bytes)
    found = words_of(recipe, losses)
    assert weight_bytes(weights, recipe) == size(weights.values(), found) <= size_bytes
    assert lost(losses.values(), found) == min(lost(losses.values(), words) for words in fitting)
    best = [words for words in fitting if lost(losses.values(), words) == lost(losses.values(), found)]
    assert size(weights.values(), found) == min(size(weights.values(), words) for words in best)


@given(weights_and_losses, st.one_of(st.sampled_from([0.0, 0.01, 0.05]), st.floats(0, 3)))
def test_tolerance_gives_the_fewest_bytes_within_it(layers, tolerance):
    losses, weights = named(layers)
    allowed = round(tolerance * WHOLE)
    within = [words for words in every(losses.values()) if lost(losses.values(), words) <= allowed]
    if not within:
        with pytest.raises(ValueError, match=r"No word lengths stay within the tolerance\. Received: tolerance="):
            allocate_bits(losses, weights, tolerance=tolerance)
        return
    found = words_of(allocate_bits(losses, weights, tolerance=tolerance), losses)
    assert lost(losses.values(), found) <= allowed
    assert size(weights.values(), found) == min(size(weights.values(), words) for words in within)


@given(weights_and_losses, signals, st.floats(0, 3))
def test_weights_and_signals_together_stay_within_the_tolerance(layers, signal_losses, tolerance):
    losses, weights = named(layers)
    tied = {(f"signal_{at}", f"friend_{at}"): by_word for at, by_word in enumerate(signal_losses)}
    allowed = round(tolerance * WHOLE)
    least = [sum(round(max(0.0, min(by.values())) * WHOLE) for by in part.values()) for part in (losses, tied)]
    if sum(least) > allowed:
        with pytest.raises(ValueError, match="No word lengths stay within the tolerance"):
            allocate_bits(losses, weights, tied, tolerance=tolerance)
        return
    recipe = allocate_bits(losses, weights, tied, tolerance=tolerance)
    kernels = words_of(recipe, losses)
    words = words_of(recipe, [first for first, _ in tied], "signal_bits")
    assert words == words_of(recipe, [second for _, second in tied], "signal_bits")
    spent = lost(losses.values(), kernels)
    assert spent + lost(tied.values(), words) <= allowed
    share = least[0] + (allowed - sum(least)) // 2 if tied else allowed
    affordable = [each for each in every(losses.values()) if lost(losses.values(), each) <= share]
    assert size(weights.values(), kernels) == min(size(weights.values(), each) for each in affordable)
    rest = [sum(each) for each in every(tied.values()) if lost(tied.values(), each) <= allowed - spent]
    assert sum(words) == min(rest)


def test_a_tolerance_that_is_just_reached_is_kept():
    losses = {f"layer_{at}": {2: 0.0005, 8: 0.0} for at in range(20)}
    recipe = allocate_bits(losses, dict.fromkeys(losses, 10), tolerance=0.01)  # 20 * 0.0005 > 0.01 in floats
    assert words_of(recipe, losses) == [2] * 20


def test_a_size_leaves_signals_in_the_longest_word_that_loses_least():
    signal_losses = {("a",): {3: 0.0, 5: -0.1, 8: 0.0}, ("b",): {3: 0.2, 4: 0.1, 8: 0.3}}
    recipe = allocate_bits({"a": {4: 0.1}}, {"a": 8}, signal_losses, size_bytes=4)
    assert recipe.layers == {"a": LayerBits(4, 8), "b": LayerBits(8, 4)}


def test_deep_networks_with_losses_of_every_kind_are_solved():
    rng = np.random.default_rng(0)
    weights = {f"layer_{at}": int(rng.integers(100, 100_000)) for at in range(60)}
    losses = {name: {bits: float(rng.exponential() * 4.0**-bits) for bits in range(2, 9)} for name in weights}
    size_bytes = sum(weights.values()) // 2
    recipe = allocate_bits(losses, weights, size_bytes=size_bytes)
    assert 0.999 * size_bytes < weight_bytes(weights, recipe) <= size_bytes
    spent = lost(losses.values(), words_of(recipe, losses)) / WHOLE
    assert spent < sum(by_word[4] for by_word in losses.values())  # the same size for all in equal words
    back = allocate_bits(losses, weights, tolerance=spent)
    assert weight_bytes(weights, back) <= weight_bytes(weights, recipe)


def test_kind_of_steps_and_names_are_in_the_recipe():
    losses = {"a*": {2: 0.0}, "ab": {3: 0.0}}
    recipe = allocate_bits(losses, {"a*": 4, "ab": 4}, tolerance=0.0, power_of_two=False, per_channel=True)
    assert recipe == FixedPoint(8, None, False, True, {"a*": LayerBits(2, None), "ab": LayerBits(3, None)})
    assert words_of(recipe, losses) == [2, 3]
    only_signals = allocate_bits({}, {}, {("s",): {3: 0.0}}, tolerance=0.0)
    assert only_signals == FixedPoint(None, 8, layers={"s": LayerBits(None, 3)})


def test_weight_bytes_packs_each_layer_and_counts_float_words():
    recipe = FixedPoint(None, None, layers={"a": LayerBits(3, None)})
    assert weight_bytes({"a": 3, "b": 3}, recipe) == 2 + 12


GOOD = {"a": {4: 0.1}}
BAD = {
    "both limits": (
        (GOOD, {"a": 1}),
        {"tolerance": 0.1, "size_bytes": 9},
        "Give one limit, .* Received: tolerance=0.1",
    ),
    "no limit": ((GOOD, {"a": 1}), {}, "Give one limit, tolerance or size_bytes. Received: tolerance=None"),
    "tolerance negative": ((GOOD, {"a": 1}), {"tolerance": -0.1}, "tolerance must be 0 or more and finite. Received"),
    "tolerance nan": ((GOOD, {"a": 1}), {"tolerance": float("nan")}, "Received: tolerance=nan"),
    "tolerance infinite": ((GOOD, {"a": 1}), {"tolerance": float("inf")}, "Received: tolerance=inf"),
    "no bytes": ((GOOD, {"a": 1}), {"size_bytes": 0}, "size_bytes must be positive. Received: size_bytes=0"),
    "nothing": (({}, {}), {"tolerance": 0.1}, "nothing to give bits to. Received: no losses"),
    "weights missing": ((GOOD, {}), {"tolerance": 0.1}, "Layer 'a': needs its number of weights. Received: None"),
    "no weights": ((GOOD, {"a": 0}), {"tolerance": 0.1}, "Layer 'a': needs its number of weights. Received: 0"),
    "no words": (({"a": {}}, {"a": 1}), {"tolerance": 0.1}, "Layer 'a': needs a finite loss for each word length"),
    "loss nan": (({"a": {4: float("nan")}}, {"a": 1}), {"tolerance": 1.0}, "needs a finite loss .* Received: {4: nan}"),
    "word unknown": (({"a": {9: 0.0}}, {"a": 1}), {"tolerance": 0.1}, "bits of a signed word must be from 2 to 8"),
    "signal twice": (
        (GOOD, {"a": 1}, {("a", "b"): {8: 0.0}, ("b",): {8: 0.0}}),
        {"tolerance": 1.0},
        "Layer 'b': its signals have one word length. Received: losses for it twice",
    ),
}


@pytest.mark.parametrize("losses, limits, message", BAD.values(), ids=BAD)
def test_bad_numbers_are_refused(losses, limits, message):
    with pytest.raises(ValueError, match=message):
        allocate_bits(*losses, **limits)


def test_refusals_name_what_would_do():
    with pytest.raises(ValueError, match=r"size_bytes=4, and in the shortest words they take 5 bytes"):
        allocate_bits({"a": {4: 0.1, 8: 0.0}}, {"a": 10}, size_bytes=4)
    with pytest.raises(ValueError, match=r"tolerance=0.1, and the layers lose 0.3 at least, added up"):
        allocate_bits({"a": {4: 0.2}}, {"a": 10}, {("a",): {8: 0.1}}, tolerance=0.1)
