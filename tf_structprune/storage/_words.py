"""Arrays as words: unsigned integers with the same bits, so that every value comes back bit for bit."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_KINDS = "fiub"
_MOST_BYTES = 8


def as_matrix(array: NDArray[Any]) -> NDArray[Any]:
    """An array as a matrix: columns are its last axis, the outputs of a kernel (kh, kw, in, out), rows all others.

    Raises:
        ValueError: nothing in it, or no axis at all.
    """
    if array.ndim == 0 or array.size == 0:
        raise ValueError(f"A matrix has rows and columns. Received: shape={array.shape}. Store it as it is.")
    return array.reshape(-1, array.shape[-1])


def to_words(matrix: NDArray[Any]) -> NDArray[Any]:
    """The words of a matrix, shape (rows, columns); 0 is +0.0, and -0.0 and every NaN are words of their own.

    Raises:
        TypeError: values that are no real numbers of 1, 2, 4 or 8 bytes.
        ValueError: no matrix, or an empty one.
    """
    values = np.asarray(matrix)
    if values.dtype.kind not in _KINDS or values.dtype.itemsize > _MOST_BYTES:
        raise TypeError(
            f"A matrix of floats, integers or booleans is stored. Received: dtype={values.dtype}. Cast it first."
        )
    if values.ndim != 2 or values.size == 0:
        raise ValueError(
            f"A matrix with rows and columns is stored. Received: shape={values.shape}. Use as_matrix(array)."
        )
    native = np.ascontiguousarray(values, values.dtype.newbyteorder("="))
    return native.view(f"u{native.dtype.itemsize}")


def from_words(words: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The values of words."""
    return np.ascontiguousarray(words, f"u{dtype.itemsize}").view(dtype)
