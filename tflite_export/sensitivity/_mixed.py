"""A file in floats in which some parts compute as the int8 file does."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from tflite_export.file import OperatorDescription, TFLiteFile
from tflite_export.sensitivity._pair import CHANGES, FilePair, is_rounded
from tflite_export.sensitivity._parts import Part

_VERSIONS = {schema.BuiltinOperator.QUANTIZE: 1, schema.BuiltinOperator.DEQUANTIZE: 2}


def mixed(
    pair: FilePair, parts: Sequence[Part], rounded: Collection[Part], shown: Sequence[int] | None = None
) -> TFLiteFile:
    """The float file of a model in which the constants and signals of some parts are rounded as in its int8 file.

    Sums are in floats, so a signal may differ from that of the int8 file where it lies between two steps.

    Args:
        pair: the files.
        parts: all parts.
        rounded: those that are rounded.
        shown: indices of the signals that it gives, in the place of its outputs.
    """
    return pair.int8.edited(lambda model: _Edit(model, pair, parts, rounded).made(shown))


class _Edit:
    """The edit of one parsed int8 file."""

    def __init__(self, model: Any, pair: FilePair, parts: Sequence[Part], rounded: Collection[Part]) -> None:
        self.model, self.pair = model, pair
        (self.graph,) = model.subgraphs
        self.rounded = {part.signal for part in rounded}
        self.constants = {index for part in rounded for index in part.constants}
        self.signals = {part.signal for part in parts}
        self.readers = {part.place: part.signal for part in parts}
        self.grids = [tensor.quantization for tensor in self.graph.tensors]
        self.stands_for: dict[int, int] = {}  # tensor that is read in the place of another

    def made(self, shown: Sequence[int] | None) -> None:
        """Rewrite the file."""
        changing = self._changing()
        for index in range(len(self.grids)):
            if is_rounded(self.pair.int8, index):
                self._in_floats(index)
        operators, self.graph.operators = self.graph.operators, []
        for index in self.graph.inputs:
            self._rounded(int(index))
        for place, operator in enumerate(operators):
            if place in changing:
                self._passed(operator, rounded=changing[place])
                continue
            operator.inputs = [self.stands_for.get(int(index), int(index)) for index in operator.inputs]
            self.graph.operators.append(operator)
            for index in operator.outputs:
                self._rounded(int(index))
        ends = self.graph.outputs if shown is None else shown
        self.graph.outputs = [self.stands_for.get(int(index), int(index)) for index in ends]
        self.model.signatureDefs = []

    def _changing(self) -> dict[int, bool]:
        """Operators that only change the grid, by place: whether they are done, with the part that asks for it."""
        operators = self.pair.int8.description.operators
        return {
            place: operator.name == "QUANTIZE" and self._part_of(operator) in self.rounded
            for place, operator in enumerate(operators)
            if operator.name in CHANGES
        }

    def _part_of(self, changing: OperatorDescription) -> int:
        """Signal of the part that reads what an operator puts on another grid, else of the one that it comes from."""
        operators = self.pair.int8.description.operators
        readers = (at for at, each in enumerate(operators) if changing.outputs[0] in each.inputs)
        made = {index: operator.inputs[0] for operator in operators for index in operator.outputs}
        source = changing.inputs[0]
        while source not in self.signals and source in made:
            source = made[source]
        return next((self.readers[at] for at in readers if at in self.readers), source)

    def _in_floats(self, index: int) -> None:
        tensor = self.graph.tensors[index]
        tensor.type, tensor.quantization = schema.TensorType.FLOAT32, None
        if index in self.pair.rounded:
            values = (self.pair.rounded if index in self.constants else self.pair.real)[index]
            tensor.buffer = self._buffer(values)

    def _buffer(self, values: NDArray[np.float32]) -> int:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(values, "<f4").tobytes(), np.uint8)
        self.model.buffers.append(buffer)
        return len(self.model.buffers) - 1

    def _passed(self, operator: Any, *, rounded: bool) -> None:
        """In the place of an operator that changes the grid: its input, on the new grid where that is rounded."""
        source, target = int(operator.inputs[0]), int(operator.outputs[0])
        read = self.stands_for.get(source, source)
        self.stands_for[target] = self._on_grid(read, target) if rounded else read

    def _rounded(self, index: int) -> None:
        """Puts a signal on its grid, behind the operator that makes it, if it belongs to a rounded part."""
        if index in self.rounded:
            self.stands_for[index] = self._on_grid(index, index)

    def _on_grid(self, read: int, index: int) -> int:
        """The signal that is another one on the grid of a tensor."""
        integers = self._signal(index, schema.TensorType.INT8, self.grids[index])
        real = self._signal(index, schema.TensorType.FLOAT32, None)
        self._operator(schema.BuiltinOperator.QUANTIZE, read, integers)
        self._operator(schema.BuiltinOperator.DEQUANTIZE, integers, real)
        return real

    def _signal(self, like: int, kind: int, grid: Any) -> int:
        tensor = schema.TensorT()
        tensor.shape, tensor.type, tensor.quantization, tensor.buffer = self.graph.tensors[like].shape, kind, grid, 0
        tensor.name = b"rounded"
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def _operator(self, code: int, read: int, made: int) -> None:
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = self._code(code), [read], [made]
        self.graph.operators.append(operator)

    def _code(self, code: int) -> int:
        for place, known in enumerate(self.model.operatorCodes):
            if max(known.builtinCode, known.deprecatedBuiltinCode) == code and known.version == _VERSIONS[code]:
                return place
        new = schema.OperatorCodeT()
        new.builtinCode = new.deprecatedBuiltinCode = code
        new.version = _VERSIONS[code]
        self.model.operatorCodes.append(new)
        return len(self.model.operatorCodes) - 1
