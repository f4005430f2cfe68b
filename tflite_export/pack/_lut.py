"""Weights as indices of 1 to 7 bits into a table of their values."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tflite_export.file import TFLM_DECODE
from tflite_export.pack._coder import LOWEST, Coded, Form, Weights, counts_of
from tflite_export.pack._header import HEADER_BYTES, content, header, is_kind

_KIND = 0
MOST_VALUES = 128
"""Of a table; indices have seven bits at most."""
_ONE_TABLE = 15  # in the upper half of byte 5, where else the axis of the channels stands, each with a table of its own


class Lut:
    """One table for a group, or for a tensor alone one for each channel where that takes less.

    Where a tensor has scales for its channels, the first versions of the operator go on by a stride of values from
    channel to channel, whatever the header says of axes: a stride of 0 keeps them at the one table.
    """

    operator = TFLM_DECODE
    weights_a_byte = 8

    def size_bytes(self, group: Sequence[Weights]) -> int | None:
        """See `Coder`."""
        sizes = [size for size in (_one_table_bytes(group), _channel_tables_bytes(group)) if size is not None]
        return min(sizes, default=None)

    def encode(self, group: Sequence[Weights]) -> Coded | None:
        """See `Coder`."""
        one, each = _one_table_bytes(group), _channel_tables_bytes(group)
        if each is not None and (one is None or each < one):
            return _with_channel_tables(group[0])
        return None if one is None else _with_one_table(group)

    def reads(self, ancillary: bytes) -> bool:
        """See `Coder`."""
        return is_kind(ancillary, _KIND)

    def decode(self, encoded: bytes, ancillary: bytes, form: Form) -> NDArray[np.int8]:
        """See `Coder`."""
        table = content(ancillary).view(np.int8)
        axis, bits, stride = ancillary[5] >> 4, ancillary[5] & 7, ancillary[6]
        if not bits or 8 * len(encoded) < bits * form.elements:
            raise ValueError(f"{len(encoded)} bytes for {form.elements} indices of {bits} bits")
        indices = _unpacked(encoded, bits, form.elements)
        if axis != _ONE_TABLE:
            if axis != form.axis or not form.along_channels:
                raise ValueError(f"tables along axis {axis} of channels along axis {form.axis}")
            indices = indices + stride * _channels(form)
        if indices.max(initial=-1) >= len(table):
            raise ValueError(f"an index of {int(indices.max())} into {len(table)} values")
        return np.asarray(table[indices])


def _one_table_bytes(group: Sequence[Weights]) -> int | None:
    values = int(np.count_nonzero(counts_of(group)))
    if values > MOST_VALUES or not all(weights.form.along_channels for weights in group):
        return None
    bits = _bits_for(values)
    return HEADER_BYTES + values + sum(-(-weights.values.size * bits // 8) for weights in group)


def _channel_tables_bytes(group: Sequence[Weights]) -> int | None:
    if len(group) > 1 or group[0].form.channels < 2 or not group[0].form.along_channels:
        return None
    (weights,) = group
    stride = max(len(np.unique(channel)) for channel in weights.form.by_channel(weights.values))
    if stride > MOST_VALUES:
        return None
    return HEADER_BYTES + weights.form.channels * stride + -(-weights.values.size * _bits_for(stride) // 8)


def _with_one_table(group: Sequence[Weights]) -> Coded:
    present = np.flatnonzero(counts_of(group))
    bits = _bits_for(len(present))
    places = np.zeros(present.max() + 1, np.uint8)
    places[present] = np.arange(len(present))
    encoded = [_packed(places[weights.values.ravel().astype(np.int64) - LOWEST], bits) for weights in group]
    table = (present + LOWEST).astype(np.int8).tobytes()
    return Coded(tuple(encoded), header(_KIND, _ONE_TABLE << 4 | bits, 0) + table)


def _with_channel_tables(weights: Weights) -> Coded:
    channels = weights.form.by_channel(weights.values)
    tables = [np.unique(channel) for channel in channels]
    stride = max(map(len, tables))
    indices = np.stack([np.searchsorted(*pair) for pair in zip(tables, channels, strict=True)])
    shape, axis = weights.form.shape, weights.form.axis
    moved = np.moveaxis(indices.reshape(shape[axis], *shape[:axis], *shape[axis + 1 :]), 0, axis)
    table = b"".join(each.tobytes().ljust(stride, b"\0") for each in tables)
    bits = _bits_for(stride)
    return Coded((_packed(moved.ravel().astype(np.uint8), bits),), header(_KIND, axis << 4 | bits, stride) + table)


def _bits_for(values: int) -> int:
    return max((values - 1).bit_length(), 1)


def _packed(indices: NDArray[np.uint8], bits: int) -> bytes:
    """Indices one behind the other, the most significant bit first."""
    return np.packbits(np.unpackbits(indices[:, None], axis=1)[:, 8 - bits :]).tobytes()


def _unpacked(encoded: bytes, bits: int, count: int) -> NDArray[np.int64]:
    each = np.unpackbits(np.frombuffer(encoded, np.uint8))[: bits * count].reshape(count, bits)
    padded = np.zeros((count, 8), np.uint8)
    padded[:, 8 - bits :] = each
    return np.packbits(padded, axis=1)[:, 0].astype(np.int64)


def _channels(form: Form) -> NDArray[np.int64]:
    """The channel of each weight, flat."""
    shape = [1] * len(form.shape)
    shape[form.axis] = form.channels
    return np.broadcast_to(np.arange(form.channels).reshape(shape), form.shape).ravel()
