"""Matrices in gaps as bytes: the same back, the size as charged, and damaged ones refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tf_structprune.storage.matrices import SPECIAL, any_matrix
from tf_structprune.storage import Gaps
from tf_structprune.storage._serial import from_bytes, to_bytes
from tf_structprune.storage._words import to_words


def check(matrix, kind=None):
    """The law; the bytes."""
    stored = (kind or Gaps()).encode(matrix)
    data = to_bytes(stored)
    again = from_bytes(data, stored.dtype, entries=matrix.size)
    np.testing.assert_array_equal(to_words(again.decode()), to_words(matrix))
    assert again.size_bits == stored.size_bits
    assert 8 * len(data) <= stored.size_bits + 8 * (8 + 6 * len(stored.parts))  # bytes are whole
    return data


@pytest.mark.parametrize("matrix", SPECIAL.values(), ids=SPECIAL)
def test_bytes_give_the_matrix(matrix):
    check(matrix)


@pytest.mark.parametrize("mode", ["joint", "coded", "bytes"])
@settings(max_examples=40, deadline=None)
@given(matrix=any_matrix())
def test_bytes_give_any_matrix_in_every_mode(mode, matrix):
    check(matrix, Gaps((mode,)))


DATA = {name: check(SPECIAL[name]) for name in ("pruned and shared", "bytes", "all different", "all zero", "one value")}


@settings(max_examples=300, deadline=None)
@given(name=st.sampled_from(sorted(DATA)), place=st.floats(0, 1), value=st.integers(0, 255), cut=st.booleans())
def test_damaged_bytes_are_refused_or_harmless(name, place, value, cut):
    """A checksum stands before them in a file; without it they may be wrong, never worse than that."""
    data, matrix = bytearray(DATA[name]), SPECIAL[name]
    at = min(int(place * len(data)), len(data) - 1)
    if cut:
        data = data[:at]
    else:
        data[at] = value
    try:
        again = from_bytes(bytes(data), matrix.dtype, entries=matrix.size).decode()
    except ValueError:
        return
    assert again.shape[0] * again.shape[1] == matrix.size


@pytest.mark.parametrize("entries", [0, 1, 2**40])
def test_another_number_of_entries_is_refused(entries):
    with pytest.raises(ValueError, match="no matrix of"):
        from_bytes(DATA["bytes"], np.dtype(np.int8), entries=entries)
