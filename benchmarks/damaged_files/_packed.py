"""Damage to `.tflite` files with packed weights, behind right checksums: coded bytes, shapes and operators that lie."""

import pathlib
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.damaged_files._text import BYTES, CHANGES, Damage

_TAIL = 8  # a mark and the checksum
_SIZES = (-1, 0, 1, 7, 2**16, 2**31 - 1)


def _checked(content: bytes) -> bytes:
    return content + b"TFSP" + zlib.crc32(content).to_bytes(4, "little")


def _flatbuffer(file: pathlib.Path, rng: np.random.Generator) -> None:
    """Any bytes of the flatbuffer."""
    change = CHANGES[1:5][int(rng.integers(4))]
    file.write_bytes(_checked(bytes(change(bytearray(file.read_bytes()[:-_TAIL]), rng))))


def _edited(change: Callable[[Any, Any, np.random.Generator], None]) -> Damage:
    """Damage of the parsed file, given an operator that decodes; it is written and its checksum made right again."""

    def damage(file: pathlib.Path, rng: np.random.Generator) -> None:
        from ai_edge_litert import schema_py_generated as schema

        from tflite_export.file._slim import written_once

        model = schema.ModelT.InitFromPackedBuf(file.read_bytes())
        (graph,) = model.subgraphs
        decoders = [each for each in graph.operators if model.operatorCodes[each.opcodeIndex].customCode is not None]
        change(model, decoders[int(rng.integers(len(decoders)))], rng)
        file.write_bytes(_checked(written_once(model)))

    return damage


def _coded(model: Any, operator: Any, rng: np.random.Generator) -> None:
    """Coded or shared bytes, and mostly the shape of their tensor with them."""
    tensor = model.subgraphs[0].tensors[operator.inputs[int(rng.integers(2))]]
    buffer, change = model.buffers[tensor.buffer], CHANGES[int(rng.integers(len(CHANGES)))]
    content = bytes(change(bytearray(np.asarray(buffer.data, np.uint8).tobytes()), rng))
    buffer.data = np.frombuffer(content, np.uint8)
    if rng.random() < 0.9:
        tensor.shape = np.array([len(content)], np.int32)


def _shared_header(model: Any, operator: Any, rng: np.random.Generator) -> None:
    """Bytes of the header in front of what layers share."""
    buffer = model.buffers[model.subgraphs[0].tensors[operator.inputs[1]].buffer]
    content = np.array(buffer.data, np.uint8)
    content[rng.integers(min(16, len(content)), size=2)] = rng.integers(256, size=2)
    buffer.data = content


def _forms(model: Any, operator: Any, rng: np.random.Generator) -> None:
    """Shape, type, scales or axis of a decoded tensor."""
    tensor = model.subgraphs[0].tensors[operator.outputs[0]]
    way = int(rng.integers(5))
    if way == 0:
        shape = np.array(tensor.shape, np.int32)
        shape[int(rng.integers(len(shape)))] = int(rng.choice(_SIZES))
        tensor.shape = shape
    elif way == 1:
        tensor.shape = np.array(rng.integers(1, 10_000, size=int(rng.integers(1, 6))), np.int32)
    elif way == 2:
        tensor.type = int(rng.integers(20))
    elif way == 3:
        tensor.quantization.zeroPoint = rng.integers(-300, 300, size=int(rng.integers(1, 9)))
    else:
        tensor.quantization.quantizedDimension = int(rng.integers(-1, 6))


def _operators(model: Any, operator: Any, rng: np.random.Generator) -> None:
    """What an operator that decodes reads and makes, and where it stands."""
    (graph,) = model.subgraphs
    way, some = int(rng.integers(6)), int(rng.integers(-2, len(graph.tensors) + 2))
    if way == 0:
        operator.inputs = np.array([some, *operator.inputs[1:]], np.int32)
    elif way == 1:
        operator.inputs = np.array([operator.inputs[0], some], np.int32)
    elif way == 2:
        operator.outputs = np.array([some], np.int32)
    elif way == 3:
        operator.inputs = operator.inputs[: int(rng.integers(2))]
    elif way == 4:
        graph.operators = [graph.operators[place] for place in rng.permutation(len(graph.operators))]
    else:
        graph.operators = [each for each in graph.operators if each is not operator]


PACKED: dict[str, Damage] = {
    **BYTES,
    "flatbuffer": _flatbuffer,
    "coded": _edited(_coded),
    "coded again": _edited(_coded),
    "shared header": _edited(_shared_header),
    "forms": _edited(_forms),
    "operators": _edited(_operators),
}
KNOWING = tuple(name for name in PACKED if name not in BYTES)
"""Kinds that make the checksum right again; what is read then need not be what was packed."""
