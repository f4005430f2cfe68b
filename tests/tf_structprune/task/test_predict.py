"""All samples are predicted, however many there are; with batches shared among devices, see end_to_end."""

import keras
import numpy as np
import pytest

from tests import zoo
from tf_structprune.task import _predict, predict


@pytest.fixture(scope="module")
def model():
    return zoo.build("chain")


@pytest.mark.parametrize("shares", [1, 2, 4])
@pytest.mark.parametrize("samples, batch_size", [(7, 3), (8, 4), (1, 256)])
def test_one_row_a_sample_in_batches_that_can_be_shared(model, monkeypatch, samples, batch_size, shares):
    sizes = []

    class Watched(keras.Model):
        def predict(self, x, batch_size, verbose):
            sizes.extend([len(x), batch_size])
            return model.predict(x, batch_size=batch_size, verbose=verbose)

    monkeypatch.setattr(_predict, "batch_shares", lambda: shares)
    x = zoo.batch(samples)
    found = predict(Watched(), x, batch_size)
    assert sizes == [-(-samples // shares) * shares, -(-batch_size // shares) * shares]
    assert np.allclose(found, zoo.outputs_of(model, x)[0], atol=1e-6)


def test_nothing_is_shared_without_a_distribution():
    assert _predict.batch_shares() == 1
