"""Operators that only move int8 values: PAD, CONCATENATION, slices."""

from collections.abc import Sequence

import numpy as np

from tflite_export.kernels._quantized import AffineFormat, Int8, QuantizedArray
from tflite_export.kernels._reduce import check_equal_formats


def pad(
    x: QuantizedArray, margins: Sequence[tuple[int, int]], *, output: AffineFormat, fill: int | None = None
) -> Int8:
    """Pads with the zero point (PAD) or with a given integer (PADV2).

    Args:
        x: any shape.
        margins: values before and after along each axis.
        output: format of the output, that of the input.
        fill: the integer; None for the zero point.

    Returns:
        The padded array.

    Raises:
        ValueError: the formats differ.
    """
    check_equal_formats(x.format, output)
    return np.pad(x.values, margins, constant_values=output.zero_point if fill is None else fill)


def concatenate(parts: Sequence[QuantizedArray], *, axis: int, output: AffineFormat) -> Int8:
    """Joins arrays along an axis.

    Args:
        parts: arrays with equal shapes but along `axis`.
        axis: the axis.
        output: format of the output, that of all inputs.

    Returns:
        The joined array.

    Raises:
        ValueError: the formats differ.
    """
    check_equal_formats(*(part.format for part in parts), output)
    return np.concatenate([part.values for part in parts], axis)


def take(x: QuantizedArray, window: tuple[slice, ...], *, output: AffineFormat) -> Int8:
    """A part of an array (SLICE and STRIDED_SLICE).

    Args:
        x: any shape.
        window: one slice for each axis.
        output: format of the output, that of the input.

    Returns:
        The part.

    Raises:
        ValueError: the formats differ.
    """
    check_equal_formats(x.format, output)
    return x.values[window]
