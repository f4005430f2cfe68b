"""A packed file as TFLite Micro's wheel can run it, which has no operator but its own."""

from typing import Any

import numpy as np

from tflite_export import micro
from tflite_export.file import TFLM_DECODE, TFLiteFile
from tflite_export.pack._coder import Weights
from tflite_export.pack._decoded import drop_tensors, stored, values_of
from tflite_export.pack._huffman import Huffman
from tflite_export.pack._insert import bytes_tensor
from tflite_export.pack._tensors import form_of


def stand_in(file: TFLiteFile) -> TFLiteFile:
    """The file with TFLite Micro's DECODE in the place of our own operator.

    It decodes the same weights into the same tensors, so that outputs are the same, and the arena is no smaller: DECODE
    keeps a state for each tensor, ours none. The weights are those that our reader gives.

    Args:
        file: a packed file, or another, which is given back.

    Raises:
        ValueError: coded weights that are damaged.
    """
    return file.edited(_with_decode) if micro.OPERATOR in file.description.operator_names else file


def _with_decode(model: Any) -> None:
    """Edit of a file: other coded bytes, and the other operator."""
    (graph,) = model.subgraphs
    ours = [place for place, code in enumerate(model.operatorCodes) if code.customCode == micro.OPERATOR.encode()]
    gone: set[int] = set()
    for operator in graph.operators:
        if operator.opcodeIndex in ours:
            gone.update(int(at) for at in operator.inputs)
            operator.inputs = np.array(_coded_anew(model, operator), np.int32)
    for place in ours:
        model.operatorCodes[place].customCode = TFLM_DECODE.encode()
    drop_tensors(graph, gone)


def _coded_anew(model: Any, operator: Any) -> list[int]:
    """Tensors of the bytes that DECODE reads in the place of an operator's own."""
    tensors, added = model.subgraphs[0].tensors, []
    for encoded, table, output in zip(operator.inputs[::2], operator.inputs[1::2], operator.outputs, strict=True):
        form = form_of(tensors[output])
        values = values_of(micro.OPERATOR, stored(model, encoded), stored(model, table), tensors[output])
        coded = Huffman().encode([Weights(values.reshape(form.shape), form)])
        for content in (*coded.encoded, coded.ancillary):
            tensors.append(bytes_tensor(model, content))
            added.append(len(tensors) - 1)
    return added
