"""The operators of an int8 file that multiply by weights and add a bias."""

from collections.abc import Mapping
from dataclasses import dataclass

from tflite_export.file import ModelDescription, OperatorDescription

_PLACES = {  # of the signal, the weights and the bias among the inputs
    "CONV_2D": (0, 1, 2),
    "DEPTHWISE_CONV_2D": (0, 1, 2),
    "FULLY_CONNECTED": (0, 1, 2),
    "TRANSPOSE_CONV": (2, 1, 3),
}


@dataclass(frozen=True)
class Weighted:
    """One of them.

    Attributes:
        place: among the operators of the file.
        signal: tensor that it reads.
        weights: tensor that it multiplies by.
        bias: constant tensor that it adds; -1 where there is none.
        bias_input: place of the bias among the operator's inputs.
        made: tensor that it makes.
    """

    place: int
    signal: int
    weights: int
    bias: int
    bias_input: int
    made: int


def weighted(description: ModelDescription) -> tuple[Weighted, ...]:
    """All of them whose weights are constants, in the order in which they run."""
    found = (_weighted(place, each, description) for place, each in enumerate(description.operators))
    return tuple(each for each in found if each is not None)


def makers_of(in_float: ModelDescription, known: Mapping[int, int]) -> dict[int, Weighted]:
    """The layers of a float file by the signals of the int8 file that they make.

    Args:
        in_float: the float file.
        known: its signals by those of the int8 file, see `twins`; a layer that reads none of them is left out.
    """
    made = {each.made: each for each in weighted(in_float)}
    found = {index: made[twin] for index, twin in known.items() if twin in made}
    return {index: each for index, each in found.items() if each.signal in known.values()}


def _weighted(place: int, operator: OperatorDescription, description: ModelDescription) -> Weighted | None:
    if operator.name not in _PLACES:
        return None
    signal, weights, bias = _PLACES[operator.name]
    if not description.tensors[operator.inputs[weights]].constant:
        return None
    found = operator.inputs[bias] if len(operator.inputs) > bias else -1
    added = found if found >= 0 and description.tensors[found].constant else -1
    return Weighted(place, operator.inputs[signal], operator.inputs[weights], added, bias, operator.outputs[0])
