"""Matrices that formats have to hold."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

DTYPES = ("float32", "float64", "float16", "int8", "uint8", "int16", "int64", "bool")


def shared(rows, columns, share, values, *, dtype="float32", seed=0):
    """A pruned matrix with shared values: `share` of the entries are not zero, and take one of so many values."""
    rng = np.random.default_rng(seed)
    book = (rng.normal(size=values) * 40 + 1).astype(dtype)
    book[book == 0] = 1
    odds = rng.dirichlet(np.ones(values))
    matrix = np.where(rng.random((rows, columns)) < share, rng.choice(book, (rows, columns), p=odds), 0)
    return matrix.astype(dtype)


def _odd_floats():
    words = np.zeros((4, 3), np.uint32)
    words[0] = 0x80000000, 0x7FC00001, 0xFFC12345  # -0.0 and NaNs with payloads
    words[2] = 0x7F800000, 0xFF800000, 0x00000001  # infinities and the smallest number
    return words.view(np.float32)


SPECIAL = {
    "one entry": np.array([[1.5]], np.float32),
    "one zero": np.array([[0.0]], np.float32),
    "one row": np.array([[0, 3, 0, 0, 7]], np.int8),
    "one column": np.array([[0], [3], [0], [9]], np.int8),
    "all zero": np.zeros((9, 7), np.float32),
    "one value": np.full((9, 7), -2.5, np.float32),
    "one entry far away": np.eye(1, 5000, 4999, dtype=np.float32).reshape(100, 50),
    "empty columns": np.array([[0, 1, 0, 0], [0, 2, 0, 0]], np.float32),
    "odd floats": _odd_floats(),
    "all different": np.random.default_rng(0).normal(size=(40, 30)).astype(np.float32),
    "doubles": np.random.default_rng(0).normal(size=(8, 30)),
    "halves": np.random.default_rng(0).normal(size=(30, 20)).astype(np.float16),
    "bytes": np.random.default_rng(0).integers(-128, 128, (50, 40)).astype(np.int8),
    "biases": (np.random.default_rng(0).normal(size=(40, 5)) * [10, 1e3, 1e5, 1e7, 5e8]).astype(np.int32),
    "ends of integers": np.array([[-(2**31), 2**31 - 1, 0, -1, 1]], np.int32),
    "booleans": np.random.default_rng(0).random((30, 20)) < 0.2,
    "foreign bytes": np.arange(12, dtype=">i4").reshape(3, 4),
    "by columns": np.asfortranarray(shared(20, 30, 0.3, 5)),
    "pruned and shared": shared(128, 96, 0.1, 7),
    "several blocks": shared(512, 700, 0.05, 40),
    "several blocks, uneven": shared(700, 513, 0.3, 3, dtype="int8"),
    "rare values": shared(300, 200, 0.9, 200, dtype="int16"),
}


@st.composite
def any_matrix(draw):
    """Few or many values of any type, many of them zero."""
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(hnp.array_shapes(min_dims=2, max_dims=2, max_side=24))
    if dtype == "bool":
        return draw(hnp.arrays(bool, shape))
    size = np.dtype(dtype).itemsize
    words = draw(hnp.arrays(f"u{size}", 4))
    places = draw(hnp.arrays(np.int64, shape, elements=st.integers(0, 5)))
    return np.concatenate([np.zeros(2, f"u{size}"), words])[places].view(dtype)
