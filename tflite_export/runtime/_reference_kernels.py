"""From operators of a `.tflite` file to the integer arithmetic of `tf_structprune.fixed_point`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from tflite_export import kernels
from tflite_export.file import OperatorDescription, TensorDescription

Int8 = NDArray[np.int8]
Arrays = dict[int, NDArray[Any]]
"""Values of tensors by their index; signals have an axis of samples in front of the shape in the file."""

_ACTIVATIONS = {code: name for name, code in vars(schema.ActivationFunctionType).items() if isinstance(code, int)}
_PADDINGS = {code: name for name, code in vars(schema.Padding).items() if isinstance(code, int)}


@dataclass(frozen=True)
class Call:
    """One operator with everything that it reads.

    Attributes:
        operator: the operator.
        tensors: all tensors of the model.
        values: signals that have been computed.
        constants: values from the file.
        runtime: whose arithmetic.
    """

    operator: OperatorDescription
    tensors: tuple[TensorDescription, ...]
    values: Arrays
    constants: Arrays
    runtime: kernels.Runtime

    @property
    def output(self) -> TensorDescription:
        """The only output."""
        return self.tensors[self.operator.outputs[0]]

    @property
    def format(self) -> kernels.AffineFormat:
        """Format of the output."""
        return _format(self.output)

    @property
    def activation(self) -> Any:
        """Name of the fused activation."""
        return _ACTIVATIONS[self.operator.options["fusedActivationFunction"]]

    @property
    def window(self) -> kernels.Window:
        """Strides, padding and dilations."""
        options = self.operator.options
        return kernels.Window(
            strides=(options["strideH"], options["strideW"]),
            padding=_PADDINGS[options["padding"]],
            dilations=(options.get("dilationHFactor", 1), options.get("dilationWFactor", 1)),
        )

    def rank(self, position: int) -> int:
        """Number of axes that an input has in the file."""
        return len(self.tensors[self.operator.inputs[position]].shape)

    def signal(self, position: int, rank: int | None = None) -> kernels.QuantizedArray:
        """An input with its axis of samples; a constant has one sample, for all.

        Args:
            position: place among the inputs.
            rank: number of axes behind that of the samples, for broadcasting; None for those in the file.
        """
        index = self.operator.inputs[position]
        values = self.values[index] if index in self.values else self._int8_constant(position)[None]
        if rank is not None:
            ones = (1,) * (rank - values.ndim + 1)
            values = values.reshape(values.shape[:1] + ones + values.shape[1:])
        return kernels.QuantizedArray(values, _format(self.tensors[index]))

    def images(self) -> kernels.QuantizedArray:
        """The first input with samples and batch in one axis."""
        x = self.signal(0)
        return kernels.QuantizedArray(x.values.reshape(-1, *x.values.shape[2:]), x.format)

    def weights(self) -> kernels.QuantizedArray:
        """The second input, constant int8."""
        return kernels.QuantizedArray(self._int8_constant(1), _format(self.tensors[self.operator.inputs[1]]))

    def bias(self) -> NDArray[np.int32] | None:
        """The third input, None when it was left out."""
        inputs = self.operator.inputs
        return self.constant(2) if len(inputs) > 2 and inputs[2] >= 0 else None

    def constant(self, position: int) -> NDArray[Any]:
        """Values of an input that must be in the file."""
        index = self.operator.inputs[position]
        if index not in self.constants:
            tensor = self.tensors[index]
            raise ValueError(
                f"Tensor '{tensor.name}' of {self.operator.name} must be a constant of int8, int32 or int64. "
                f"Received: dtype={tensor.dtype}, constant={tensor.constant}. Convert it with fixed shapes."
            )
        return self.constants[index]

    def axes(self) -> tuple[int, ...]:
        """Axes of the second input, counted with the axis of samples."""
        return tuple(int(axis) % self.rank(0) + 1 for axis in self.constant(1).ravel())

    def _int8_constant(self, position: int) -> Int8:
        values = self.constant(position)
        if values.dtype != np.int8:
            tensor = self.tensors[self.operator.inputs[position]]
            raise ValueError(
                f"Tensor '{tensor.name}' of {self.operator.name} must be int8. Received: dtype={tensor.dtype}. "
                "Convert the model with quantize='int8'."
            )
        return values


def _format(tensor: TensorDescription) -> kernels.AffineFormat:
    points = set(tensor.zero_points) or {0}
    if len(points) > 1:
        raise ValueError(
            f"Tensor '{tensor.name}': must have one zero point. Received: {sorted(points)}. "
            "Quantize weights symmetrically."
        )
    return kernels.AffineFormat(tensor.scales, points.pop())


def _conv_2d(call: Call) -> Int8:
    x, kernel, bias = call.images(), call.weights(), call.bias()
    return kernels.conv_2d(x, kernel, bias, output=call.format, window=call.window, activation=call.activation)


def _depthwise_conv_2d(call: Call) -> Int8:
    x, kernel, bias = call.images(), call.weights(), call.bias()
    return kernels.depthwise_conv_2d(
        x, kernel, bias, output=call.format, window=call.window, activation=call.activation
    )


def _fully_connected(call: Call) -> Int8:
    x, kernel, bias = call.signal(0), call.weights(), call.bias()
    rows = kernels.QuantizedArray(x.values.reshape(-1, kernel.values.shape[1]), x.format)
    return kernels.fully_connected(
        rows, kernel, bias, output=call.format, activation=call.activation, runtime=call.runtime
    )


def _add(call: Call) -> Int8:
    first, second = _broadcasting(call)
    return kernels.add(first, second, output=call.format, activation=call.activation)


def _mul(call: Call) -> Int8:
    first, second = _broadcasting(call)
    return kernels.multiply(first, second, output=call.format, activation=call.activation, runtime=call.runtime)


def _broadcasting(call: Call) -> tuple[kernels.QuantizedArray, kernels.QuantizedArray]:
    rank = max(call.rank(0), call.rank(1))
    return call.signal(0, rank), call.signal(1, rank)


def _max_pool_2d(call: Call) -> Int8:
    return kernels.max_pool_2d(
        call.images(), _pool_size(call), output=call.format, window=call.window, activation=call.activation
    )


def _average_pool_2d(call: Call) -> Int8:
    return kernels.average_pool_2d(
        call.images(), _pool_size(call), output=call.format, window=call.window, activation=call.activation
    )


def _pool_size(call: Call) -> tuple[int, int]:
    return call.operator.options["filterHeight"], call.operator.options["filterWidth"]


def _mean(call: Call) -> Int8:
    return kernels.mean(call.signal(0), call.axes(), output=call.format)


def _reduce_max(call: Call) -> Int8:
    return kernels.reduce_max(call.signal(0), call.axes(), output=call.format)


def _pad(call: Call) -> Int8:
    margins = [(0, 0), *((int(before), int(behind)) for before, behind in call.constant(1))]
    fill = int(call.constant(2).item()) if len(call.operator.inputs) > 2 else None
    return kernels.pad(call.signal(0), margins, output=call.format, fill=fill)


def _reshape(call: Call) -> Int8:
    return kernels.take(call.signal(0), (slice(None),), output=call.format)


def _slice(call: Call) -> Int8:
    pairs = zip(call.constant(1).tolist(), call.constant(2).tolist(), strict=True)
    window = [slice(begin, None if size == -1 else begin + size) for begin, size in pairs]
    return kernels.take(call.signal(0), (slice(None), *window), output=call.format)


def _strided_slice(call: Call) -> Int8:
    options = call.operator.options
    if options["ellipsisMask"] or options["newAxisMask"] or options["offset"]:
        raise ValueError(
            f"STRIDED_SLICE to '{call.output.name}': ellipsis, new axes and offsets are not supported. "
            f"Received: {dict(options)}. Slice every axis."
        )
    window = [slice(None)]
    parts = zip(*(call.constant(position).tolist() for position in (1, 2, 3)), strict=True)
    for axis, (begin, end, stride) in enumerate(parts):
        if options["shrinkAxisMask"] >> axis & 1:
            window.append(slice(begin, begin + 1 or None))
            continue
        first = None if options["beginMask"] >> axis & 1 else begin
        window.append(slice(first, None if options["endMask"] >> axis & 1 else end, stride))
    return kernels.take(call.signal(0), tuple(window), output=call.format)


def _concatenation(call: Call) -> Int8:
    parts = [call.signal(position) for position in range(len(call.operator.inputs))]
    samples = max(len(part.values) for part in parts)
    parts = [kernels.QuantizedArray(_repeat(part.values, samples), part.format) for part in parts]
    return kernels.concatenate(parts, axis=call.operator.options["axis"] % call.rank(0) + 1, output=call.format)


def _repeat(values: Int8, samples: int) -> Int8:
    return np.broadcast_to(values, (samples, *values.shape[1:]))


def _quantize(call: Call) -> Int8:
    return kernels.requantize(call.signal(0), output=call.format)


def _relu(call: Call) -> Int8:
    name: Any = call.operator.name  # the operators are called like the fused activations
    return kernels.relu(call.signal(0), output=call.format, activation=name, runtime=call.runtime)


def _softmax(call: Call) -> Int8:
    return kernels.softmax(call.signal(0), beta=call.operator.options["beta"])


KERNELS: dict[str, Callable[[Call], Int8]] = {
    "ADD": _add,
    "AVERAGE_POOL_2D": _average_pool_2d,
    "CONCATENATION": _concatenation,
    "CONV_2D": _conv_2d,
    "DEPTHWISE_CONV_2D": _depthwise_conv_2d,
    "FULLY_CONNECTED": _fully_connected,
    "MAX_POOL_2D": _max_pool_2d,
    "MEAN": _mean,
    "MUL": _mul,
    "PAD": _pad,
    "PADV2": _pad,
    "QUANTIZE": _quantize,
    "REDUCE_MAX": _reduce_max,
    "RELU": _relu,
    "RELU6": _relu,
    "RELU_N1_TO_1": _relu,
    "RESHAPE": _reshape,
    "SLICE": _slice,
    "SOFTMAX": _softmax,
    "STRIDED_SLICE": _strided_slice,
}
