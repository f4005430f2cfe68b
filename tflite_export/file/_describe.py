"""What a `.tflite` file holds: operators, tensors, multiply-accumulates, parameters."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from tflite_export.micro import OPERATOR

_DTYPES = {code: name.lower() for name, code in vars(schema.TensorType).items() if isinstance(code, int)}
_BUILTINS = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}

TFLM_DECODE = "TFLM_DECODE"
"""TFLite Micro's own operator that decodes packed weights."""
DECODERS = (TFLM_DECODE, OPERATOR)
"""Custom operators that decode packed weights: by pairs of inputs, coded bytes and what they share, an output."""
_UNFOLDING = ("DEQUANTIZE", *DECODERS)
_BOUNDARY = 16  # of TFLite Micro's tensors
_WEIGHT_INPUTS: dict[str, tuple[int, ...]] = {
    # Positions of weights and biases among the inputs of an operator. Constants at other places
    # (shapes, axes, paddings) are no parameters. Arithmetic counts: an unfused batch norm is MUL and ADD.
    # Positions from 2 on are biases.
    "CONV_2D": (1, 2),
    "DEPTHWISE_CONV_2D": (1, 2),
    "FULLY_CONNECTED": (1, 2),
    "TRANSPOSE_CONV": (1, 3),
    "BATCH_MATMUL": (0, 1),
    "PRELU": (1,),
    "ADD": (0, 1),
    "SUB": (0, 1),
    "MUL": (0, 1),
    "DIV": (0, 1),
}


