"""What every way of sharing weights does, and what is special about each."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_structprune.fixed_point import SHARINGS, SharedGrid, WeightGrid, share_values

MANY = settings(max_examples=40, deadline=None, derandomize=True)
each_method = pytest.mark.parametrize("method", SHARINGS)


def weights(seed, size=400, kind="laplace"):
    rng = np.random.default_rng(seed)
    return getattr(rng, kind)(0.01, 0.1, size)


@each_method
@MANY
@given(
    seed=st.integers(0, 999),
    size=st.integers(40, 600),
    count=st.integers(2, 40),
    kind=st.sampled_from(["laplace", "normal"]),
)
def test_at_most_so_many_values_each_of_them_used(method, seed, size, count, kind):
    values = weights(seed, size, kind)
    shared = share_values(values, count, method, seed=seed)
    assert 1 <= len(shared.book) <= count
    assert (np.diff(shared.book) > 0).all()
    assert set(shared.index) == set(range(len(shared.book)))
    assert shared.weights.shape == values.shape
    again = share_values(values, count, method, seed=seed)
    assert np.array_equal(again.index, shared.index) and np.array_equal(again.book, shared.book)


@each_method
@MANY
@given(seed=st.integers(0, 999), count=st.integers(2, 40))
def test_few_values_are_kept_as_they_are(method, seed, count):
    rng = np.random.default_rng(seed)
    values = rng.choice(rng.normal(size=count), 100)
    assert np.array_equal(share_values(values, count, method).weights, values)


@each_method
@MANY
@given(seed=st.integers(0, 999), power=st.integers(-20, 20))
def test_scale_of_the_weights_means_nothing(method, seed, power):
    values = weights(seed)
    one, other = share_values(values, 8, method), share_values(values * 2.0**power, 8, method)
    assert np.array_equal(one.index, other.index)
    np.testing.assert_allclose(other.book, one.book * 2.0**power, rtol=1e-9)


@each_method
def test_more_values_are_nearer(method):
    values = weights(0, 4000)
    errors = [np.square(share_values(values, count, method).weights - values).mean() for count in (4, 16, 64, 256)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0] / 50


@each_method
def test_many_weights_are_looked_at_in_part_and_all_shared(method):
    values = weights(3, 50_000)
    shared = share_values(values, 16, method)
    assert len(shared.index) == 50_000
    most = 0.6 if method == "pws" else 0.3  # chance adds its own
    assert np.square(shared.weights - values).mean() < most * values.var()


@MANY
@given(seed=st.integers(0, 999), count=st.integers(2, 30))
def test_clusters_are_around_their_means(seed, count):
    values = weights(seed)
    shared = share_values(values, count, "cws")
    for at, value in enumerate(shared.book):
        assert np.isclose(values[shared.index == at].mean(), value, rtol=0, atol=2e-2 * values.std())
    nearest = np.abs(values[:, None] - shared.book).min(axis=1)
    np.testing.assert_allclose(np.abs(shared.weights - values), nearest, atol=1e-12)


@MANY
@given(seed=st.integers(0, 99), count=st.integers(2, 12))
def test_chance_changes_nothing_on_average(seed, count):
    values = weights(seed, 100)
    drawn = np.mean([share_values(values, count, "pws", seed=each).weights for each in range(300)], axis=0)
    widest = np.diff(share_values(values, count, "pws").book).max()
    assert np.abs(drawn - values).max() < 6 * widest / 2 / np.sqrt(300)
    assert np.abs(np.mean(drawn - values)) < 6 * widest / 2 / np.sqrt(300 * 100)


@MANY
@given(seed=st.integers(0, 999), count=st.integers(2, 40))
def test_uniform_values_are_multiples_of_a_step_and_never_zero(seed, count):
    shared = share_values(weights(seed), count, "uq")
    step = np.abs(shared.book).min()
    steps = [step / whole for whole in range(1, 200)]  # the least value may be a multiple itself
    rests = [np.abs(shared.book / each - np.rint(shared.book / each)).max() for each in steps]
    assert min(rests) < 1e-6
    assert (shared.book != 0).all()


@MANY
@given(seed=st.integers(0, 999), count=st.integers(8, 32))
def test_entropy_constraint_buys_entropy(seed, count):
    values = weights(seed, 3000)
    constrained, clustered = (share_values(values, count, method) for method in ("ecsq", "cws"))
    assert constrained.entropy_bits < clustered.entropy_bits


def test_entropy_of_equal_shares_is_the_bits_of_a_word():
    assert share_values(np.tile(np.arange(1.0, 9), 5), 8).entropy_bits == pytest.approx(3)


@pytest.mark.parametrize(
    "count, method, told",
    [
        (1, "cws", r"share 2 values or more\. Received: count=1"),
        (2.5, "cws", r"share 2 values or more\. Received: count=2\.5"),
        (True, "cws", r"share 2 values or more\. Received: count=True"),
        (4, "kmeans", r"Unknown weight sharing\. Received: method='kmeans'\. Use one of: cws, pws, uq, ecsq"),
        (401, "uq", r"More shared values than weights\. Received: count=401 for 400"),
    ],
)
def test_what_cannot_be_shared_is_refused(count, method, told):
    with pytest.raises(ValueError, match=told):
        share_values(weights(0), count, method)


@each_method
def test_weights_that_are_no_numbers_are_refused(method):
    with pytest.raises(ValueError, match="NaN or infinite|finite"):
        share_values([1.0, np.nan, 2.0], 2, method)


@each_method
@MANY
@given(seed=st.integers(0, 999), count=st.integers(2, 20), power_of_two=st.booleans())
def test_words_that_are_used_are_few_and_the_nearest(method, seed, count, power_of_two):
    grid = SharedGrid(count, method, 8, power_of_two)
    values = np.where(np.random.default_rng(seed).random(400) < 0.5, 0, weights(seed))
    calibration = grid.fit(values)
    assert calibration.shape == grid.shape
    step, book = calibration[0], np.unique(calibration[1:])
    assert len(book) <= count and 0 not in book[len(book) > 2 :]
    assert (book == np.rint(book)).all() and np.abs(book).max() <= 127
    words = grid.words(values, calibration)
    assert set(words) <= set(book)
    error = np.abs(grid.numbers(words, calibration) - values)
    np.testing.assert_allclose(error, np.abs(values[:, None] - step * book).min(axis=1), atol=1e-12)
    assert grid.step(calibration) == WeightGrid(8, power_of_two).fit(values)


@pytest.mark.parametrize("values", [np.zeros(5), np.array([0.5]), np.array([0.0, -0.25, 0.0])], ids=str)
def test_few_weights_need_few_words(values):
    grid = SharedGrid(4)
    calibration = grid.fit(values)
    kept = values[values != 0]
    np.testing.assert_allclose(grid.numbers(grid.words(kept, calibration), calibration), kept, rtol=1e-2)


@pytest.mark.parametrize(
    "settings, told",
    [
        ({"values": 1}, r"share 2 values or more"),
        ({"method": "x"}, r"Unknown weight sharing"),
        ({"bits": 9}, r"bits"),
    ],
    ids=str,
)
def test_grids_that_are_none_are_refused(settings, told):
    with pytest.raises(ValueError, match=told):
        SharedGrid(**settings)
