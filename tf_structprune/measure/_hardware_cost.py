"""What a model costs in hardware that skips zeros: bit operations, and memory with positions."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.channels import PrunableLayer
from tf_structprune.graph import inner_layer, kernel_of, kernel_variable, named_layers, trace
from tf_structprune.layers import QuantizedLayer, SignalQuantizer, quantizer_of, signal_quantizers
from tf_structprune.storage import as_matrix, smallest

_FLOAT_BITS = 32


@dataclass(frozen=True)
class LayerCost:
    """What one convolution or dense layer costs for one sample.

    Attributes:
        name: of the layer.
        macs: multiply-accumulates with weights that are not zero.
        weight_bits: word length of its weights.
        signal_bits: word length of the signal that it reads.
        stored: the format of `storage.FORMATS` that takes the fewest bits for its kernel.
        memory_bits: what the kernel takes in it, with positions, tables and header.
    """

    name: str
    macs: int
    weight_bits: int
    signal_bits: int
    stored: str
    memory_bits: int

    @property
    def bit_operations(self) -> int:
        """macs * weight_bits * signal_bits."""
        return self.macs * self.weight_bits * self.signal_bits


@dataclass(frozen=True)
class HardwareCost:
    """What a model costs, from `hardware_cost`.

    Attributes:
        layers: the cost of each layer with a kernel, in the order in which they run.
        other_bits: memory of all other parameters, such as biases, normalizations and steps.
    """

    layers: tuple[LayerCost, ...] = field(repr=False)
    other_bits: int

    @property
    def macs(self) -> int:
        """Multiply-accumulates with weights that are not zero."""
        return sum(layer.macs for layer in self.layers)

    @property
    def bit_operations(self) -> int:
        """Sum over layers of macs * weight_bits * signal_bits."""
        return sum(layer.bit_operations for layer in self.layers)

    @property
    def memory_bits(self) -> int:
        """Kernels in the smallest formats, and all other parameters."""
        return sum(layer.memory_bits for layer in self.layers) + self.other_bits

    def __str__(self) -> str:
        lines = [
            f"{layer.name}: {layer.macs:,} MACs x {layer.weight_bits} x {layer.signal_bits} bits, "
            f"{layer.memory_bits / 8:,.0f} bytes as {layer.stored}"
            for layer in self.layers
        ]
        total = f"{self.macs:,} MACs, {self.bit_operations:,} bit operations, {self.memory_bits / 8:,.0f} bytes"
        return "\n".join([*lines, total])


def hardware_cost(model: keras.Model) -> HardwareCost:
    """The cost of one sample in hardware that skips zeros and multiplies words as long as they are.

    Bit operations are the sum over layers of kept MACs x bits of a weight x bits of the signal that the layer reads
    (BOPs of Baskin et al., arXiv 1804.10969, without the accumulators). Kept are the weights that are not zero as the
    model computes, masked and rounded. Memory is in bits and charges positions: each kernel in the format of `storage`
    that takes the fewest, all other parameters in their own words, 32 bits in float32. Numbers that nothing rounds, yet
    or at all, are as long as they are in float.

    The paper on joint pruning and quantization (Yu et al., arXiv 2010.01892) tells of a "hardware cost" without saying,
    in its abstract, what that is: this is our reading.

    Args:
        model: the model, masked or plain, in float or from `to_fixed_point`; it is not changed.

    Returns:
        The cost; it prints as a table. Layers without a kernel have none but their memory.

    Raises:
        TypeError, ValueError: see `trace`.
    """
    graph, layers = trace(model), named_layers(model)
    signals = {each.name: each for each in signal_quantizers(model).values()}
    costs, kernels = [], set()
    for traced in graph.layers:
        layer = layers[traced.name]
        quantizer = quantizer_of(layer)
        kernel = np.asarray(keras.ops.convert_to_numpy(kernel_of(layer)))
        kernels.add(id(kernel_variable(layer)))
        rounded = quantizer if quantizer is not None and quantizer.calibrated else None
        read = None if quantizer is None else signals.get(quantizer.input_signal)
        stored, encoded = smallest(as_matrix(kernel if rounded is None else _words(kernel, rounded)))
        costs.append(
            LayerCost(
                traced.name,
                _macs(traced, kernel),
                8 * kernel.itemsize if rounded is None else rounded.weight_bits,
                read.bits if read is not None and read.calibrated else _FLOAT_BITS,
                stored,
                encoded.size_bits,
            )
        )
    return HardwareCost(tuple(costs), sum(_other_bits(layers, kernels)))


def _macs(layer: PrunableLayer, kernel: NDArray[Any]) -> int:
    """With weights that are not zero; the depthwise part of a separable convolution is kept whole."""
    return (int(np.count_nonzero(kernel)) + layer.inputs * layer.other_weights) * layer.pixels


def _words(kernel: NDArray[Any], quantizer: QuantizedLayer) -> NDArray[Any]:
    """A rounded kernel in steps, bytes where they hold it."""
    step = quantizer.step_values()
    words = np.rint(kernel.astype(np.float64) / np.where(step > 0, step, 1.0))
    small = np.abs(words).max(initial=0) <= np.iinfo(np.int8).max
    return words.astype(np.int8 if small else np.int32)


def _other_bits(layers: Mapping[str, Any], kernels: set[int]) -> Iterator[int]:
    """Bits of what is no kernel, layer by layer."""
    for layer in layers.values():
        quantizer = quantizer_of(layer)
        grid = layer if isinstance(layer, SignalQuantizer) else quantizer
        if grid is not None and grid.calibrated:
            yield _FLOAT_BITS * grid.calibration().size
        if not isinstance(layer, SignalQuantizer):
            own = [each for each in inner_layer(layer).weights if id(each) not in kernels]
            yield sum(8 * np.asarray(keras.ops.convert_to_numpy(each)).nbytes for each in own)
