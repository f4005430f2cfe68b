"""The scores of a classifier before they become probabilities."""

from typing import Any

from tflite_export.file._describe import ModelDescription

_SQUASHING = ("SOFTMAX", "LOGISTIC")


def ends_in_softmax(description: ModelDescription, parsed: Any) -> bool:
    """Whether a softmax or sigmoid behind another operator makes the only output."""
    operators = description.operators
    if len(operators) < 2 or operators[-1].name not in _SQUASHING:
        return False
    return list(parsed.subgraphs[0].outputs) == [operators[-1].outputs[0]]


def without_softmax(model: Any) -> None:
    """Edit of a file: it ends before its last operator, which makes the only output."""
    (graph,) = model.subgraphs
    *graph.operators, last = graph.operators
    graph.outputs = [last.inputs[0]]
    model.signatureDefs = []  # they name the output that is gone
