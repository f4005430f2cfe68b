"""CONV_2D, DEPTHWISE_CONV_2D and FULLY_CONNECTED in int8, as TFLite's reference kernels compute them.

kernels/internal/reference/integer_ops/conv.h, depthwise_conv.h and fully_connected.h; factors by kernels/conv.cc
and kernel_util.cc (`PopulateConvolutionQuantizationParams`), and for TFLite Micro by
micro/kernels/fully_connected_common.cc.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tflite_export.kernels._quantized import (
    Activation,
    AffineFormat,
    Int8,
    QuantizedArray,
    Runtime,
    check_accumulators,
    requantize,
    saturate,
)
from tflite_export.kernels._window import Window, windows

Bias = NDArray[np.int32]
_Exact = NDArray[Any]  # float32 or float64, whichever holds the sums exactly

_FLOAT32_EXACT = 2**24  # integers up to here are exact in float32, and so is any sum that stays below


def conv_2d(
    x: QuantizedArray,
    kernel: QuantizedArray,
    bias: Bias | None,
    *,
    output: AffineFormat,
    window: Window,
    activation: Activation = "NONE",
) -> Int8:
    """Convolution, plain or grouped.

    Args:
        x: `(n, height, width, in)`.
        kernel: `(out, kernel height, kernel width, in / groups)` with zero point 0; one scale or one for each
            output channel.
        bias: `(out,)` in units of `x.scale * kernel.scale`, or None.
        output: format of the output.
        window: strides, padding and dilations.
        activation: fused activation.

    Returns:
        `(n, rows, columns, out)`.

    Raises:
        ValueError: shapes or formats that do not belong together.
    """
    out, height, width, depth = kernel.values.shape
    channels = x.values.shape[3]
    if channels % depth or out % (channels // depth):
        raise ValueError(
            f"A kernel must fit its input. Received: kernel {kernel.values.shape}, input {x.values.shape}. "
            "in / groups and out / groups must be whole."
        )
    factors = _factors(x, kernel, output)
    exact = _exact_type(kernel.values.reshape(out, -1))
    patches: _Exact = windows(x.centred.astype(exact), (height, width), window)
    groups = channels // depth
    matrices: _Exact = kernel.values.astype(exact).reshape(groups, out // groups, -1)
    sums = [
        patches[..., group * depth : (group + 1) * depth].reshape(-1, height * width * depth) @ matrix.T
        for group, matrix in enumerate(matrices)
    ]
    accumulators = np.concatenate(sums, axis=1).reshape(*patches.shape[:3], out)
    return requantize(_with_bias(accumulators, bias), factors, output=output, activation=activation)


def depthwise_conv_2d(
    x: QuantizedArray,
    kernel: QuantizedArray,
    bias: Bias | None,
    *,
    output: AffineFormat,
    window: Window,
    activation: Activation = "NONE",
) -> Int8:
    """Depthwise convolution; output channel `i * multiplier + j` is the j-th of input channel i.

    Args:
        x: `(n, height, width, in)`.
        kernel: `(1, kernel height, kernel width, in * multiplier)` with zero point 0; one scale or one for
            each output channel.
        bias: `(in * multiplier,)` in units of `x.scale * kernel.scale`, or None.
        output: format of the output.
        window: strides, padding and dilations.
        activation: fused activation.

    Returns:
        `(n, rows, columns, in * multiplier)`.

    Raises:
        ValueError: shapes or formats that do not belong together.
    """
    _, height, width, out = kernel.values.shape
    channels = x.values.shape[3]
    if out % channels:
        raise ValueError(
            f"A depthwise kernel must have a multiple of its input's channels. Received: kernel "
            f"{kernel.values.shape}, input {x.values.shape}. Check the depth multiplier."
        )
    factors = _factors(x, kernel, output)
    patches = windows(x.centred, (height, width), window)
    taps = kernel.values.astype(np.int32).reshape(height, width, channels, -1)
    accumulators = np.zeros((*patches.shape[:3], *taps.shape[2:]), np.int32)
    for row in range(height):
        for column in range(width):
            accumulators += patches[:, :, :, row, column, :, None] * taps[row, column]
    flat = accumulators.reshape(*patches.shape[:3], out)
    return requantize(_with_bias(flat, bias), factors, output=output, activation=activation)


def fully_connected(
    x: QuantizedArray,
    kernel: QuantizedArray,
    bias: Bias | None,
    *,
    output: AffineFormat,
    activation: Activation = "NONE",
    runtime: Runtime = "litert",
) -> Int8:
    """Dense layer.

    LiteRT's reference kernel multiplies the accumulator by the factor in double precision and rounds once;
    TFLite Micro uses an integer multiplier, which rounds twice. The results differ by a step now and then. Powers
    of two do not help: 127 / 2**8 is 0 when rounded once, but 1 when its half, 63.5, is rounded up to 64 first.

    Args:
        x: `(n, in)`.
        kernel: `(out, in)` with zero point 0; one scale or one for each output.
        bias: `(out,)` in units of `x.scale * kernel.scale`, or None.
        output: format of the output.
        activation: fused activation.
        runtime: whose arithmetic, see `Runtime`.

    Returns:
        `(n, out)`.

    Raises:
        ValueError: shapes or formats that do not belong together, or an unknown runtime.
    """
    check_runtime(runtime)
    if x.values.shape[1:] != kernel.values.shape[1:]:
        raise ValueError(
            f"A dense kernel must fit its input. Received: kernel {kernel.values.shape}, input {x.values.shape}. "
            "Flatten the input."
        )
    exact = _exact_type(kernel.values)
    rows: _Exact = x.centred.astype(exact)
    accumulators = _with_bias(rows @ kernel.values.astype(exact).T, bias)
    factors = _factors(x, kernel, output)
    if runtime == "litert":
        check_accumulators(accumulators)
        return saturate(_round(accumulators * factors), output=output, activation=activation)
    return requantize(accumulators, factors, output=output, activation=activation)


def check_runtime(runtime: str) -> None:
    """Refuses a runtime whose arithmetic is not known.

    Args:
        runtime: "litert" or "tflm".

    Raises:
        ValueError: another name.
    """
    if runtime not in ("litert", "tflm"):
        raise ValueError(f"runtime must be 'litert' or 'tflm'. Received: runtime={runtime!r}.")


def _factors(x: QuantizedArray, kernel: QuantizedArray, output: AffineFormat) -> NDArray[np.float64]:
    """Real factors from accumulators to output steps, one or one a channel, in double precision."""
    if kernel.format.zero_point:
        raise ValueError(
            f"Weights must have zero point 0. Received: zero_point={kernel.format.zero_point}. "
            "Quantize them symmetrically."
        )
    scales = np.asarray(kernel.format.scales, np.float32).astype(np.float64)
    return np.asarray(np.float64(x.format.scale) * scales / np.float64(output.scale))


def _round(real: NDArray[np.float64]) -> NDArray[np.int64]:
    """C's `round`: halves away from zero, exact for every double."""
    whole = np.trunc(real)
    return np.asarray(whole + np.sign(real) * (np.abs(real - whole) >= 0.5), np.int64)


def _exact_type(matrix: Int8) -> type[Any]:
    """The floating type in which a BLAS product with centred int8 values is exact in any order."""
    largest = int(np.abs(matrix.astype(np.int64)).sum(axis=1).max(initial=0)) * 255
    return np.float32 if largest < _FLOAT32_EXACT else np.float64


def _with_bias(accumulators: _Exact, bias: Bias | None) -> NDArray[np.int64]:
    integers = accumulators.astype(np.int64)
    if bias is not None:
        integers += bias
    return integers
