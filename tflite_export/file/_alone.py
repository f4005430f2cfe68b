"""Parts of a file that run on their own: one operator, or the whole with signals given out."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from tflite_export.file._file import TFLiteFile
from tflite_export.file._slim import written_once


def giving(file: TFLiteFile, signals: Sequence[int]) -> TFLiteFile:
    """The file with some of its signals as its outputs.

    Args:
        file: any file.
        signals: indices into `ModelDescription.tensors` of what operators make, in the order wanted.
    """

    def edit(model: Any) -> None:
        model.subgraphs[0].outputs = list(signals)
        model.signatureDefs = None

    return file.edited(edit)


def alone(
    file: TFLiteFile, place: int, *, constants: Mapping[int, NDArray[Any]] | None = None, activation: bool = True
) -> TFLiteFile:
    """The file of a single operator.

    Args:
        file: the file that has it.
        place: of the operator among `ModelDescription.operators`.
        constants: values that constant tensors have instead of their own, by index into `ModelDescription.tensors`.
        activation: whether it keeps its fused activation.

    Returns:
        A file whose inputs are the signals that the operator reads, each once and in its order, and whose outputs are
        the operator's.
    """
    operator, tensors = file.description.operators[place], file.parsed.subgraphs[0].tensors
    read = [index for index in operator.inputs if index >= 0]
    kept = list(dict.fromkeys([*read, *operator.outputs]))
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.buffers, model.subgraphs = file.parsed.version, [schema.BufferT()], [graph]
    graph.tensors = [copy.deepcopy(tensors[index]) for index in kept]
    for tensor, index in zip(graph.tensors, kept, strict=True):
        tensor.buffer = _stored(model, file, index, constants or {})
    single = copy.deepcopy(file.parsed.subgraphs[0].operators[place])
    model.operatorCodes = [copy.deepcopy(file.parsed.operatorCodes[single.opcodeIndex])]
    single.opcodeIndex = 0
    single.inputs = [kept.index(index) if index >= 0 else -1 for index in operator.inputs]
    single.outputs = [kept.index(index) for index in operator.outputs]
    if not activation:
        single.builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.NONE
    graph.operators, graph.outputs = [single], single.outputs
    signals = [index for index in dict.fromkeys(read) if not file.description.tensors[index].constant]
    graph.inputs = [kept.index(index) for index in signals]
    return TFLiteFile(written_once(model), file.name)


def _stored(model: Any, file: TFLiteFile, index: int, constants: Mapping[int, NDArray[Any]]) -> int:
    """Stores the values of a constant and gives the place of its buffer; that of nothing for a signal."""
    if not file.description.tensors[index].constant:
        return 0
    buffer = copy.deepcopy(file.parsed.buffers[file.parsed.subgraphs[0].tensors[index].buffer])
    if index in constants:
        buffer.data = np.frombuffer(np.ascontiguousarray(constants[index]).tobytes(), np.uint8)
    model.buffers.append(buffer)
    return len(model.buffers) - 1
