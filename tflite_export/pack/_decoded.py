"""Reads packed weights back, without TFLite Micro."""

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from tf_structprune.untrusted import reading
from tflite_export.file import DECODERS, TFLiteFile, TFLiteModel, open_file, slim_with_names
from tflite_export.pack._checksum import check
from tflite_export.pack._coders import coder_of
from tflite_export.pack._tensors import form_of

_ADVICE = "Pack the model again."


def decoded(model: TFLiteModel, *, own: bool = True) -> TFLiteFile:
    """The file with its weights as they were before `pack`, byte for byte the slim file that was packed.

    Args:
        model: path of a packed file, or its bytes.
        own: whether `pack` wrote it: its checksum is then looked at. Files of other tools have none.

    Returns:
        The file, which any runtime takes.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a damaged file, or one that is not packed.
    """
    file = open_file(model)
    with reading(file.name, "a .tflite file with packed weights", _ADVICE):
        if own:
            check(file.data)
        if not file.description.packed:
            raise ValueError("no operator that decodes weights")
        return TFLiteFile(file.edited(_without_decoders, slim_with_names).data, file.name)


def _without_decoders(model: Any) -> None:
    """Edit of a file: tensors hold weights, and nothing decodes them."""
    (graph,) = model.subgraphs
    codes = [(code.customCode or b"").decode(errors="replace") for code in model.operatorCodes]
    taken: dict[int, int] = {}  # decoded tensors, and where they are put
    shared, operators = set[int](), []
    for operator in graph.operators:
        name = codes[operator.opcodeIndex]
        if name not in DECODERS:
            operators.append(operator)
            continue
        inputs, outputs = ([int(at) for at in ends] for ends in (operator.inputs, operator.outputs))
        if len(inputs) != 2 * len(outputs):
            raise ValueError(f"{len(inputs)} inputs of an operator that decodes {len(outputs)} tensors")
        for encoded, ancillary, output in zip(inputs[::2], inputs[1::2], outputs, strict=True):
            tensor = graph.tensors[output]
            values = values_of(name, stored(model, encoded), stored(model, ancillary), tensor)
            taken[output] = encoded
            shared.add(ancillary)
            tensor.buffer = _added(model, values)
    for output, encoded in taken.items():
        graph.tensors[encoded] = graph.tensors[output]
    graph.operators = operators
    for operator in operators:
        operator.inputs = np.array([taken.get(int(at), int(at)) for at in operator.inputs], np.int32)
    drop_tensors(graph, {*taken, *shared} - set(taken.values()))


def stored(model: Any, index: int) -> bytes:
    """The bytes of a tensor of coded weights or of what they share."""
    tensor = model.subgraphs[0].tensors[index]
    data = model.buffers[tensor.buffer].data
    if tensor.type != schema.TensorType.UINT8 or data is None:
        raise ValueError(f"tensor {index}, which holds no coded bytes")
    return bytes(np.asarray(data, np.uint8))


def values_of(operator: str, encoded: bytes, ancillary: bytes, tensor: Any) -> NDArray[np.int8]:
    """The weights, flat, that an operator of this name makes a tensor of."""
    form = form_of(tensor)
    if tensor.type != schema.TensorType.INT8:
        raise ValueError(f"weights of type {tensor.type} and shape {form.shape}")
    coder = coder_of(operator, ancillary)
    if form.elements > coder.weights_a_byte * len(encoded):
        raise ValueError(f"{len(encoded)} and {len(ancillary)} bytes for {form.elements} weights")
    return coder.decode(encoded, ancillary, form)


def _added(model: Any, values: NDArray[np.int8]) -> int:
    buffer = schema.BufferT()
    buffer.data = values.view(np.uint8)
    model.buffers.append(buffer)
    return len(model.buffers) - 1


def drop_tensors(graph: Any, gone: set[int]) -> None:
    """Tensors away that nothing reads any more, and the others counted anew."""
    used = {int(at) for ends in _ends(graph) for at in ends}
    kept = [index for index in range(len(graph.tensors)) if index not in gone or index in used]
    places = {-1: -1, **{index: place for place, index in enumerate(kept)}}
    graph.tensors = [graph.tensors[index] for index in kept]
    for owner in (graph, *graph.operators):
        for side in ("inputs", "outputs"):
            setattr(owner, side, np.array([places[int(at)] for at in getattr(owner, side)], np.int32))


def _ends(graph: Any) -> list[Any]:
    """What operators and the graph read and make."""
    return [graph.inputs, graph.outputs] + [e for op in graph.operators for e in (op.inputs, op.outputs)]
