"""A model of the work in a convolution with removed kernels: direct, im2col, FFT. Counting only, on NumPy values."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Size = tuple[int, int]
"""Height and width."""

_COMPLEX_PRODUCT = 4  # real multiplications

MULTIPLICATIONS_NOTE = (
    "A model, not a measurement: real multiplications of one inference by direct convolution that passes over removed "
    "kernels, by im2col and one matrix product, and by FFT convolution of whole maps. No TFLite runtime has an FFT "
    "convolution; the files do not use one."
)


@dataclass(frozen=True)
class LayerMultiplications:
    """Real multiplications of one convolution layer for one sample, as `count_multiplications` models them.

    Attributes:
        name: path of the layer.
        kept_kernels: (input map, output map) pairs whose kernel is kept.
        kernels: all such pairs.
        direct: by direct convolution.
        im2col: by im2col and one matrix product.
        fft: by FFT convolution.
        cheapest: which needs least, "direct", "im2col" or "fft"; the first of equals.
    """

    name: str
    kept_kernels: int
    kernels: int
    direct: int
    im2col: int
    fft: int
    cheapest: str = field(init=False)

    def __post_init__(self) -> None:
        cheapest = min(("direct", "im2col", "fft"), key=lambda way: int(getattr(self, way)))
        object.__setattr__(self, "cheapest", cheapest)


@dataclass(frozen=True)
class Multiplications:
    """The counts of a report.

    Attributes:
        note: what they are.
        layers: one for each call of a layer with removed kernels.
    """

    note: str
    layers: tuple[LayerMultiplications, ...]


def count_multiplications(
    name: str,
    alive: NDArray[np.bool_],
    *,
    kernel_size: Size,
    input_size: Size,
    output_size: Size,
    strides: Size = (1, 1),
    dilation_rate: Size = (1, 1),
) -> LayerMultiplications:
    """Counts the multiplications of a 2-D convolution for one sample, three ways.

    With C input maps, F output maps, a k_h x k_w kernel and H x W output pixels:

    - direct: H W k_h k_w for each kept kernel (Anwar and Sung, arXiv 1610.09639: what one connection costs), so
      a removed kernel takes all of its multiplications with it. Products with padding count, as in MACs.
    - im2col: one matrix product of (H W) x (C' k_h k_w) with (C' k_h k_w) x F' (Anwar, Hwang and Sung,
      arXiv 1512.08571; Chellapilla, Puri and Simard 2006). All outputs share the data matrix: an input map's
      column block goes only when all outputs leave it out, so C' are the input maps that some kept kernel reads,
      F' the output maps with a kept kernel. Kernels removed here and there save nothing. One product for each
      block of outputs, which may leave out what its block does not read, is the work of room `lower`.
    - fft: T for each of the C' input maps, 4 N_h (N_w / 2 + 1) for each kept kernel, T for each of the F' output
      maps, with T = N log2 N and N = N_h N_w. The parts are those of Mathieu, Henaff and LeCun, arXiv 1312.5851:
      2 C n^2 log n for a transform, here with C = 1, the radix-2 count (N / 2) log2 N complex products halved for
      real data, and 4 real multiplications a complex product, here for the half of the spectrum that real maps
      have. Kernels are transformed beforehand. Removed kernels lower the middle part alone until a map has none
      left. Strides save nothing: all outputs come out, some are kept. Maps are not cut in tiles.

    N_h and N_w are the next powers of two that suffice for a circular convolution without false outputs.

    Args:
        name: path of the layer.
        alive: which kernels are kept, boolean, shape (input maps, output maps).
        kernel_size: height and width of the kernel.
        input_size: height and width of an input map, without padding.
        output_size: height and width of an output map.
        strides: steps between outputs.
        dilation_rate: steps between taps.

    Returns:
        The counts.

    Raises:
        ValueError: `alive` is no boolean matrix, or sizes that no convolution has.
    """
    alive = np.asarray(alive)
    if alive.ndim != 2 or alive.dtype != np.bool_:
        raise ValueError(
            f"Layer '{name}': alive must be a boolean array of shape (input maps, output maps). Received: shape "
            f"{alive.shape}, {alive.dtype}. Use np.any(kernel != 0, axis=(0, 1))."
        )
    sizes = {"kernel_size": kernel_size, "input_size": input_size, "output_size": output_size}
    _check_sizes(name, sizes | {"strides": strides, "dilation_rate": dilation_rate})
    kept = int(alive.sum())
    inputs, outputs = int(alive.any(axis=1).sum()), int(alive.any(axis=0).sum())
    one_kernel = _product(kernel_size) * _product(output_size)
    height, width = (
        fft_side(*axis) for axis in zip(input_size, output_size, kernel_size, strides, dilation_rate, strict=True)
    )
    return LayerMultiplications(
        name=name,
        kept_kernels=kept,
        kernels=alive.size,
        direct=kept * one_kernel,
        im2col=inputs * outputs * one_kernel,
        fft=(inputs + outputs) * _transform(height, width) + kept * _COMPLEX_PRODUCT * height * (width // 2 + 1),
    )


def sufficient_side(inputs: int, outputs: int, taps: int, stride: int = 1, dilation: int = 1) -> int:
    """The least side of a circular convolution that gives all outputs of a layer, along one axis.

    The outputs read a span of (outputs - 1) stride + (taps - 1) dilation + 1 places. What the span has more than
    the map is padding, half of it in front, as Keras pads; in a circle the zeros behind the map serve for those
    in front too.

    Args:
        inputs: side of the input map.
        outputs: side of the output map.
        taps: side of the kernel.
        stride: steps between outputs.
        dilation: steps between taps.
    """
    span = (outputs - 1) * stride + (taps - 1) * dilation + 1
    return span - max(span - inputs, 0) // 2


def fft_side(inputs: int, outputs: int, taps: int, stride: int = 1, dilation: int = 1) -> int:
    """The next power of two from `sufficient_side` on."""
    return 1 << (sufficient_side(inputs, outputs, taps, stride, dilation) - 1).bit_length()


def multiplications_section(layers: Sequence[LayerMultiplications]) -> Multiplications | None:
    """The counts as a report's section, with what they are in words; None without layers."""
    return Multiplications(MULTIPLICATIONS_NOTE, tuple(layers)) if layers else None


def _transform(height: int, width: int) -> int:
    """Real multiplications of a 2-D FFT of real data, or of the inverse; the sides are powers of two."""
    places = height * width
    return places * (places.bit_length() - 1)


def _product(size: Size) -> int:
    return size[0] * size[1]


def _check_sizes(name: str, sizes: dict[str, Size]) -> None:
    for what, size in sizes.items():
        if len(size) != 2 or any(int(side) != side or side < 1 for side in size):
            raise ValueError(f"Layer '{name}': {what} must be two whole numbers of at least 1. Received: {size}.")
    last = [(side - 1) * step for side, step in zip(sizes["output_size"], sizes["strides"], strict=True)]
    if any(place >= side for place, side in zip(last, sizes["input_size"], strict=True)):
        raise ValueError(
            f"Layer '{name}': output_size must be at most input_size / strides, rounded up. Received: "
            f"{sizes['output_size']} from {sizes['input_size']} by {sizes['strides']}."
        )
