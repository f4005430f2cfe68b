"""The rest makes up for layers that go; which ones go."""

import keras
import numpy as np
import pytest

import tf_structprune as sp
from tests import zoo
from tf_structprune.allocation import OutOfReachError
from tf_structprune.fuse import find_removable, hollowed, without_passed
from tf_structprune.stages import find_layers
from tf_structprune.task import Samples

_L = keras.layers


def chain(seed=0, blocks=2, width=4):
    """A residual network whose blocks add the less the later they come."""
    inputs = keras.Input((6, 6, 2))
    x = _L.ReLU()(_L.BatchNormalization(name="stem_norm")(_L.Conv2D(width, 3, padding="same", name="stem")(inputs)))
    for index in range(blocks):
        y = _L.Conv2D(width, 3, padding="same", activation="relu", name=f"a{index}")(x)
        y = _L.BatchNormalization(name=f"norm{index}")(_L.Conv2D(width, 3, padding="same", name=f"b{index}")(y))
        x = _L.ReLU()(_L.Add(name=f"block{index}")([x, y]))
    x = _L.Dense(3, name="classifier")(_L.GlobalAveragePooling2D()(x))
    model = zoo.randomize(keras.Model(inputs, x, name="chain"), seed)
    for index in range(blocks):
        norm = model.get_layer(f"norm{index}")
        for weight in (norm.gamma, norm.beta):
            weight.assign(weight * 0.2**index)
    return model


def samples(count=64, seed=1):
    return np.random.default_rng(seed).normal(size=(count, 6, 6, 2)).astype(np.float32)


def error(model, small, x):
    wanted, found = (np.asarray(each(x, training=False)) for each in (model, small))
    return ((wanted - found) ** 2).sum() / ((wanted - wanted.mean(axis=0)) ** 2).sum()


@pytest.mark.parametrize("names", [["block0"], ["a1"], ["b0", "block1"]], ids=",".join)
def test_rest_makes_up_for_what_goes(names):
    model, x = chain(), samples()
    as_it_was, made_up = sp.remove_layers(model, names), sp.remove_layers(model, names, samples=x)
    assert as_it_was.count_params() == made_up.count_params() < model.count_params()
    assert error(model, made_up, samples(64, 2)) < 0.5 * error(model, as_it_was, samples(64, 2))


def test_without_samples_weights_stay_as_they_are():
    model = chain()
    small = sp.remove_layers(model, ["block1"])
    assert zoo.largest_difference(small, without_passed(hollowed(model, ["block1"])), samples(8)) == 0
    for layer in small.layers:
        for old, new in zip(model.get_layer(layer.name).get_weights(), layer.get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)


def test_what_lies_before_the_layer_keeps_its_weights():
    small = sp.remove_layers(chain(), ["a1"], samples=samples())
    for name in ("stem", "a0", "b0"):
        for old, new in zip(chain().get_layer(name).get_weights(), small.get_layer(name).get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)
    assert not np.array_equal(small.get_layer("b1").kernel, chain().get_layer("b1").kernel)


def test_statistics_alone_leave_the_kernels():
    small = sp.remove_layers(chain(), ["block0"], samples=samples(), mode="statistics")
    np.testing.assert_array_equal(small.get_layer("b1").kernel, chain().get_layer("b1").kernel)
    assert not np.array_equal(small.get_layer("norm1").moving_mean, chain().get_layer("norm1").moving_mean)


def test_block_that_adds_nothing_costs_nothing():
    model = chain()
    for weight in (model.get_layer("norm1").gamma, model.get_layer("norm1").beta):
        weight.assign(weight * 0)
    small = sp.remove_layers(model, ["block1"], samples=samples())
    assert error(model, small, samples(64, 2)) < 1e-6


def test_model_that_was_given_stays():
    model = chain()
    before = model.get_weights()
    sp.remove_layers(model, ["block0"], samples=samples())
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_equal_seeds_remove_equally():
    made = [sp.remove_layers(chain(), ["block0"], samples=samples(), seed=3) for _ in range(2)]
    assert zoo.largest_difference(*made, samples(8)) == 0


def macs_of(share, model):
    most = share * sp.trace(model).macs
    return lambda small: sp.trace(small).macs <= most


def test_block_that_matters_least_goes_first():
    model = chain()
    assert find_layers(model, macs_of(0.6, model), samples()).names == ("block1",)


