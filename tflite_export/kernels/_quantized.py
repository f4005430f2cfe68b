"""Integers with the real numbers they stand for, and the way from an accumulator back to int8."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tflite_export.kernels._multiplier import Integers, multiply_by_quantized_multiplier, quantize_multiplier

Int8 = NDArray[np.int8]

Activation = Literal["NONE", "RELU", "RELU6", "RELU_N1_TO_1"]
"""Activation fused into a TFLite operator, by its name in the schema."""

Runtime = Literal["litert", "tflm"]
"""Which runtime's arithmetic: LiteRT's reference kernels, or TFLite Micro's.

They differ in FULLY_CONNECTED, MUL and ReLUs that are not fused; every other operator is the same. All of it was
tested against ai-edge-litert 2.3.0 and tflite-micro 0.dev20261023 on x86-64. TFLite Micro's sources of August 2026
read as if the factors of RELU, and of FULLY_CONNECTED with one weight scale, were rounded to float32; that wheel does
not round them, and the difference is a step in about one result of a million.
"""

_BOUNDS: dict[str, tuple[float | None, float | None]] = {
    "NONE": (None, None),
    "RELU": (0.0, None),
    "RELU6": (0.0, 6.0),
    "RELU_N1_TO_1": (-1.0, 1.0),
}
_SMALLEST, _LARGEST = -128, 127


@dataclass(frozen=True)
class AffineFormat:
    """How integers stand for real numbers: `scale * (integer - zero_point)`.

    Attributes:
        scales: float32 numbers above 0; one, or one a channel (weights only).
        zero_point: integer that stands for 0; 0 for weights.
    """

    scales: tuple[float, ...]
    zero_point: int = 0

    def __post_init__(self) -> None:
        """Checks the scales."""
        if not self.scales or not all(np.isfinite(scale) and scale > 0 for scale in self.scales):
            raise ValueError(f"scales must be finite and above 0. Received: scales={self.scales}. Quantize again.")

    @property
    def scale(self) -> np.float32:
        """The scale of a tensor that has only one."""
        if len(self.scales) != 1:
            raise ValueError(
                f"The tensor must have one scale. Received: {len(self.scales)} scales. "
                "Only weights may have one for each channel."
            )
        return np.float32(self.scales[0])


@dataclass(frozen=True)
class QuantizedArray:
    """Integers and their format.

    Attributes:
        values: int8 integers, any shape.
        format: what they stand for.
    """

    values: Int8
    format: AffineFormat

    @property
    def centred(self) -> NDArray[np.int32]:
        """The integers less their zero point."""
        return np.asarray(self.values, np.int32) - np.int32(self.format.zero_point)


def activation_limits(activation: Activation, output: AffineFormat) -> tuple[int, int]:
    """Smallest and largest int8 that an operator with a fused activation may give.

    `CalculateActivationRangeQuantized` of TFLite's kernels/kernel_util.cc.

    Args:
        activation: the fused activation.
        output: format of the output.

    Returns:
        The limits, both inclusive.

    Raises:
        ValueError: an activation without integer kernel.
    """
    if activation not in _BOUNDS:
        raise ValueError(
            f"activation must be one of {sorted(_BOUNDS)}. Received: activation={activation!r}. "
            "Use a ReLU, which TFLite fuses in integers."
        )
    low, high = _BOUNDS[activation]
    smallest = _SMALLEST if low is None else max(_SMALLEST, _integer_of(low, output))
    largest = _LARGEST if high is None else min(_LARGEST, _integer_of(high, output))
    return smallest, largest


def _integer_of(real: float, output: AffineFormat) -> int:
    quotient = float(np.float32(real) / output.scale)
    return int(np.copysign(np.floor(abs(quotient) + 0.5), quotient)) + output.zero_point


def requantize(
    accumulators: NDArray[np.integer], factors: NDArray[np.float64], *, output: AffineFormat, activation: Activation
) -> Int8:
    """Accumulators to int8 by integer multipliers: scaled, offset by the zero point, saturated.

    Args:
        accumulators: `(..., channels)` 32-bit integers.
        factors: real factors, shape `()` or `(channels,)`.
        output: format of the output.
        activation: fused activation.

    Returns:
        Integers of the same shape.

    Raises:
        ValueError: an accumulator that does not fit 32 bits.
    """
    check_accumulators(accumulators)
    mantissas, shifts = quantize_multiplier(factors)
    scaled = multiply_by_quantized_multiplier(accumulators, mantissas, shifts)
    return saturate(scaled, output=output, activation=activation)


def saturate(scaled: Integers, *, output: AffineFormat, activation: Activation) -> Int8:
    """Adds the zero point and saturates.

    Args:
        scaled: integers in steps of the output.
        output: format of the output.
        activation: fused activation, which narrows the range.

    Returns:
        Integers of the same shape.
    """
    smallest, largest = activation_limits(activation, output)
    return np.clip(scaled + output.zero_point, smallest, largest).astype(np.int8)


def check_accumulators(accumulators: NDArray[np.integer]) -> None:
    """Refuses sums that a 32-bit accumulator cannot hold; C++ leaves open what happens then.

    Args:
        accumulators: integers.

    Raises:
        ValueError: one is outside of 32 bits.
    """
    limits = np.iinfo(np.int32)
    if accumulators.size and not limits.min <= int(accumulators.min()) <= int(accumulators.max()) <= limits.max:
        raise ValueError(
            f"Accumulators must fit 32 bits. Received: {accumulators.min()} to {accumulators.max()}. "
            "Use a layer with fewer inputs, or larger scales."
        )
