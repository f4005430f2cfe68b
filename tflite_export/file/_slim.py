"""Write a `.tflite` file in few bytes: without what no runtime reads, and everything that is equal once."""

from collections.abc import Hashable
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

_IDENTIFIER = b"TFL3"


def without_notes(model: Any) -> None:
    """Edit of a file: away with what no runtime reads, whatever its names are for.

    Metadata and descriptions, the ranges that the converter measured, quantization that says nothing, ranks of shapes,
    shapes of open axes where none is open, codes that no operator has, and buffers that hold nothing or that no tensor
    has.

    Args:
        model: a parsed file.
    """
    model.metadata, model.description, model.metadataBuffer = None, None, None
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            tensor.quantization = _read(tensor.quantization)
            if _length(tensor.shape):  # only a shape without axes leaves the rank open
                tensor.hasRank = False
            if tensor.shapeSignature is not None and not np.any(np.asarray(tensor.shapeSignature) < 0):
                tensor.shapeSignature = None
        for operator in graph.operators:
            if not _length(operator.intermediates):
                operator.intermediates = None
            if not np.any(_array(operator.mutatingVariableInputs)):
                operator.mutatingVariableInputs = None
    _drop_codes(model)
    _drop_buffers(model)


def slim(model: Any) -> None:
    """Edit of a file: away with notes and names, see `without_notes` and `without_names`."""
    without_notes(model)
    without_names(model)


def without_names(model: Any) -> None:
    """Edit of a file: away with the names of tensors and graphs, and with the signatures, which are made of them.

    Inputs and outputs are then known by their place alone.

    Args:
        model: a parsed file.
    """
    model.signatureDefs = None
    for graph in model.subgraphs:
        graph.name = None
        for tensor in graph.tensors:
            tensor.name = None


def slim_with_names(model: Any) -> None:
    """Edit of a file: as `slim`, but inputs, outputs and the signature keep names."""
    without_notes(model)
    without_inner_names(model)


def without_inner_names(model: Any) -> None:
    """Edit of a file: away with the names of tensors that are neither inputs nor outputs.

    Args:
        model: a parsed file; the signatures stay.
    """
    for graph in model.subgraphs:
        kept = {int(at) for at in (*graph.inputs, *graph.outputs)}
        for index, tensor in enumerate(graph.tensors):
            tensor.name = tensor.name if index in kept else None


def written_once(model: Any) -> bytes:
    """The bytes of a parsed file, in which equal vectors and equal tables are one.

    Zero points are eight bytes a channel and all zero, biases repeat those of their weights, and layers repeat each
    other's options and shapes: readers follow offsets and do not mind where two of them lead to one place.

    Args:
        model: a parsed file; its tables are prepared for writing and not to be used again.
    """
    tables: dict[Hashable, int] = {}
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            tensor.quantization = _once(tensor.quantization, tables)
        for operator in graph.operators:
            operator.builtinOptions = _once(operator.builtinOptions, tables)
            operator.builtinOptions2 = _once(operator.builtinOptions2, tables)
    for buffer in model.buffers:
        if buffer.data is not None:
            buffer.data = np.frombuffer(bytes(buffer.data), np.uint8)
    model.buffers = [_once(buffer, tables) for buffer in model.buffers]
    builder = _Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=_IDENTIFIER)
    return bytes(builder.Output())


def _read(quantization: Any) -> Any:
    """What a runtime reads of a tensor's quantization, None if that is nothing."""
    if quantization is None or not _length(quantization.scale):
        return None
    quantization.min = quantization.max = None
    return quantization


def _array(values: Any) -> NDArray[Any]:
    return np.asarray([] if values is None else values)


def _length(values: Any) -> int:
    return 0 if values is None else len(values)


def _drop_codes(model: Any) -> None:
    """Keep the codes that operators have."""
    operators = [operator for graph in model.subgraphs for operator in graph.operators]
    kept = sorted({int(operator.opcodeIndex) for operator in operators})
    model.operatorCodes = [model.operatorCodes[code] for code in kept]
    for operator in operators:
        operator.opcodeIndex = kept.index(operator.opcodeIndex)


def _drop_buffers(model: Any) -> None:
    """Keep the buffers that tensors have, those without content as the first one, which is empty by convention."""
    kept = [schema.BufferT()]
    places: dict[int, int] = {}
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            buffer = model.buffers[tensor.buffer]
            if not _length(buffer.data) and not buffer.size:
                tensor.buffer = 0
                continue
            if tensor.buffer not in places:
                places[tensor.buffer] = len(kept)
                kept.append(buffer)
            tensor.buffer = places[tensor.buffer]
    model.buffers = kept


class _Once:
    """A table that is written where it is first asked for."""

    def __init__(self, table: Any, written: dict[Hashable, int]) -> None:
        self._table, self._written = table, written
        self._key = (type(table).__name__, *((name, _content(value)) for name, value in sorted(vars(table).items())))

    def Pack(self, builder: Any) -> int:  # noqa: N802  # the name that the schema's writers call
        """The place of the table."""
        if self._key not in self._written:
            self._written[self._key] = self._table.Pack(builder)
        return self._written[self._key]


def _once(table: Any, written: dict[Hashable, int]) -> Any:
    """The table for writing; one with tables in it is left as it is."""
    if table is None or any(hasattr(value, "Pack") for value in vars(table).values()):
        return table
    return _Once(table, written)


def _content(value: Any) -> Hashable:
    if isinstance(value, np.ndarray | list):
        array = np.asarray(value)
        return array.dtype.str, array.shape, array.tobytes()
    return value  # type: ignore[no-any-return]  # numbers, bytes and None


class _Builder(flatbuffers.Builder):  # type: ignore[misc]  # flatbuffers is untyped
    """Writes a vector that is there already not a second time."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._vectors: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x: NDArray[Any]) -> int:  # noqa: N802  # overrides
        """The place of a vector."""
        key = (x.dtype.str, x.tobytes())
        if key not in self._vectors:
            self._vectors[key] = super().CreateNumpyVector(x)
        return self._vectors[key]
