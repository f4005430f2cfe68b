"""The fixed-point grids of a Keras model in TFLite's words: scales and zero points."""

from dataclasses import dataclass

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.graph import inner_layer, named_layers, rule_for
from tf_structprune.layers import QuantizedLayer, SignalQuantizer, quantized_layers, recipe_of, signal_quantizers

_INT8_LARGEST = 127
_LEAST_GUARD = 4  # what `without_ties` needs


@dataclass(frozen=True)
class WeightScales:
    """Scales of a layer's weights, whose zero points are 0.

    Attributes:
        name: path of the layer.
        scales: shape () or (output channels,).
        largest: largest multiple of the scale that the word length has; the smallest is its negative.
        kernel: the weights, on the grid, in Keras's layout.
    """

    name: str
    scales: NDArray[np.float32]
    largest: int
    kernel: NDArray[np.float32]


@dataclass(frozen=True)
class SignalScale:
    """Scale of a signal.

    The zero point is chosen such that the largest int8 value is the largest value of the word. The smallest is
    reached by the ReLU in front, or is int8's own.

    Attributes:
        name: name of its quantizer.
        scale: distance of two values.
        zero_point: the integer that stands for zero.
    """

    name: str
    scale: float
    zero_point: int


def weight_scales(name: str, layer: QuantizedLayer) -> WeightScales:
    """Scales of the weights of one layer.

    Raises:
        ValueError: it is not calibrated.
    """
    largest = _largest_word(name, layer)
    kernel = np.asarray(keras.ops.convert_to_numpy(layer.effective_kernel()), np.float32)
    scales = layer.step_values().astype(np.float32).reshape(-1 if layer.per_channel else ())
    return WeightScales(name, scales, largest, kernel)


def signal_scale(name: str, layer: SignalQuantizer) -> SignalScale:
    """Scale of one signal.

    Raises:
        ValueError: it is not calibrated.
    """
    return SignalScale(name, float(layer.step_values()), _INT8_LARGEST - _largest_word(name, layer))


def check_grids(model: keras.Model) -> None:
    """Refuses a model that is not in fixed point throughout.

    Raises:
        ValueError: a kernel or a signal without a grid or on one without scales, or a masked layer.
    """
    weighted, signals = quantized_layers(model), signal_quantizers(model)
    for name, layer in named_layers(model).items():
        if isinstance(layer, keras.layers.Wrapper) and not isinstance(layer, QuantizedLayer):
            raise ValueError(f"Layer '{name}' is masked. Received: {type(layer).__name__}. Shrink the model first.")
        rule = rule_for(layer)
        if rule is not None and rule.kernel and name not in weighted:
            raise ValueError(
                f"Layer '{name}' has weights in float. Received: {type(inner_layer(layer)).__name__}. Give it "
                "weight_bits, and its signal signal_bits: a file for integers needs all of them."
            )
    if not weighted or not signals:
        raise ValueError(
            f"Model '{model.name}' is not in fixed point throughout. Received: {len(weighted)} layers with weights "
            f"and {len(signals)} signals on a grid. Use a recipe with weight_bits and signal_bits."
        )
    recipe_of(model)  # refuses other grids than multiples of a step
    for name, layer in (weighted | signals).items():
        _largest_word(name, layer)


def guard_factor(largest: int) -> int:
    """The power of two by which the integers of a word fill int8; 1 where that leaves fewer than two bits.

    Args:
        largest: largest integer of the word.
    """
    factor = 1
    while largest * factor * 2 <= _INT8_LARGEST:
        factor *= 2
    return factor if factor >= _LEAST_GUARD else 1


def _largest_word(name: str, layer: QuantizedLayer | SignalQuantizer) -> int:
    """The largest word of a quantizer, which has to be calibrated."""
    if not layer.calibrated:
        raise ValueError(
            f"Layer '{name}' is not calibrated. Received: step=0. Call calibrate(model, samples), or train with "
            "FixedPointTraining, before the export."
        )
    return int(layer.grid.ends(layer.calibration())[1])
