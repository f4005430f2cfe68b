"""What a sweep rounds at a time: the weights of one layer, or the signals that share one word length."""

from collections.abc import Sequence
from dataclasses import dataclass

import keras

from tf_structprune.fixed_point import SIGNED_SIGNAL_BITS, FixedPoint, word_range
from tf_structprune.layers import (
    SignalQuantizer,
    quantized_layers,
    signal_owner,
    signal_quantizers,
    tied_together,
    to_fixed_point,
)
from tf_structprune.sensitivity._report import Part

_FIXED_BITS = 8  # of what has 8 bits whatever the recipe says


@dataclass(frozen=True)
class Rounding:
    """One thing that is rounded while the rest is in float.

    Attributes:
        part: "weights" or "signal".
        layers: the layers that it is about; several if their signals share a word.
        quantizers: names of the quantizers, of `to_fixed_point(model)`.
        words: the word lengths to measure, growing.
        weights: number of weights; 0 of a signal.
    """

    part: Part
    layers: tuple[str, ...]
    quantizers: tuple[str, ...]
    words: tuple[int, ...]
    weights: int = 0


def check_words(bits: Sequence[int], *, signed: bool, name: str) -> tuple[int, ...]:
    """Word lengths to sweep, growing, each once.

    Raises:
        ValueError: one that is not supported.
    """
    words = tuple(sorted({int(word) for word in bits}))
    for word in words:
        try:
            word_range(word, signed=signed)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    return words


def find_roundings(model: keras.Model, weight_bits: Sequence[int], signal_bits: Sequence[int]) -> list[Rounding]:
    """All roundings of a model: weights in the order of the layers, then signals.

    Weights and signals that cannot have fewer than 8 bits are measured with 8.

    Args:
        model: the plain model.
        weight_bits: word lengths of weights; none leaves all weights out.
        signal_bits: word lengths of rectified signals; none leaves all signals out.
    """
    probe = to_fixed_point(model, FixedPoint(min(weight_bits, default=None), min(signal_bits, default=None)))
    roundings = []
    for name, layer in quantized_layers(probe).items():
        words = tuple(weight_bits) if layer.weight_bits == min(weight_bits) else (_FIXED_BITS,)
        count = int(keras.ops.size(layer.kernel_variable))
        roundings.append(Rounding("weights", (name,), (name,), words, count))
    for owners, group in _signal_groups(list(signal_quantizers(probe).values())):
        free = any(quantizer.bits == min(signal_bits) for quantizer in group)
        words = tuple(signal_bits) if free else (SIGNED_SIGNAL_BITS,)
        roundings.append(Rounding("signal", owners, tuple(quantizer.name for quantizer in group), words))
    return roundings


def _signal_groups(quantizers: Sequence[SignalQuantizer]) -> list[tuple[tuple[str, ...], list[SignalQuantizer]]]:
    """Quantizers with one word length, and whose it is: those that are tied, and those of one layer."""
    groups: list[tuple[set[str], list[SignalQuantizer]]] = []
    for tied in tied_together(quantizers):
        owners, members = {signal_owner(quantizer.name) for quantizer in tied}, list(tied)
        for other in [group for group in groups if group[0] & owners]:
            groups.remove(other)
            owners, members = other[0] | owners, other[1] + members
        groups.append((owners, members))
    return [(tuple(dict.fromkeys(signal_owner(each.name) for each in members)), members) for _, members in groups]
