"""The int8 file of a model beside its float file: the same operators, with the values that were rounded."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tflite_export.file import OperatorDescription, TFLiteFile, real_constant

CHANGES = ("QUANTIZE", "DEQUANTIZE")
"""Operators that change the grid of a signal and nothing else."""
_MOST_STEPS = 0.51  # that rounding moves a weight by
_MOST_SHARE = 1e-5  # of its value by which a bias may differ, beside that: it is a product in float32


@dataclass(frozen=True)
class FilePair:
    """Two files of one model.

    Attributes:
        int8: with integers.
        real: values of its constants before they were rounded, by index of the tensor in the int8 file.
        rounded: what their integers stand for.
    """

    int8: TFLiteFile
    real: Mapping[int, NDArray[np.float32]]
    rounded: Mapping[int, NDArray[np.float32]]


def pair(int8: TFLiteFile, floats: TFLiteFile) -> FilePair:
    """Find the values that an int8 file has rounded.

    Args:
        int8: full-integer file of a model.
        floats: float file of the same model.

    Raises:
        ValueError: the files are not of one model, or the converter has made different operators of it.
    """
    wanted = _by_output(int8)
    given = _by_output(floats)
    real: dict[int, NDArray[np.float32]] = {}
    rounded: dict[int, NDArray[np.float32]] = {}
    for name, operator in wanted.items():
        if name not in given or given[name].name != operator.name:
            raise ValueError(
                f"{int8.name}: the int8 file has another operator than the float file, so that their layers cannot be "
                f"compared. Received: {operator.name} for '{name}'. Leave out the layer that makes it."
            )
        for index, source in itertools.zip_longest(operator.inputs, given[name].inputs, fillvalue=-1):
            if index in int8.constants and is_rounded(int8, index):
                rounded[index], step = real_constant(int8, index)
                real[index] = _checked(floats.constants.get(source), rounded[index], step, int8, index)
    return FilePair(int8, real, rounded)


def is_rounded(file: TFLiteFile, index: int) -> bool:
    """Whether a tensor holds integers that stand for real numbers."""
    return bool(file.description.tensors[index].scales)


def _by_output(file: TFLiteFile) -> dict[str, OperatorDescription]:
    """The operators that compute, by the name of what they make."""
    tensors = file.description.tensors
    computing = [each for each in file.description.operators if each.name not in CHANGES]
    return {tensors[each.outputs[0]].name: each for each in computing}


def _checked(
    real: NDArray[Any] | None, rounded: NDArray[np.float32], step: NDArray[np.float64], file: TFLiteFile, index: int
) -> NDArray[np.float32]:
    """The values before rounding, if rounding them gives those of the file; a bias that only one has is zero."""
    real = np.zeros_like(rounded) if real is None else real
    if real.shape == rounded.shape:
        real = real.astype(np.float32)
        if (np.abs(real - rounded) <= _MOST_STEPS * step + _MOST_SHARE * np.abs(real)).all():
            return real
    raise ValueError(
        f"{file.name}: the weights '{file.description.tensors[index].name}' of the int8 file are not those of the "
        "float file. Received: values that differ by more than half a step. Convert both from one model."
    )
