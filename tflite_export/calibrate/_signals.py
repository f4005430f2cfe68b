"""The signals of an int8 file: what they are in floats, and which share one grid."""

from collections.abc import Iterable, Mapping

import numpy as np

from tflite_export.file import ModelDescription, TensorDescription

_INTEGERS = ("int8", "int16")
_ENDS = ("QUANTIZE", "DEQUANTIZE")  # which only the int8 file has
# Operators that take any grid and give any grid.
_FREE = frozenset(
    "CONV_2D DEPTHWISE_CONV_2D FULLY_CONNECTED TRANSPOSE_CONV ADD SUB MUL MEAN RELU LEAKY_RELU PRELU QUANTIZE".split()
)
# Operators whose signals all have one grid, as TFLite's quantization specification asks.
_TIED = frozenset(
    "AVERAGE_POOL_2D MAX_POOL_2D RESHAPE PAD CONCATENATION SQUEEZE EXPAND_DIMS TRANSPOSE STRIDED_SLICE SLICE SPLIT "
    "PACK UNPACK RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR SPACE_TO_DEPTH DEPTH_TO_SPACE".split()
)


def twins(int8: ModelDescription, in_float: ModelDescription) -> dict[int, int]:
    """The signals of an int8 file that are known in floats.

    TensorFlow's converter mostly gives a signal the same name in both files. Where it does not, the signal that the
    same operator makes counts, if both files have the same operators in the same order.

    Args:
        int8: the file; its signals may have 16 bits too.
        in_float: the float file of the same model.

    Returns:
        Indices of tensors of the float file by those of the int8 file; without signals of several samples at once.
    """
    known = _by_name(in_float.tensors, ("float32",))
    found = _by_name(int8.tensors, _INTEGERS)
    pairs = _in_order(int8, in_float) | {index: known[name] for name, index in found.items() if name in known}
    fitting = {a: b for a, b in pairs.items() if int8.tensors[a].shape == in_float.tensors[b].shape}
    return {a: b for a, b in fitting.items() if _is_signal(int8.tensors[a], _INTEGERS)}


def _in_order(int8: ModelDescription, in_float: ModelDescription) -> dict[int, int]:
    both = [[each for each in one.operators if each.name not in _ENDS] for one in (int8, in_float)]
    if [each.name for each in both[0]] != [each.name for each in both[1]]:
        return {}
    return {a: b for pair in zip(*both, strict=True) for a, b in zip(pair[0].outputs, pair[1].outputs, strict=True)}


def _by_name(tensors: tuple[TensorDescription, ...], dtypes: tuple[str, ...]) -> dict[str, int]:
    named: dict[str, list[int]] = {}
    for index, tensor in enumerate(tensors):
        if tensor.name and _is_signal(tensor, dtypes):
            named.setdefault(tensor.name, []).append(index)
    return {name: indices[0] for name, indices in named.items() if len(indices) == 1}


def _is_signal(tensor: TensorDescription, dtypes: tuple[str, ...]) -> bool:
    return not tensor.constant and tensor.dtype in dtypes and tensor.shape[:1] == (1,)


def shared_grids(int8: ModelDescription, known: Mapping[int, int]) -> tuple[tuple[int, ...], ...]:
    """The signals of an int8 file whose grid may be another one.

    Those that the file takes and gives keep theirs, and so do those that some operator needs as they are: the scores in
    front of a softmax too, of which no two may be cut off at the same number.

    Args:
        int8: the file.
        known: the signals that are known in floats, see `twins`.

    Returns:
        Groups of indices; the signals of a group share one grid.
    """
    leads = _joined(int8)
    groups: dict[int, list[int]] = {}
    for index in sorted(leads):
        groups.setdefault(leads[index], []).append(index)
    held = {leads[index] for index in _held(int8, known) if index in leads}
    held |= {lead for lead, group in groups.items() if len({_grid(int8.tensors[index]) for index in group}) > 1}
    return tuple(tuple(group) for lead, group in groups.items() if lead not in held)


def _joined(int8: ModelDescription) -> dict[int, int]:
    """For each signal one of its group, the same for all of them."""
    leads = {index: index for operator in int8.operators for index in (*operator.inputs, *operator.outputs)}
    leads = {index: index for index in leads if index >= 0 and int8.tensors[index].scales}
    for operator in int8.operators:
        if operator.name in _TIED:
            _join(leads, [index for index in (*operator.inputs, *operator.outputs) if index in leads])
    return leads


def _join(leads: dict[int, int], indices: Iterable[int]) -> None:
    old = {leads[index] for index in indices}
    for index, lead in leads.items():
        if lead in old:
            leads[index] = min(old)


def _held(int8: ModelDescription, known: Mapping[int, int]) -> set[int]:
    """Tensors whose grids have to stay."""
    held = {*int8.input_indices, *int8.output_indices}
    held |= {index for index in range(len(int8.tensors)) if index not in known or int8.tensors[index].dtype != "int8"}
    for operator in int8.operators:
        if operator.name not in _FREE | _TIED:
            held |= {*operator.inputs, *operator.outputs}
    return held | {index for index, each in enumerate(int8.tensors) if len(np.unique(each.scales)) != 1}


def _grid(tensor: TensorDescription) -> tuple[tuple[float, ...], tuple[int, ...]]:
    return tensor.scales, tensor.zero_points
