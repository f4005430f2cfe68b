"""Probes of features: a linear classifier on them, and all of it trained on; masks hold."""

import keras
import numpy as np
import pytest

import tf_structprune as sp
from tests import zoo
from tf_structprune import pretext


@pytest.fixture(scope="module")
def features():
    return pretext.features_of(sp.wrap(zoo.build("chain"), granularity="weight"))


def points(samples, seed=0):
    """Three groups in a plane that lines part."""
    rng, y = np.random.default_rng(seed), np.arange(samples) % 3
    corners = np.array([(0, 0), (4, 0), (0, 4)], np.float32)
    return (corners[y] + rng.normal(0, 0.3, (samples, 2))).astype(np.float32), y


def as_they_are():
    return keras.Sequential([keras.Input((2,)), keras.layers.Identity()])


def test_linear_probe_is_perfect_where_lines_part_and_chance_without_features():
    assert pretext.linear_probe(as_they_are(), points(60), points(60, 1)) == 1
    x, y = points(60)
    assert pretext.linear_probe(as_they_are(), (0 * x, y), (0 * x, y)) == pytest.approx(1 / 3)


def test_linear_probe_is_scikit_learns():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(200, 2)).astype(np.float32), rng.integers(0, 3, 200)
    scaled = (x - x.mean(axis=0)) / x.std(axis=0)
    wanted = LogisticRegression(C=1 / (200 * 2 * 1e-4), max_iter=1000).fit(scaled, y).score(scaled, y)
    assert pretext.linear_probe(as_they_are(), (x, y), (x, y), iterations=1000) == pytest.approx(wanted, abs=0.011)


def test_probe_changes_nothing(features):
    x, y = zoo.lit_rows(24)
    before = features.get_weights()
    first = pretext.linear_probe(features, (x, y), (x, y))
    assert first == pretext.linear_probe(features, (x, y[:, None]), (x, y)) and first > 1 / 3
    for one, other in zip(before, features.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_fine_tuning_learns_and_masks_hold():
    masked = sp.wrap(zoo.build("chain"), granularity="weight")
    sp.set_masks(masked, sp.random_masks(masked, {"weight": 0.5}))
    given = pretext.features_of(masked)
    x, y = zoo.lit_rows(48)
    keras.utils.set_random_seed(0)
    before = given.get_weights()
    model = pretext.fine_tuned(given, (x, y), epochs=10, rate=0.02, batch_size=16, validation=(x, y))
    assert model.evaluate(x, y, verbose=0)[1] > 0.5
    assert sp.get_masks(model).equals(sp.get_masks(given))
    gone = ~sp.get_masks(model).weight["b"]
    assert not sp.unwrap(model).get_layer("b").get_weights()[0].reshape(gone.shape)[gone].any()
    for one, other in zip(before, given.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("layer, shape", [("b", (None, 8, 8, 6)), (None, (None, 5))])
def test_classifier_reads_maps_and_vectors(layer, shape):
    found = pretext.features_of(zoo.build("chain"), layer)
    assert found.output.shape == shape
    assert pretext.classifier_on(found, 4).output.shape == (None, 4)


X, Y = zoo.lit_rows(6)
REFUSED = {
    "one-hot": (lambda f: pretext.linear_probe(f, (X, np.eye(3)[Y]), (X, Y)), "training labels of a probe are class"),
    "real": (lambda f: pretext.linear_probe(f, (X, Y), (X, Y * 0.5)), "validation labels.* Received: float64 of shape"),
    "below 0": (lambda f: pretext.fine_tuned(f, (X, Y - 1)), "class indices from 0, one a sample. Received: int64"),
    "too few": (lambda f: pretext.fine_tuned(f, (X, Y[:4])), r"Received: int64 of shape \(4,\) for 6 samples"),
    "l2": (lambda f: pretext.linear_probe(f, (X, Y), (X, Y), l2=-1.0), "l2 must be 0 or more.*Received: l2=-1.0"),
    "epochs": (lambda f: pretext.fine_tuned(f, (X, Y), epochs=0), "epochs must be at least 1. Received: epochs=0"),
    "rate": (lambda f: pretext.fine_tuned(f, (X, Y), rate=0.0), "rate must be a number above 0. Received: rate=0.0"),
    "classes": (lambda f: pretext.classifier_on(f, 1), "classes must be at least 2. Received: classes=1"),
    "nan": (lambda f: pretext.linear_probe(f, (X * np.nan, Y), (X, Y)), "features that are not finite. Received: 30"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_makes_no_sense_is_refused(case, features):
    call, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        call(features)
