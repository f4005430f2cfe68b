"""Pooling and reductions in int8, as TFLite's reference kernels compute them.

kernels/internal/reference/integer_ops/pooling.h and reference/reduce.h (`QuantizedMeanOrSum`).
"""

import numpy as np

from tflite_export.kernels._multiplier import multiply_by_quantized_multiplier, quantize_multiplier
from tflite_export.kernels._quantized import (
    Activation,
    AffineFormat,
    Int8,
    QuantizedArray,
    activation_limits,
    check_accumulators,
    saturate,
)
from tflite_export.kernels._window import Window, windows

_OUTSIDE = -1000  # marks padded pixels; no int8


def max_pool_2d(
    x: QuantizedArray, size: tuple[int, int], *, output: AffineFormat, window: Window, activation: Activation = "NONE"
) -> Int8:
    """Largest value of each window; padding never wins.

    Args:
        x: `(n, height, width, channels)`.
        size: window height and width.
        output: format of the output, that of the input.
        window: strides and padding.
        activation: fused activation.

    Returns:
        `(n, rows, columns, channels)`.

    Raises:
        ValueError: the formats differ.
    """
    check_equal_formats(x.format, output)
    smallest, largest = activation_limits(activation, output)
    highest = windows(x.values, size, window, fill=-128).max(axis=(3, 4))
    return np.asarray(np.clip(highest, smallest, largest), np.int8)


def average_pool_2d(
    x: QuantizedArray, size: tuple[int, int], *, output: AffineFormat, window: Window, activation: Activation = "NONE"
) -> Int8:
    """Mean of each window over the pixels inside of the image, halves away from zero (of the integers).

    Args:
        x: `(n, height, width, channels)`.
        size: window height and width.
        output: format of the output, that of the input.
        window: strides and padding.
        activation: fused activation.

    Returns:
        `(n, rows, columns, channels)`.

    Raises:
        ValueError: the formats differ.
    """
    check_equal_formats(x.format, output)
    patches = windows(x.values.astype(np.int32), size, window, fill=_OUTSIDE)
    inside = patches != _OUTSIDE
    counts = inside.sum(axis=(3, 4))
    sums = np.where(inside, patches, 0).sum(axis=(3, 4))
    means = np.sign(sums) * ((np.abs(sums) + counts // 2) // counts)
    return np.asarray(np.clip(means, *activation_limits(activation, output)), np.int8)


def mean(x: QuantizedArray, axes: tuple[int, ...], *, output: AffineFormat) -> Int8:
    """Mean over axes, of height and width for a global average pooling.

    The number of values is divided into the mantissa of the factor, which loses a bit or so of it.

    Args:
        x: any shape.
        axes: axes that disappear.
        output: format of the output.

    Returns:
        The shape without `axes`.

    Raises:
        ValueError: a sum that does not fit 32 bits.
    """
    count = int(np.prod([x.values.shape[axis] for axis in axes], dtype=np.int64))
    sums = x.centred.sum(axis=axes, dtype=np.int64)
    check_accumulators(sums)
    mantissa, shift = (int(part) for part in quantize_multiplier(np.float64(x.format.scale) / np.float64(output.scale)))
    # Shift first as far as 64 bits and the smallest right shift allow, then divide.
    extra = min(count.bit_length() - 1, 32, 31 + shift)
    scaled = multiply_by_quantized_multiplier(sums, (mantissa << extra) // count, shift - extra)
    return saturate(scaled, output=output, activation="NONE")


def reduce_max(x: QuantizedArray, axes: tuple[int, ...], *, output: AffineFormat) -> Int8:
    """Largest value over axes.

    Args:
        x: any shape.
        axes: axes that disappear.
        output: format of the output, that of the input.

    Returns:
        The shape without `axes`.

    Raises:
        ValueError: the formats differ.
    """
    check_equal_formats(x.format, output)
    return np.asarray(x.values.max(axis=axes), np.int8)


def check_equal_formats(*formats: AffineFormat) -> None:
    """Refuses formats that differ where an operator only moves integers.

    Args:
        formats: two or more.

    Raises:
        ValueError: they are not all equal.
    """
    if len(set(formats)) > 1:
        raise ValueError(
            f"Formats must be equal where integers are only moved. Received: {formats}. "
            "Let the converter put a QUANTIZE between them."
        )
