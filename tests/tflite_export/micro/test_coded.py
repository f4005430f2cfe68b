"""The coded form: every layer comes back, in about what its values are worth, and damage is told."""

import numpy as np
import pytest

from tests.tflite_export.micro.layers import EDGES, changed, weights
from tflite_export.micro import coded_bytes, decode, encode


def entropy_bytes(*layers):
    """What values are worth that are drawn alike."""
    counts = np.unique(np.concatenate(layers), return_counts=True)[1]
    return float(-(counts * np.log2(counts / counts.sum())).sum()) / 8


def laplace(seed, count, scale, zeros):
    rng = np.random.default_rng(seed)
    values = np.round(rng.laplace(0, scale, count)).clip(-127, 127)
    return np.where(rng.random(count) < zeros, 0, values).astype(np.int8)


def check(*layers):
    """What `encode` gives is read back, and as long as was said."""
    coded = encode(layers)
    for data, values in zip(coded.data, layers, strict=True):
        np.testing.assert_array_equal(decode(data, coded.table, values.size), values)
    counts = [np.bincount(values.astype(int) + 128, minlength=256) for values in layers]
    assert 0 <= coded.size_bytes - coded_bytes(counts) <= 4 * len(layers)
    return coded


@pytest.mark.parametrize("values", EDGES.values(), ids=EDGES)
def test_odd_layers_come_back(values):
    check(values)


@pytest.mark.parametrize("start", range(0, 400, 50))
def test_every_layer_comes_back(start):
    for seed in range(start, start + 50):
        check(weights(seed))


@pytest.mark.parametrize("start", range(0, 120, 40))
def test_layers_that_share_a_table_come_back(start):
    for seed in range(start, start + 40, 4):
        check(*(weights(seed + offset) for offset in range(4)))


def test_layers_of_a_kind_take_less_with_one_table():
    layers = [laplace(seed, 3000, 9, 0.5) for seed in range(5)]
    assert check(*layers).size_bytes < sum(check(values).size_bytes for values in layers) - 150


@pytest.mark.parametrize("zeros", [0.0, 0.5, 0.8, 0.9, 0.99])
@pytest.mark.parametrize("scale", [1.5, 8.0, 30.0])
def test_size_is_near_what_the_values_are_worth(scale, zeros):
    values = laplace(3, 40_000, scale, zeros)
    coded = encode([values])
    assert len(coded.table) <= 5 + 54 + 4
    assert len(coded.data[0]) <= 1.012 * entropy_bytes(values) + 40  # of few values each is rarer than it seems


def test_words_of_few_bits_and_shared_values_take_no_more_than_their_number():
    rng = np.random.default_rng(5)
    words = rng.normal(0, 2, 20_000).round().clip(-7, 7)
    few, many = check((words * 16).astype(np.int8)), check(words.astype(np.int8))
    assert few.data == many.data and len(few.table) == len(many.table)
    book = np.sort(rng.choice(np.arange(-128, 128), 16, replace=False)).astype(np.int8)
    shared = book[(words + 8).astype(int)]
    assert check(shared).data == many.data
    assert len(check(shared).table) == len(many.table) + len(np.unique(shared))


@pytest.mark.parametrize("start", range(0, 400, 100))
def test_damage_is_one_clear_line(start):
    for seed in range(start, start + 100):
        values = weights(seed)
        if not values.any():
            continue
        coded, rng = encode([values]), np.random.default_rng(seed)
        data, table = coded.data[0], coded.table
        broken = (changed(data, rng), table) if seed % 2 else (data, changed(table, rng))
        if broken == (data, table):
            continue
        with pytest.raises(ValueError, match=r"is damaged\. Received: .*\. Export the model again\.$") as caught:
            decode(*broken, values.size)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("change", [-1, 1, 1000])
def test_another_number_of_weights_is_damage(change):
    values = laplace(0, 1000, 5, 0.5)
    with pytest.raises(ValueError, match=f"A layer of coded weights is damaged.* for {1000 + change} weights"):
        decode(*encode([values]).data, encode([values]).table, 1000 + change)


def test_weights_of_another_type_are_refused():
    with pytest.raises(ValueError, match=r"Weights must be int8\. Received: dtype=float32\. Quantize the layer first"):
        encode([np.zeros(3, np.float32)])


def test_same_weights_same_bytes():
    layers = [weights(seed) for seed in range(8)]
    assert encode(layers) == encode([values.copy() for values in layers])
