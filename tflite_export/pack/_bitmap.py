"""Pruned weights: a bit for each says whether it differs from the zero point, and those that do follow in order."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tflite_export.file import TFLM_DECODE
from tflite_export.pack._coder import Coded, Form, Weights
from tflite_export.pack._header import HEADER_BYTES, content, header, is_kind

_KIND = 2


class Bitmap:
    """Bits of all weights, the most significant first, and as shared bytes the weights whose bit is set."""

    operator = TFLM_DECODE
    weights_a_byte = 8

    def size_bytes(self, group: Sequence[Weights]) -> int | None:
        """See `Coder`."""
        if not _can(group):
            return None
        (weights,) = group
        return -(-weights.values.size // 8) + HEADER_BYTES + int(np.count_nonzero(_kept(weights)))

    def encode(self, group: Sequence[Weights]) -> Coded | None:
        """See `Coder`."""
        if not _can(group):
            return None
        (weights,) = group
        kept = _kept(weights)
        return Coded((np.packbits(kept).tobytes(),), header(_KIND) + weights.values.ravel()[kept].tobytes())

    def reads(self, ancillary: bytes) -> bool:
        """See `Coder`."""
        return is_kind(ancillary, _KIND)

    def decode(self, encoded: bytes, ancillary: bytes, form: Form) -> NDArray[np.int8]:
        """See `Coder`."""
        values = content(ancillary).view(np.int8)
        bits = np.unpackbits(np.frombuffer(encoded, np.uint8))
        if not form.along_channels or len(bits) < form.elements:
            raise ValueError(f"{len(bits)} bits for {form.elements} weights, channels on axis {form.axis}")
        kept = bits[: form.elements].astype(bool)
        if np.count_nonzero(kept) > len(values):
            raise ValueError(f"{np.count_nonzero(kept)} weights that are kept, and {len(values)} values")
        weights = np.array(_zeros(form))
        weights[kept] = values[: np.count_nonzero(kept)]
        return weights


def _can(group: Sequence[Weights]) -> bool:
    return len(group) == 1 and group[0].form.along_channels


def _kept(weights: Weights) -> NDArray[np.bool_]:
    """Which weights, flat, are no zero points."""
    return np.asarray(weights.values.ravel() != _zeros(weights.form))


def _zeros(form: Form) -> NDArray[np.int8]:
    """The zero point of each weight, flat."""
    points = np.array(form.zero_points or (0,), np.int64).astype(np.int8)
    shape = [1] * len(form.shape)
    if len(points) > 1:
        shape[form.axis] = len(points)
    return np.broadcast_to(points.reshape(shape), form.shape).ravel()
