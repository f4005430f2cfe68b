"""Operators in the order of least memory: same outputs, no larger arena."""

from itertools import permutations

import keras
import numpy as np
import pytest

import tf_structprune as sp
from tests import zoo
from tflite_export.file import least_memory_order, open_file
from tflite_export.file._operator_order import _best_order, _Needs
from tflite_export.quantize import convert, fixed_point_files
from tflite_export.runtime import arena_bytes, run_litert

_L = keras.layers


def needs(reads, makes, size, extra=None, lasting=()):
    sets = lambda items: tuple(frozenset(item) for item in items)  # noqa: E731
    return _Needs(sets(reads), sets(makes), tuple(extra or [0] * len(reads)), size, frozenset(lasting))


def projection(sizes=(8, 20, 20, 20)):
    """A block whose projection frees a large tensor, and comes last in the file."""
    stem, inner, outer, _ = sizes
    inputs = keras.Input((16, 16, 3))
    h = _L.Conv2D(stem, 3, padding="same", activation="relu", name="stem")(inputs)
    branch = _L.Conv2D(inner, 3, strides=4, padding="same", activation="relu", name="a")(h)
    branch = _L.Conv2D(outer, 3, padding="same", name="b")(branch)
    h = _L.ReLU()(_L.Add()([_L.Conv2D(outer, 1, strides=4, name="shortcut")(h), branch]))
    outputs = _L.Dense(3, activation="softmax")(_L.GlobalAveragePooling2D()(h))
    return zoo.randomize(keras.Model(inputs, outputs))


def all_orders(what):
    for order in permutations(range(len(what.reads))):
        done, known = set(), True
        inner = {tensor for makes in what.makes for tensor in makes}
        for index in order:
            known &= what.reads[index] & inner <= done
            done |= what.makes[index]
        if known:
            yield order


@pytest.mark.parametrize("seed", range(12))
def test_order_is_the_best_of_all(seed):
    """Against every order of small random networks."""
    rng = np.random.default_rng(seed)
    reads = [{0}, *({int(t) for t in rng.choice(index + 1, 1 + index % 2)} for index in range(1, 6))]
    size = {tensor: int(rng.integers(1, 50)) for tensor in range(7)}
    what = needs(reads, [{index + 1} for index in range(6)], size, rng.integers(0, 20, 6).tolist(), lasting=[6])
    order = _best_order(what)
    assert what.peak(order) == min(what.peak(each) for each in all_orders(what))
    assert order in set(all_orders(what))


def test_chain_keeps_its_order():
    what = needs([{0}, {1}, {2}], [{1}, {2}, {3}], {0: 5, 1: 9, 2: 1, 3: 2}, lasting=[3])
    assert _best_order(what) == (0, 1, 2)
    assert what.peak((0, 1, 2)) == 14


@pytest.mark.parametrize("quantize", ["none", "int8"])
def test_file_computes_the_same(quantize):
    model, x = projection(), np.random.default_rng(0).uniform(-1, 1, (20, 16, 16, 3)).astype(np.float32)
    data = open_file(convert(model, quantize=quantize, representative_data=x))
    ordered = data.edited(least_memory_order)
    assert data.description.operator_counts == ordered.description.operator_counts
    assert np.array_equal(run_litert(data, x), run_litert(ordered, x))


def test_fixed_point_files_take_no_larger_arena_for_it(monkeypatch):
    """The int4 weights of "b" are unpacked into the arena: until then the stem's map had better be gone."""
    model = sp.to_fixed_point(projection((16, 40, 48, 0)), sp.FixedPoint(4, 8))
    sp.calibrate(model, np.random.default_rng(0).uniform(-1, 1, (20, 16, 16, 3)).astype(np.float32))
    ordered = fixed_point_files(model)
    monkeypatch.setattr("tflite_export.quantize._files.least_memory_order", lambda model: None)
    plain = fixed_point_files(model)
    assert len(ordered.int4.data) == len(plain.int4.data)
    assert arena_bytes(ordered.int8) <= arena_bytes(plain.int8)
    assert arena_bytes(ordered.int4) < arena_bytes(plain.int4)


def test_network_with_too_many_orders_keeps_its_own(monkeypatch):
    monkeypatch.setattr("tflite_export.file._operator_order._MOST_STATES", 3)
    data = open_file(convert(projection(), quantize="none"))
    assert data.edited(least_memory_order).description.operators == data.description.operators
