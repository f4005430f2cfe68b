"""A walk gives what the model computes, whatever is changed on the way; what it holds is dropped and bounded."""

import pathlib

import keras
import numpy as np
import pytest

from tests import zoo
from tf_structprune.graph import list_calls, named_layers
from tf_structprune.observe import Pixels, Shelf, Walk, mean_and_variance, sum_ends, taken

_L = keras.layers


def batches_of(x, size=4):
    return [(x[start : start + size],) for start in range(0, len(x), size)]


def outputs(walk, keys, side):
    return [np.concatenate([getattr(walk, side)(key, batch) for batch in walk.batches]) for key in keys]


@pytest.mark.parametrize("passed", [False, True])
@pytest.mark.parametrize("name", zoo.ZOO)
def test_outputs_are_those_of_both_models(name, passed):
    x, one, other = zoo.batch(6), zoo.build(name), zoo.build(name)
    first = next(layer for layer in other.layers if layer.weights)
    found, changed = list_calls(one), list_calls(other)
    with Shelf(2000) as shelf:
        walk = Walk(found, changed, batches_of(x), shelf, passing=lambda _: passed)
        for _, call in walk:
            if call.layer is first:
                first.set_weights([weight * 0.5 for weight in first.get_weights()])
                walk.mark(call)
        for key, expected in zip(found.outputs, zoo.outputs_of(one, x), strict=True):
            np.testing.assert_allclose(outputs(walk, [key], "reference")[0], expected, atol=1e-5)
        for key, expected in zip(changed.outputs, zoo.outputs_of(other, x), strict=True):
            np.testing.assert_allclose(outputs(walk, [key], "model")[0], expected, atol=1e-5)
            assert walk.differs(key)


def test_what_is_alike_is_computed_once_and_dropped_when_read():
    x, model = zoo.batch(4), zoo.build("chain")
    found = list_calls(model)
    with Shelf() as shelf:
        walk = Walk(found, found, batches_of(x), shelf)
        for _, call in walk:
            assert not any(walk.differs(key) for key in call.inputs)
        assert walk.known(found.outputs[0])
        assert not walk.known(found.calls[1].output)


def test_what_is_passed_is_not_held():
    x, model, put = zoo.batch(4), zoo.build("batch_norm_chain"), []

    class Noted(Shelf):
        def put(self, name, batch, array):
            put.append(name[1])
            super().put(name, batch, array)

    found = list_calls(model)
    with Noted() as shelf:
        for _ in (walk := Walk(found, found, batches_of(x), shelf, passing=lambda call: True)):
            pass
        np.testing.assert_allclose(walk.reference(found.outputs[0], 0), zoo.outputs_of(model, x)[0], atol=1e-5)
    assert len(set(put)) == 2  # the input and the output


def test_one_branch_of_a_sum_is_complete_before_the_other_begins():
    inputs = keras.Input((6, 6, 2))
    x = zoo.conv(inputs, 4, name="stem")
    one, two = zoo.conv(x, 4, name="one", activation=None), zoo.conv(x, 4, 1, name="two", activation=None)
    model = keras.Model(inputs, _L.Add(name="sum")([_L.BatchNormalization(name="norm")(one), two]))
    found = list_calls(model)
    with Shelf() as shelf:
        order = [call.name for call, _ in Walk(found, found, batches_of(zoo.batch(2, shape=(6, 6, 2))), shelf)]
    assert sorted(order) == sorted(call.name for call in found.calls)
    assert order.index("norm") == order.index("one") + 1


def test_sums_are_found_behind_normalizations_alone():
    inputs = keras.Input((6, 6, 2))
    x = zoo.conv(inputs, 4, name="stem")
    y = _L.BatchNormalization(name="norm")(zoo.conv(x, 4, name="one", activation=None))
    z = _L.ReLU()(zoo.conv(x, 4, 1, name="two", activation=None))
    own = zoo.conv(x, 4, 1, name="activated")
    model = zoo.randomize(keras.Model(inputs, _L.Add(name="sum")([y, z, own])))
    found = list_calls(model)
    ends = {call.name: sum_ends(found).get(call.output) for call in found.calls}
    assert ends["two"] is None and ends["stem"] is None and ends["activated"] is None
    norm = named_layers(model)["norm"]
    gamma, variance = np.array(norm.gamma), np.array(norm.moving_variance)
    np.testing.assert_allclose(ends["one"].factors, gamma / np.sqrt(variance + norm.epsilon), rtol=1e-5)
    off = np.ones((2, 4), np.float32)
    np.testing.assert_allclose(ends["one"].to_layer(off) * ends["one"].factors, off, rtol=1e-5)


def test_normalization_that_all_but_removes_a_map_asks_nothing_of_it():
    inputs = keras.Input((6, 6, 2))
    y = _L.BatchNormalization(name="norm")(zoo.conv(inputs, 3, name="one", activation=None))
    model = keras.Model(inputs, _L.Add()([y, zoo.conv(inputs, 3, name="two", activation=None)]))
    named_layers(model)["norm"].gamma.assign([1.0, 1e-5, 0.0])
    found = list_calls(model)
    (end,) = (sum_ends(found)[call.output] for call in found.calls if call.name == "one")
    np.testing.assert_array_equal(end.to_layer(np.ones(3, np.float32)) != 0, [True, False, False])


@pytest.mark.parametrize("axis", [-1, 1])
def test_statistics_are_those_of_one_batch_of_all(axis):
    x = (1000 + zoo.batch(10, shape=(5, 6, 3))).astype(np.float32)
    mean, variance = mean_and_variance((x[part] for part in np.array_split(np.arange(10), 3)), axis)
    others = tuple(at for at in range(4) if at != axis % 4)
    np.testing.assert_allclose(mean, x.astype(float).mean(axis=others), rtol=1e-7)
    np.testing.assert_allclose(variance, x.astype(float).var(axis=others), rtol=1e-5)


def test_shelf_holds_what_it_was_given_on_disk_too():
    arrays = {at: np.full((50,), at, np.float32) for at in range(6)}
    with Shelf(500) as shelf:
        for at, array in arrays.items():
            shelf.put("x", at, array)
        for at, array in arrays.items():
            np.testing.assert_array_equal(shelf.get("x", at), array)
        folder = pathlib.Path(shelf._folder.name)
        assert len(list(folder.iterdir())) == 4
        shelf.drop("x")
        assert "x" not in shelf and not list(folder.iterdir())
        shelf.put("y", 0, arrays[0])
    assert not folder.exists()


def test_pixels_are_all_where_they_are_few_and_otherwise_chosen_without_repeats():
    few = Pixels(1000, 100, np.random.default_rng(0))
    assert few.choose(4, 9) is None
    chosen = few.choose(4, 1024)
    assert chosen.shape[0] == 4 and 0 < chosen.shape[1] < 1024
    assert all(len(set(row)) == len(row) for row in chosen.tolist())
    values = np.arange(4 * 1024, dtype=np.float32).reshape(4, 1024, 1)
    np.testing.assert_array_equal(taken(values, chosen).ravel(), (np.arange(4)[:, None] * 1024 + chosen).ravel())
    assert taken(values, None).shape == (4096, 1)
