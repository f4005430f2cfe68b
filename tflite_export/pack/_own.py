"""The coding of this project, for an operator whose C++ comes with the bundle."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tflite_export.micro import OPERATOR, coded_bytes, decode, encode, is_table
from tflite_export.pack._coder import Coded, Form, Weights

_MOST_A_BYTE = 2**12  # more frequent than 4095 of 4096 no symbol is, but for one that is alone


class Own:
    """Values, zeros too, as rANS symbols of a table that tensors share, see `micro.encode`."""

    operator = OPERATOR
    weights_a_byte = _MOST_A_BYTE

    def size_bytes(self, group: Sequence[Weights]) -> int | None:
        """See `Coder`."""
        return coded_bytes([weights.counts for weights in group]) if _can(group) else None

    def encode(self, group: Sequence[Weights]) -> Coded | None:
        """See `Coder`."""
        if not _can(group):
            return None
        coded = encode([weights.values for weights in group])
        return Coded(coded.data, coded.table)

    def reads(self, ancillary: bytes) -> bool:
        """See `Coder`."""
        return is_table(ancillary)

    def decode(self, encoded: bytes, ancillary: bytes, form: Form) -> NDArray[np.int8]:
        """See `Coder`."""
        return decode(encoded, ancillary, form.elements)


def _can(group: Sequence[Weights]) -> bool:
    """Whether no tensor is so large and so alike that its bytes would not tell a damaged shape from its own."""
    return all(weights.counts.max() < weights.values.size or weights.values.size < _MOST_A_BYTE for weights in group)