@dataclass(frozen=True)
class TensorDescription:
    """One tensor of a `.tflite` file.

    Attributes:
        name: name in the file.
        shape: number of elements along each axis; `()` for a scalar.
        dtype: lower case TFLite type, such as "float32" or "int8".
        scales: quantization scales, one per tensor or one per channel; empty when not quantized.
        zero_points: zero points that belong to `scales`.
        constant: whether the file stores the values.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    constant: bool

    @property
    def elements(self) -> int:
        """Number of values."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class OperatorDescription:
    """One operator of a `.tflite` file.

    Attributes:
        name: builtin operator name such as "CONV_2D", or the code of a custom operator.
        inputs: indices into `ModelDescription.tensors`; -1 is an input that was left out.
        outputs: indices into `ModelDescription.tensors`.
        macs: multiply-accumulates of one run.
        options: builtin options by their names in the schema (`strideH`, `padding`, ...); enums are numbers.
    """

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    macs: int
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class ModelDescription:
    """What a `.tflite` file holds.

    Attributes:
        size_bytes: size of the file.
        tensors: all tensors of the (only) subgraph.
        operators: all operators in the order in which they run.
        input_indices: indices of the inputs into `tensors`.
        output_indices: indices of the outputs into `tensors`.
    """

    size_bytes: int
    tensors: tuple[TensorDescription, ...]
    operators: tuple[OperatorDescription, ...]
    input_indices: tuple[int, ...]
    output_indices: tuple[int, ...]

    @property
    def inputs(self) -> tuple[TensorDescription, ...]:
        """Input tensors."""
        return tuple(self.tensors[index] for index in self.input_indices)

    @property
    def outputs(self) -> tuple[TensorDescription, ...]:
        """Output tensors."""
        return tuple(self.tensors[index] for index in self.output_indices)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one run: convolutions (plain, depthwise, transposed) and dense layers."""
        return sum(operator.macs for operator in self.operators)

    @property
    def parameters(self) -> int:
        """Elements of the constant tensors that are weights or biases; a shared tensor counts once.

        Of weights that are packed those count that an operator makes of them.
        """
        sources = self._sources
        read = self._read_at(0, 1) | self._read_at(2, 3)
        elements = {sources.get(index, (index,))[0]: self.tensors[index].elements for index in read}
        return sum(elements.values())

    @property
    def weights(self) -> frozenset[int]:
        """Indices of the constant tensors that an operator multiplies or adds; biases are not among them."""
        return self._constant_inputs(0, 1)

    @property
    def biases(self) -> frozenset[int]:
        """Indices of the constant tensors that are the bias of a convolution or a dense layer."""
        return self._constant_inputs(2, 3) - self.weights

    @property
    def packed(self) -> bool:
        """Whether weights are decoded as the file runs."""
        return any(operator.name in DECODERS for operator in self.operators)

    @property
    def decoded_bytes(self) -> int:
        """The most bytes that one operator decodes from packed weights, each tensor on a boundary of 16; 0 without."""
        decoders = [operator for operator in self.operators if operator.name in DECODERS]
        sizes = ([self.tensors[index].elements for index in operator.outputs] for operator in decoders)
        return max((sum(-(-size // _BOUNDARY) * _BOUNDARY for size in some) for some in sizes), default=0)

    def _constant_inputs(self, *positions: int) -> frozenset[int]:
        """Constants at these positions of the operators that read weights or biases there, or what becomes them."""
        sources = self._sources
        return frozenset(each for index in self._read_at(*positions) for each in sources.get(index, (index,)))

    def _read_at(self, *positions: int) -> frozenset[int]:
        """Tensors at these positions of the operators that read weights or biases there, constant or made of such."""
        sources = self._sources
        indices = (
            operator.inputs[position]
            for operator in self.operators
            for position in _WEIGHT_INPUTS.get(operator.name, ())
            if position in positions and position < len(operator.inputs)
        )
        return frozenset(at for at in indices if at >= 0 and (self.tensors[at].constant or at in sources))

    @property
    def _sources(self) -> dict[int, tuple[int, ...]]:
        """The constants of which tensors are made: weights in float16, and packed ones with their tables."""
        sources = {}
        for operator in self.operators:
            share = len(operator.inputs) // max(len(operator.outputs), 1)
            if operator.name in _UNFOLDING and all(self.tensors[index].constant for index in operator.inputs):
                for place, index in enumerate(operator.outputs):
                    sources[index] = operator.inputs[place * share : (place + 1) * share]
        return sources

    @property
    def operator_names(self) -> tuple[str, ...]:
        """Every operator that the model needs, once, sorted."""
        return tuple(sorted({operator.name for operator in self.operators}))

    @property
    def operator_counts(self) -> dict[str, int]:
        """How often each operator occurs, by sorted name."""
        names = [operator.name for operator in self.operators]
        return {name: names.count(name) for name in self.operator_names}


def describe(parsed: Any, size_bytes: int) -> ModelDescription:
    """What a parsed file holds, see `TFLiteFile.description`."""
    if len(parsed.subgraphs) != 1:
        raise ValueError(
            f"TFLite model: exactly one subgraph is supported. Received: {len(parsed.subgraphs)} subgraphs. "
            "Export a model without control flow."
        )
    graph = parsed.subgraphs[0]
    tensors = tuple(_tensor(tensor, parsed.buffers) for tensor in _items(graph.tensors))
    return ModelDescription(
        size_bytes=size_bytes,
        tensors=tensors,
        operators=tuple(_operator(operator, parsed.operatorCodes, tensors) for operator in _items(graph.operators)),
        input_indices=tuple(int(i) for i in _items(graph.inputs)),
        output_indices=tuple(int(i) for i in _items(graph.outputs)),
    )


def _items(values: Any) -> tuple[Any, ...]:
    """A flatbuffer vector as a tuple; an absent one is empty."""
    return () if values is None else tuple(values)


def _tensor(tensor: Any, buffers: list[Any]) -> TensorDescription:
    quantization = tensor.quantization
    stored = buffers[tensor.buffer]
    return TensorDescription(
        name=(tensor.name or b"").decode(errors="replace"),
        shape=tuple(int(size) for size in _items(tensor.shape)),
        dtype=_DTYPES.get(tensor.type, f"type {tensor.type}"),
        scales=tuple(float(scale) for scale in _items(quantization and quantization.scale)),
        zero_points=tuple(int(point) for point in _items(quantization and quantization.zeroPoint)),
        # A model over 2 GB keeps its values behind the flatbuffer, at `offset`.
        constant=(stored.data is not None and len(stored.data) > 0) or stored.offset > 1,
    )


def operator_name(operator: Any, codes: list[Any]) -> str:
    """Name of an operator, as the schema or, of a custom one, the file has it.

    Args:
        operator: of a parsed file.
        codes: the codes of the file.
    """
    code = codes[operator.opcodeIndex]
    # Codes above 126 do not fit the deprecated byte; whichever is larger counts.
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    if number == schema.BuiltinOperator.CUSTOM:
        return str((code.customCode or b"").decode(errors="replace"))
    return str(_BUILTINS.get(number, f"BUILTIN_{number}"))


def _operator(operator: Any, codes: list[Any], tensors: tuple[TensorDescription, ...]) -> OperatorDescription:
    name = operator_name(operator, codes)
    inputs = tuple(int(i) for i in _items(operator.inputs))
    outputs = tuple(int(i) for i in _items(operator.outputs))
    count = _MACS.get(name)
    macs = count([tensors[i].shape for i in inputs], tensors[outputs[0]].shape) if count else 0
    return OperatorDescription(name, inputs, outputs, macs, _options(operator.builtinOptions))


def _options(options: Any) -> dict[str, Any]:
    return {} if options is None else dict(vars(options))


_Shape = tuple[int, ...]


def _conv_macs(inputs: list[_Shape], output: _Shape) -> int:
    _, height, width, channels = inputs[1]  # (out, kh, kw, in / groups)
    return math.prod(output) * height * width * channels


def _depthwise_macs(inputs: list[_Shape], output: _Shape) -> int:
    _, height, width, _ = inputs[1]  # (1, kh, kw, out)
    return math.prod(output) * height * width


def _dense_macs(inputs: list[_Shape], output: _Shape) -> int:
    return math.prod(output) * inputs[1][-1]  # (out, in)


def _transpose_conv_macs(inputs: list[_Shape], output: _Shape) -> int:
    out, height, width, _ = inputs[1]  # (out, kh, kw, in); every input value meets every tap
    return math.prod(inputs[2]) * height * width * out


_MACS: dict[str, Callable[[list[_Shape], _Shape], int]] = {
    "CONV_2D": _conv_macs,
    "DEPTHWISE_CONV_2D": _depthwise_macs,
    "FULLY_CONNECTED": _dense_macs,
    "TRANSPOSE_CONV": _transpose_conv_macs,
}