@pytest.mark.parametrize("share", [0.9, 0.4])
def test_choice_fits_and_none_of_it_may_come_back(share):
    model = chain()
    fits = macs_of(share, model)
    found = find_layers(model, fits, samples())
    assert fits(sp.remove_layers(model, found.names))
    assert set(found.names) | set(found.kept) == set(find_removable(model)[0])
    for name in found.names:
        rest = [other for other in found.names if other != name]
        assert not fits(sp.remove_layers(model, rest) if rest else model)


def test_greedy_choice_is_that_of_all_errors():
    """Lazy evaluation looks at fewer, and finds what looking at all finds."""
    model, x = chain(seed=4), Samples.of(chain(), samples())
    price = sp.trace(model).macs
    losses = {}
    for name in find_removable(model)[0]:
        small = sp.remove_layers(model, [name], samples=x[32:])
        losses[name] = error(model, small, x[:32].arrays[0]) / (price - sp.trace(small).macs)
    least = min(losses, key=losses.get)
    found = find_layers(model, lambda small: sp.trace(small).macs < price, x)
    assert found.names == (least,)


def test_named_layers_stay():
    model = chain()
    found = find_layers(model, macs_of(0.8, model), samples(), keep=["b*"])
    assert set(found.names) | set(found.kept) == {"a0", "a1"}


def test_model_that_needs_no_removal_loses_nothing():
    assert find_layers(chain(), lambda small: True, samples()).names == ()


PLAIN = keras.Sequential([keras.Input((6, 6, 2)), _L.Conv2D(3, 3, name="only"), _L.Flatten()], name="plain")


def smaller(small):
    return sp.trace(small).macs < sp.trace(chain(blocks=1)).macs


REFUSED = {
    "none may go": (
        lambda: find_layers(PLAIN, lambda small: False, samples()),
        "Model 'plain' has no layer that may go whole. Received: only: it has another number of channels",
    ),
    "out of reach": (
        lambda: find_layers(chain(), lambda small: False, samples()),
        "Model 'chain' does not fit without all layers that may go. Received: 6 of them",
    ),
    "name to keep that is none": (
        lambda: find_layers(chain(), lambda small: True, samples(), keep=["blok*"]),
        r"Model 'chain' has no layer to keep by that name. Received: keep='blok\*'. Use one of: stem",
    ),
    "unknown": (lambda: sp.remove_layers(chain(), ["x"]), "Layer 'x' has no place in names"),
    "masked": (
        lambda: sp.remove_layers(sp.wrap(chain()), ["b0"]),
        "Model 'chain' has masks, and layers go from a plain one",
    ),
    "samples": (lambda: sp.remove_layers(chain(), ["b0"], samples=samples()[:, :4]), "chain"),
    "nan": (lambda: sp.remove_layers(chain(), ["b0"], samples=samples() * np.nan), "not finite|finite"),
    "mode": (lambda: sp.remove_layers(chain(), ["b0"], mode="all"), "Unknown reconstruction"),
    "text": (
        lambda: sp.remove_layers(chain(), ["b0"], samples="x.npz"),
        "The data must be arrays of numbers. Received: str",
    ),
    "a name to keep": (
        lambda: find_layers(chain(), lambda small: True, samples(), keep="b0"),
        r"keep must be a list of names. Received: keep='b0'. Use \['b0'\]",
    ),
    "few samples": (lambda: find_layers(chain(), smaller, samples(3)), "Received: 3. Use 4 or more"),
    "equal samples": (
        lambda: find_layers(chain(), smaller, np.ones_like(samples(8))),
        "says the same of all samples that errors are measured on. Received: 4 of them",
    ),
    "price of nothing": (
        lambda: find_layers(chain(blocks=1), smaller, samples(8), price=lambda small: 1.0),
        "No further layer lowers the price of model 'chain', which does not fit yet. Received: a price of 1 without",
    ),
    "price that is none": (
        lambda: find_layers(chain(blocks=1), smaller, samples(8), price=lambda small: np.nan),
        "The price of a model must be a finite number. Received: nan for 'chain' without any removal",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_makes_no_sense_is_refused(case):
    call, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        call()


def test_cost_that_is_measured_otherwise_again_is_out_of_reach():
    looks = iter([True])  # without all of them, before the search; never again
    with pytest.raises(OutOfReachError, match="does not fit without all layers that may go"):
        find_layers(chain(blocks=1), lambda small: next(looks, False), samples(8))


def test_out_of_reach_is_an_error_of_its_own():
    with pytest.raises(OutOfReachError):
        REFUSED["out of reach"][0]()


def test_only_keras_models_lose_layers():
    with pytest.raises(TypeError, match="model must be a keras.Model. Received: str"):
        sp.remove_layers("model.keras", ["b0"])
