"""A `.tflite` file, operator by operator."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tflite_export.file import OperatorDescription, TFLiteFile, memory_timeline
from tflite_export.report._values import Operator, Profile

_WEIGHTS = 1  # place of the kernel among the inputs
_CHANNELS_FIRST = ("CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "CONV_3D")
_CHANNELS_LAST = ("DEPTHWISE_CONV_2D",)
_ALIKE = 0.9  # cosine of two kernels that are the same but for rounding and a factor for each output

Kernels = Mapping[str, NDArray[np.floating]]
"""Kernels by layer, a row for each output, shape (outputs, weights)."""


def profile_of(file: TFLiteFile, name: str, kernels: Kernels | None = None, times_us: Sequence[float] = ()) -> Profile:
    """What each operator of a file computes, stores and keeps alive.

    Args:
        file: the file.
        name: what it is called.
        kernels: of the Keras model that it was made of: an operator whose weights point the same way, output by output,
            computes that layer. Names in files tell less, and most files have none.
        times_us: what each operator takes, in the order in which they run; others than one an operator, as of a
            delegate that runs several as one, are left out.

    Raises:
        ValueError: several subgraphs, or signals without a fixed size.
    """
    description = file.description
    layers = _layers(file, dict(kernels or {}))
    stored = _stored_bytes(file)
    steps = memory_timeline(description).steps
    timed = len(times_us) == len(steps)
    return Profile(
        name,
        tuple(
            Operator(
                operator.name,
                step.output,
                layers.get(at, ""),
                description.tensors[operator.outputs[0]].shape if operator.outputs else (),
                operator.macs,
                stored[at],
                _zeros(_weights(operator, file)),
                step.live_bytes,
                float(times_us[at]) if timed else None,
            )
            for at, (operator, step) in enumerate(zip(description.operators, steps, strict=True))
        ),
    )


def _layers(file: TFLiteFile, left: dict[str, NDArray[np.floating]]) -> dict[int, str]:
    """The layer of each operator that one is found for, by place; a layer has one operator."""
    found: dict[int, str] = {}
    for at, operator in enumerate(file.description.operators):
        rows = _rows(operator, _weights(operator, file))
        if rows is None:
            continue
        alike = {name: _cosine(rows, kernel) for name, kernel in left.items() if kernel.shape == rows.shape}
        name = max(alike, key=alike.__getitem__, default=None)
        if name is not None and alike[name] > _ALIKE:
            found[at] = name
            del left[name]
    return found


def _weights(operator: OperatorDescription, file: TFLiteFile) -> NDArray[np.generic] | None:
    """Values of an operator's kernel as they are stored; None without one."""
    if operator.name not in (*_CHANNELS_FIRST, *_CHANNELS_LAST) or len(operator.inputs) <= _WEIGHTS:
        return None
    return file.constants.get(operator.inputs[_WEIGHTS])


def _rows(operator: OperatorDescription, weights: NDArray[np.generic] | None) -> NDArray[np.float64] | None:
    """A kernel with a row for each output; None without one."""
    if weights is None or weights.ndim < 2:
        return None
    last = operator.name in _CHANNELS_LAST
    moved = np.moveaxis(weights, -1, 0) if last else weights
    return np.reshape(moved, (len(moved), -1)).astype(np.float64)


def _cosine(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """How far the rows of two kernels point the same way, or opposite ways, on average."""
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    dots = np.abs(np.sum(one * other, axis=1))
    return float(np.sum(dots) / max(np.sum(norms), np.finfo(np.float64).tiny))


def _zeros(weights: NDArray[np.generic] | None) -> float | None:
    """Fraction of weights that are zero."""
    return None if weights is None or not weights.size else 1 - int(np.count_nonzero(weights)) / weights.size


def _stored_bytes(file: TFLiteFile) -> list[int]:
    """Bytes of the constants of each operator; a buffer that several read counts for the first."""
    graph, buffers = file.parsed.subgraphs[0], file.parsed.buffers
    seen: set[int] = set()
    sizes = []
    for operator in file.description.operators:
        fresh = {graph.tensors[index].buffer for index in operator.inputs if index >= 0} - seen
        seen |= fresh
        data = [buffers[buffer].data for buffer in fresh]
        sizes.append(sum(0 if each is None else len(each) for each in data))
    return sizes
