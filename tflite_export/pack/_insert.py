"""Puts operators that decode weights in front of those that read them."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflite_export.pack._coder import Coded, Group


def with_decoders(model: Any, coded: Sequence[tuple[str, Group, Coded]]) -> None:
    """Edit of a file: tensors hold coded weights, and operators decode them.

    As TFLite Micro's own tool does it (decode_insert.py in its wheel): what an operator decodes lives until the next
    one has run, so each reader has an operator of its own, right before it, for all that it reads.

    Args:
        model: a parsed file.
        coded: the custom code of the operator, the tensors and their bytes.
    """
    (graph,) = model.subgraphs
    packed = {}
    for operator, group, each in coded:
        shared = bytes_tensor(model, each.ancillary)
        graph.tensors.append(shared)
        for index, encoded in zip(group.tensors, each.encoded, strict=True):
            packed[index] = (operator, len(graph.tensors) - 1, graph.tensors[index])
            graph.tensors[index] = bytes_tensor(model, encoded)
    codes = {operator: _code(model, operator) for operator, _, _ in coded}
    operators = []
    for reader in graph.operators:
        read = [index for index in dict.fromkeys(int(at) for at in reader.inputs) if index in packed]
        for operator, code in codes.items():
            if mine := [index for index in read if packed[index][0] == operator]:
                operators.append(_decoder(graph, reader, code, {index: packed[index][1:] for index in mine}))
        operators.append(reader)
    graph.operators = operators


def _decoder(graph: Any, reader: Any, code: int, packed: dict[int, tuple[int, Any]]) -> Any:
    """The operator that decodes these tensors for a reader, which reads the decoded ones from now on."""
    decoded = {}
    for index, (_, original) in packed.items():
        decoded[index] = len(graph.tensors)
        graph.tensors.append(copy.copy(original))
        graph.tensors[-1].buffer = 0
    reader.inputs = np.array([decoded.get(int(at), int(at)) for at in reader.inputs], np.int32)
    operator = schema.OperatorT()
    operator.opcodeIndex = code
    operator.inputs = np.array([each for index, (shared, _) in packed.items() for each in (index, shared)], np.int32)
    operator.outputs = np.array(list(decoded.values()), np.int32)
    return operator


def bytes_tensor(model: Any, content: bytes) -> Any:
    """A tensor of bytes, for a graph of a model."""
    buffer, tensor = schema.BufferT(), schema.TensorT()
    buffer.data = np.frombuffer(content, np.uint8)
    model.buffers.append(buffer)
    tensor.buffer, tensor.type = len(model.buffers) - 1, schema.TensorType.UINT8
    tensor.shape = np.array([len(content)], np.int32)
    return tensor


def _code(model: Any, custom: str) -> int:
    """Index of a new custom operator's code."""
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    code.customCode, code.version = custom.encode(), 1
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1
