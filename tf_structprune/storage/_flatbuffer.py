"""Where the weights of a `.tflite` lie: just enough of a reader of its flatbuffer, every offset checked."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_IDENTIFIER = b"TFL3"
_LEAST = 64  # bytes of a buffer that is coded by itself
# TensorType of the schema: FLOAT32, FLOAT16, INT32, UINT8, INT64, INT16, INT8, FLOAT64, UINT64, UINT32, UINT16, INT4
_TYPES = {
    0: "f4",
    1: "f2",
    2: "i4",
    3: "u1",
    4: "i8",
    7: "i2",
    9: "i1",
    10: "f8",
    12: "u8",
    15: "u4",
    16: "u2",
    17: "u1",
}
_SUBGRAPHS, _BUFFERS = 2, 4  # fields of Model
_TENSORS = 0  # of SubGraph
_SHAPE, _TYPE, _BUFFER = 0, 1, 2  # of Tensor
_DATA = 0  # of Buffer


@dataclass(frozen=True)
class Region:
    """Bytes of a file that are an array.

    Attributes:
        start: of the first.
        size: how many.
        dtype: of the array's values.
        rank: axes of the array.
    """

    start: int
    size: int
    dtype: str
    rank: int


def regions_of(data: bytes) -> list[Region]:
    """The constant tensors of a `.tflite`, ascending and apart; small ones and unknown types are left out.

    Raises:
        ValueError: no `.tflite`, or a damaged one.
    """
    if data[4:8] != _IDENTIFIER:
        raise ValueError("it has no identifier TFL3")
    try:
        return _regions(data)
    except struct.error as error:
        raise ValueError("an offset leads beyond the file") from error


def _regions(data: bytes) -> list[Region]:
    root = _number(data, 0, "<I")
    if root < 8:
        raise ValueError("its first offset leads before its tables")
    model = _Table(data, root)
    kinds: dict[int, tuple[str, int]] = {}
    for subgraph in model.tables(_SUBGRAPHS):
        for tensor in subgraph.tables(_TENSORS):
            kind = _TYPES.get(tensor.scalar(_TYPE, "<b"))
            buffer = tensor.scalar(_BUFFER, "<I")
            if kind is not None and buffer:
                kinds.setdefault(buffer, (kind, tensor.vector(_SHAPE)[1]))
    found = []
    for number, buffer_table in enumerate(model.tables(_BUFFERS)):
        start, size = buffer_table.vector(_DATA)
        if number in kinds and size >= _LEAST:
            kind, rank = kinds[number]
            if start + size > len(data):
                raise ValueError("a buffer leads beyond the file")
            if size % int(kind[1:]) == 0:
                found.append(Region(start, size, kind, rank))
    apart: list[Region] = []
    for region in sorted(found, key=lambda each: each.start):
        if not apart or apart[-1].start + apart[-1].size <= region.start:
            apart.append(region)
    return apart


def _number(data: bytes, place: int, kind: str) -> int:
    if place < 0:
        raise ValueError("an offset leads before the file")
    return int(struct.unpack_from(kind, data, place)[0])


@dataclass(frozen=True)
class _Table:
    """A table of a flatbuffer: its fields are found by their numbers."""

    data: bytes
    place: int

    def _field(self, number: int) -> int | None:
        """Place of a field, None where it has its default."""
        fields = self.place - _number(self.data, self.place, "<i")
        if 4 + 2 * number >= _number(self.data, fields, "<H"):
            return None
        offset = _number(self.data, fields + 4 + 2 * number, "<H")
        return self.place + offset if offset else None

    def scalar(self, number: int, kind: str) -> int:
        """A number, 0 by default."""
        place = self._field(number)
        return 0 if place is None else _number(self.data, place, kind)

    def vector(self, number: int) -> tuple[int, int]:
        """Place of the first element of a vector, and how many there are."""
        place = self._field(number)
        if place is None:
            return 0, 0
        start = place + _number(self.data, place, "<I")
        return start + 4, _number(self.data, start, "<I")

    def tables(self, number: int) -> Iterator["_Table"]:
        """The tables of a vector of them."""
        start, count = self.vector(number)
        for place in range(start, start + 4 * count, 4):
            yield _Table(self.data, place + _number(self.data, place, "<I"))
