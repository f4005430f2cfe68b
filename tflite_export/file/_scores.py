"""The scores of a classifier before they become probabilities."""

from typing import Any

from tflite_export.file._describe import ModelDescription

_SQUASHING = ("SOFTMAX", "LOGISTIC")


def last_squashing(description: ModelDescription) -> dict[int, int]:
    """The outputs that a softmax or sigmoid behind another operator makes and that nothing reads, by its place.

    Args:
        description: of a file.

    Returns:
        By place among the operators, the index of the output.
    """
    made = {at for operator in description.operators for at in operator.outputs}
    read = {at for operator in description.operators for at in operator.inputs}
    return {
        place: operator.outputs[0]
        for place, operator in enumerate(description.operators)
        if operator.name in _SQUASHING
        and operator.inputs[0] in made
        and operator.outputs[0] in description.output_indices
        and operator.outputs[0] not in read
    }


def without_softmax(model: Any, places: dict[int, int]) -> None:
    """Edit of a file: it gives what goes into these operators instead of what they make.

    Args:
        model: a parsed file.
        places: from `last_squashing`.
    """
    (graph,) = model.subgraphs
    scores = {output: int(graph.operators[place].inputs[0]) for place, output in places.items()}
    graph.operators = [operator for place, operator in enumerate(graph.operators) if place not in places]
    graph.outputs = [scores.get(int(at), int(at)) for at in graph.outputs]
    model.signatureDefs = []  # they name the outputs that are gone
