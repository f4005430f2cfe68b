"""Streams of batches become arrays; those that never end or do not fit are refused in one line."""

import itertools

import keras
import numpy as np
import pytest

from tf_structprune.task import check_validation, collected

X, Y = np.arange(40, dtype=np.float32).reshape(10, 2, 2), np.arange(10)


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        return X[4 * index : 4 * index + 4], Y[4 * index : 4 * index + 4]


class LikeDataset:
    """What of a `tf.data.Dataset` counts here."""

    def __init__(self, batches, cardinality=3):
        self.batches, self.count = batches, cardinality

    def as_numpy_iterator(self):
        return iter(self.batches)

    def cardinality(self):
        return self.count


def pairs():
    return ((X[at : at + 4], Y[at : at + 4]) for at in range(0, 10, 4))


STREAMS = {
    "PyDataset": Batches(),
    "data set": LikeDataset(list(pairs())),
    "generator": pairs(),
    "generator function": pairs,
}


@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS)
def test_batches_are_joined(stream):
    x, y = collected(stream, "data")
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(y, Y)


def test_lists_of_one_array_are_the_array():
    found = collected(lambda: ([sample[None]] for sample in X), "data")
    np.testing.assert_array_equal(found, X)


def test_dictionaries_of_inputs_keep_their_names():
    found, _ = collected(lambda: (({"a": x, "b": 2 * x}, y) for x, y in pairs()), "data")
    np.testing.assert_array_equal(found["b"], 2 * X)


@pytest.mark.parametrize("given", [X, (X, Y), [X, X], {"a": X}, None], ids=["array", "pair", "list", "names", "none"])
def test_what_is_no_stream_is_given_back(given):
    assert collected(given, "data") is given


BAD = {
    "empty": (iter(()), "data is empty. Received: a tuple_iterator without batches"),
    "endless": (itertools.repeat(np.zeros((200_000, 1))), "data never ends. Received: more than 1,000,000 samples"),
    "repeated": (LikeDataset([], cardinality=-1), "data never ends. Received: a data set that repeats for ever"),
    "shapes": (iter([np.zeros((2, 3)), np.zeros((2, 4))]), "data has batches that do not fit together. Received: "),
    "structures": (iter([(X, Y), (X,)]), "data has batches that do not fit together. Received: "),
}


@pytest.mark.parametrize("stream, message", BAD.values(), ids=BAD)
def test_bad_streams_are_refused_in_one_line(stream, message):
    with pytest.raises(ValueError, match=message):
        collected(stream, "data")


def test_validation_data_may_be_a_stream():
    validation = check_validation(Batches(), "mse", 4)
    np.testing.assert_array_equal(validation.x, X)
    np.testing.assert_array_equal(validation.y, Y)
