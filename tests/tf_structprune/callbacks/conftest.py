"""Tiny data and runs that the tests of this room share."""

import keras
import pytest

import tf_structprune as sp
from tests import zoo
from tf_structprune.masks import GRANULARITIES


@pytest.fixture(scope="session")
def data():
    """Easy to learn."""
    return zoo.lit_rows(48)


@pytest.fixture
def run(data):
    """Fits a masked zoo model with one callback; gives the model, the callback and the history.

    Eager unless asked otherwise: compiling takes most of the time where the graph is not the point.
    """
    x, y = data

    def fit(name="chain", *, epochs=3, others=(), before=None, eager=True, **settings):
        masked = sp.wrap(zoo.build(name), granularity=GRANULARITIES)
        masked.compile(
            keras.optimizers.SGD(0.05), "sparse_categorical_crossentropy", metrics=["accuracy"], run_eagerly=eager
        )
        if before is not None:
            before(masked)
        callback = sp.StructuredPruning(**{**defaults(data), **settings})
        done = masked.fit(x, y, batch_size=24, epochs=epochs, verbose=0, callbacks=[callback, *others])
        return masked, callback, done.history

    return fit


def defaults(data):
    """Settings that prune half of the maps of the model and accept everything."""
    return {
        "validation_data": data,
        "search": sp.search.RandomMask(),
        "sparsity": 0.5,
        "tolerance": 1.0,
        "verbose": 0,
    }


@pytest.fixture
def scores():
    """A score that gives a list of values in turn, the last one for ever."""

    def make(*values):
        left = list(values)
        return lambda y_true, y_pred: float(left.pop(0) if len(left) > 1 else left[0])

    return make
