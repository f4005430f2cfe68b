"""ADD, MUL, RELU and QUANTIZE in int8, as TFLite's reference kernels compute them."""

import numpy as np

from tflite_export.kernels._convolution import check_runtime
from tflite_export.kernels._multiplier import multiply_by_quantized_multiplier, quantize_multiplier
from tflite_export.kernels._quantized import (
    Activation,
    AffineFormat,
    Int8,
    QuantizedArray,
    Runtime,
    activation_limits,
    saturate,
)
from tflite_export.kernels._quantized import requantize as _requantize

_HEADROOM_BITS = 20  # kernels/add.cc: int8 differences times 2**20 still fit 32 bits


def add(
    first: QuantizedArray, second: QuantizedArray, *, output: AffineFormat, activation: Activation = "NONE"
) -> Int8:
    """Sum of two arrays that broadcast (kernels/add.cc and reference/integer_ops/add.h).

    Both are shifted left by 20 bits, brought to twice the larger of their scales, added, and scaled back.

    Args:
        first: any shape.
        second: a shape that broadcasts with it.
        output: format of the output.
        activation: fused activation.

    Returns:
        The broadcast shape.

    Raises:
        ValueError: a tensor has several scales.
    """
    common = np.float32(2) * max(first.format.scale, second.format.scale)
    total = np.int64(0)
    for term in (first, second):
        factor = quantize_multiplier(np.float64(term.format.scale) / np.float64(common))
        shifted = term.centred.astype(np.int64) << _HEADROOM_BITS
        total = total + multiply_by_quantized_multiplier(shifted, *factor)  # type: ignore[assignment]
    back = quantize_multiplier(np.float64(common) / np.float64(2**_HEADROOM_BITS * output.scale))
    return saturate(multiply_by_quantized_multiplier(total, *back), output=output, activation=activation)


def multiply(
    first: QuantizedArray,
    second: QuantizedArray,
    *,
    output: AffineFormat,
    activation: Activation = "NONE",
    runtime: Runtime = "litert",
) -> Int8:
    """Product of two arrays that broadcast (reference/integer_ops/mul.h).

    LiteRT (kernels/mul.cc) forms the factor from the scales in float32, TFLite Micro
    (micro/kernels/mul_common.cc) in double precision.

    Args:
        first: any shape.
        second: a shape that broadcasts with it.
        output: format of the output.
        activation: fused activation.
        runtime: whose arithmetic, see `Runtime`.

    Returns:
        The broadcast shape.

    Raises:
        ValueError: a tensor has several scales, or an unknown runtime.
    """
    check_runtime(runtime)
    number = np.float32 if runtime == "litert" else np.float64
    factor = number(first.format.scale) * number(second.format.scale) / number(output.scale)
    products = first.centred.astype(np.int64) * second.centred
    return _requantize(products, np.asarray(factor, np.float64), output=output, activation=activation)


def requantize(x: QuantizedArray, *, output: AffineFormat) -> Int8:
    """Another scale and zero point, the operator QUANTIZE between two int8 tensors (reference/requantize.h).

    Args:
        x: any shape.
        output: format of the output.

    Returns:
        The same shape.

    Raises:
        ValueError: a tensor has several scales.
    """
    factor = np.float64(x.format.scale) / np.float64(output.scale)
    return _requantize(x.centred, np.asarray(factor), output=output, activation="NONE")


def relu(
    x: QuantizedArray, *, output: AffineFormat, activation: Activation = "RELU", runtime: Runtime = "litert"
) -> Int8:
    """A ReLU that is an operator of its own.

    LiteRT scales all of them (kernels/activations.cc, `QuantizedReluX`), by a quotient of the scales in float32.
    TFLite Micro scales RELU by one in double precision, but its RELU6 only clamps the input's integers
    (micro/kernels/activations_common.cc, `Relu6Quantized`): where the two formats differ, its numbers are wrong, and
    they are wrong here too.

    Args:
        x: any shape.
        output: format of the output.
        activation: which ReLU.
        runtime: whose arithmetic, see `Runtime`.

    Returns:
        The same shape.

    Raises:
        ValueError: a tensor has several scales, or an unknown runtime.
    """
    check_runtime(runtime)
    if runtime == "tflm" and activation == "RELU6":
        return np.asarray(np.clip(x.values, *activation_limits(activation, x.format)), np.int8)
    number = np.float32 if runtime == "litert" else np.float64
    factor = number(x.format.scale) / number(output.scale)
    return _requantize(x.centred, np.asarray(factor, np.float64), output=output, activation=activation)
