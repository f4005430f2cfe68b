"""The inputs and outputs of a `.tflite` file: their order, their names and their types."""

import copy
import keyword
import re
from collections.abc import Sequence
from typing import Any, Literal

from ai_edge_litert import schema_py_generated as schema

EndType = Literal["int8", "uint8", "float32"]
"""What a file of integers takes and gives: integers of its own signals, bytes, or real numbers."""

_BYTE = 128  # from int8 to uint8


def identifiers(names: Sequence[str]) -> tuple[str, ...]:
    """Names as identifiers of letters, digits and single underscores that begin with a letter, no words of Python.

    TensorFlow makes parameters of a function of them. All are different, whatever capitals count for: its graphs and
    file systems do not tell them apart.

    Args:
        names: names of layers.
    """
    found: list[str] = []
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")
        plain = plain if plain[:1].isalpha() and not keyword.iskeyword(plain) else f"n_{plain}".rstrip("_")
        number, chosen = 1, plain
        while chosen.lower() in (each.lower() for each in found):
            number += 1
            chosen = f"{plain}_{number}"
        found.append(chosen)
    return tuple(found)


def order_ends(model: Any, *, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Edit of a file: its inputs and outputs in the order in which names of its signature are given.

    Args:
        model: a parsed file with one signature.
        inputs: names of all inputs; a single one stays where it is.
        outputs: names of all outputs.
    """
    (signature,) = model.signatureDefs
    (graph,) = model.subgraphs
    for side, ends, names in (("inputs", signature.inputs, inputs), ("outputs", signature.outputs, outputs)):
        if len(names) > 1:
            places = {bytes(end.name).decode(): int(end.tensorIndex) for end in ends}
            setattr(graph, side, [places[name] for name in names])


def convert_ends(model: Any, *, dtype: EndType) -> None:
    """Edit of a file: its quantized inputs and outputs become bytes or real numbers.

    An operator in front quantizes what comes in, or takes 128 from its bytes, and one behind does the reverse. Ends of
    other types, such as tokens, stay.

    Args:
        model: a parsed file of one graph.
        dtype: "uint8", of int8 signals alone, "float32", or "int8", which changes nothing.

    Raises:
        ValueError: bytes for signals of 16 bits.
    """
    if dtype == "int8":
        return
    (graph,) = model.subgraphs
    first = [_converted_end(model, graph.inputs, place, dtype, incoming=True) for place in _quantized(graph, "inputs")]
    last = [
        _converted_end(model, graph.outputs, place, dtype, incoming=False) for place in _quantized(graph, "outputs")
    ]
    graph.operators = [*first, *graph.operators, *last]


def _quantized(graph: Any, side: str) -> list[int]:
    """Places of the ends that have a scale; as a list, for ends are changed."""
    setattr(graph, side, [int(at) for at in getattr(graph, side)])
    wide = schema.TensorType.INT8, schema.TensorType.INT16
    return [place for place, at in enumerate(getattr(graph, side)) if graph.tensors[at].type in wide]


def _converted_end(model: Any, ends: list[int], place: int, dtype: EndType, *, incoming: bool) -> Any:
    """The operator between an end and the signal that it was; the end is another tensor from now on."""
    (graph,) = model.subgraphs
    inner, outer = ends[place], len(graph.tensors)
    graph.tensors.append(_outer_tensor(graph.tensors[inner], dtype))
    graph.tensors[inner].name = None
    ends[place] = outer
    for signature in model.signatureDefs or ():
        for end in signature.inputs if incoming else signature.outputs:
            end.tensorIndex = outer if end.tensorIndex == inner else end.tensorIndex
    operator = schema.OperatorT()
    operator.opcodeIndex = _code(model, "DEQUANTIZE" if dtype == "float32" and not incoming else "QUANTIZE")
    operator.inputs, operator.outputs = ([outer], [inner]) if incoming else ([inner], [outer])
    return operator


def _outer_tensor(signal: Any, dtype: EndType) -> Any:
    outer = copy.copy(signal)
    if dtype == "float32":
        outer.type, outer.quantization = schema.TensorType.FLOAT32, None
        return outer
    if signal.type != schema.TensorType.INT8:
        raise ValueError(
            "Only signals of 8 bits go in and out as bytes. Received: io='uint8' with signals of 16 bits. Use "
            "io='float32', or 'int8' for the signals as they are."
        )
    outer.type, outer.quantization = schema.TensorType.UINT8, copy.copy(signal.quantization)
    outer.quantization.zeroPoint = [int(zero) + _BYTE for zero in signal.quantization.zeroPoint]
    return outer


def _code(model: Any, name: str) -> int:
    """Index of an operator's code, which is added where there is none."""
    wanted = getattr(schema.BuiltinOperator, name)
    for index, code in enumerate(model.operatorCodes):
        if code.builtinCode == wanted:
            return index
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = wanted
    code.version = 1
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1
