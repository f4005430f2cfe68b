"""The first operators of a file, which tell the one that ends the process that runs it."""

from collections.abc import Callable
from functools import partial
from typing import Any

from tflite_export.file._describe import operator_name
from tflite_export.file._file import TFLiteFile


def operator_that(ends: Callable[[TFLiteFile], bool], file: TFLiteFile) -> str:
    """The operator at which something that runs a file ends.

    Args:
        ends: whether it ends at the last operator of a file or before it; asked for about log2 of the operators.
        file: a file at which it ends.

    Returns:
        Place, name and output as a message tells them; empty where the file without its ends does not end it.
    """
    (graph, *_) = file.parsed.subgraphs
    low, high = 0, len(graph.operators)
    if not high or not ends(file.edited(partial(_beginning, count=high))):
        return ""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if ends(file.edited(partial(_beginning, count=middle))) else (middle, high)
    operator = graph.operators[high - 1]
    names = [graph.tensors[index].name for index in operator.outputs]
    made = f" ({names[0].decode(errors='replace')})" if names and names[0] else ""
    return f"operator {high} of {len(graph.operators)}, {operator_name(operator, file.parsed.operatorCodes)}{made}"


def beginnings(file: TFLiteFile) -> tuple[TFLiteFile, ...]:
    """The file cut behind each of its operators, the whole last: what the times of two differ by is an operator's.

    Args:
        file: any file.

    Returns:
        As many files as it has operators; each gives all that the operators behind it would read, and the file's own
        outputs so far: a runtime leaves out what nobody asks for.
    """
    (graph, *_) = file.parsed.subgraphs
    return tuple(file.edited(partial(_beginning, count=count)) for count in range(1, len(graph.operators) + 1))


def _beginning(model: Any, count: int) -> None:
    """Edit of a file: it ends behind its first operators and gives what is still wanted of what they make."""
    graph = model.subgraphs[0]
    made = [index for operator in graph.operators[:count] for index in operator.outputs]
    wanted = {index for operator in graph.operators[count:] for index in operator.inputs} | set(graph.outputs)
    wanted |= set(graph.operators[count - 1].outputs)  # also where nobody reads them
    graph.operators = graph.operators[:count]
    graph.outputs = [index for index in made if index in wanted]
    model.signatureDefs = []
