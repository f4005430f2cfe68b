"""What an int8 file rounds, operator by operator."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tflite_export.file import OperatorDescription, TFLiteFile
from tflite_export.sensitivity._marks import Marks
from tflite_export.sensitivity._pair import CHANGES, FilePair, is_rounded

INPUT = "INPUT"
"""Kind of the part that rounds an input of the model."""
# They give values that they were given: where the grid stays, nothing is rounded.
_MOVING = (
    *("RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "MAX_POOL_2D", "PAD", "PADV2", "MIRROR_PAD", "CONCATENATION"),
    *("SLICE", "STRIDED_SLICE", "SPLIT", "SPLIT_V", "PACK", "UNPACK", "TILE", "BROADCAST_TO", "REVERSE_V2"),
    *("SPACE_TO_DEPTH", "DEPTH_TO_SPACE", "SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND", "RESIZE_NEAREST_NEIGHBOR"),
    *("REDUCE_MAX", "REDUCE_MIN", "RELU"),
)


@dataclass(frozen=True)
class Part:
    """What is rounded at a time: an operator's constants and the signal that it makes, or an input.

    Attributes:
        name: of the layer, with the operator where a layer has several of them.
        kind: name of the operator, or `INPUT`.
        place: of the operator in the file; -1 of an input.
        constants: indices of the tensors that hold its weights and biases.
        signal: index of the tensor that it makes.
    """

    name: str
    kind: str
    place: int
    constants: tuple[int, ...]
    signal: int


def parts_of(pair: FilePair, marks: Marks, *, inputs: Sequence[str], outputs: Sequence[str]) -> list[Part]:
    """All parts of a file, in the order in which they run.

    Args:
        pair: the files of a marked model.
        marks: its marks.
        inputs: names of the inputs of the model, in their order.
        outputs: names of the layers that make the outputs of the model, in their order.
    """
    description = pair.int8.description
    ends = dict(zip(description.output_indices, outputs, strict=True))
    found = [
        Part(name, INPUT, -1, (), index)
        for name, index in zip(inputs, description.input_indices, strict=True)
        if is_rounded(pair.int8, index)
    ]
    for place, operator in enumerate(description.operators):
        signal = operator.outputs[0]
        if operator.name not in CHANGES and is_rounded(pair.int8, signal) and not _moves(operator, pair.int8):
            constants = tuple(dict.fromkeys(index for index in operator.inputs if index in pair.rounded))
            texts = [description.tensors[index].name for index in (signal, *constants)]
            name = marks.owner(texts) or ends.get(signal) or texts[0]
            found.append(Part(name, operator.name, place, constants, signal))
    return _told_apart(found)


def channel_ranges(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Largest magnitude of the weights that make each output channel, which is the first axis."""
    return np.asarray(np.abs(weights).reshape(len(weights), -1).max(axis=1))


def _moves(operator: OperatorDescription, file: TFLiteFile) -> bool:
    """Whether an operator gives values on the grid of those that it reads."""
    tensors = file.description.tensors
    grids = {(tensors[index].scales, tensors[index].zero_points) for index in operator.outputs}
    grids |= {
        (tensors[index].scales, tensors[index].zero_points)
        for index in operator.inputs
        if index >= 0 and is_rounded(file, index)
    }
    return operator.name in _MOVING and len(grids) == 1


def _told_apart(parts: list[Part]) -> list[Part]:
    """The parts with names of their own: several of one layer have the operator in it, and a number from the second."""
    layers = Counter(part.name for part in parts)
    seen: Counter[str] = Counter()
    found = []
    for part in parts:
        name = part.name if layers[part.name] == 1 else f"{part.name}/{part.kind}"
        seen[name] += 1
        told = name if seen[name] == 1 else f"{name}:{seen[name]}"
        found.append(Part(told, part.kind, part.place, part.constants, part.signal))
    return found
