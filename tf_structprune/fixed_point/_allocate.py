"""How many bits each layer gets: the fewest within a tolerance, or the least loss within a size.

Both answers are ends of one curve, the choices of which no other is smaller and loses no more. It is built
layer by layer (Nemhauser and Ullmann's dynamic programme for the knapsack, Management Science 15(9), 1969),
in whole bytes and whole billionths of the score, so that the result is exact and no limit is ever passed: a
solver for mixed integers keeps its constraints only up to a feasibility tolerance.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tf_structprune.fixed_point._recipe import FixedPoint, LayerBits

Losses = Mapping[int, float]
"""By word length, the score that is lost when only this layer has it."""

_WHOLE = 10**9  # parts in which losses are counted: far finer than one image of any validation set
_LARGEST_LOSS = 10**6  # of one layer, so that sums of billionths stay within 64 bits
_NO_LIMIT = 2**62
_FLOAT_BITS = 32


def allocate_bits(
    weight_losses: Mapping[str, Losses],
    weights: Mapping[str, int],
    signal_losses: Mapping[tuple[str, ...], Losses] | None = None,
    *,
    tolerance: float | None = None,
    size_bytes: int | None = None,
    power_of_two: bool = True,
    per_channel: bool = False,
) -> FixedPoint:
    """A recipe from what each layer loses alone.

    Losses of layers are taken to add up, which they do only roughly: measure the recipe. A gain, a loss below
    zero, counts as none, for it would pay for a loss elsewhere that is not its own.

    With `tolerance` the weights take the fewest bytes, and then the signals the fewest bits, added over the
    signals. What cannot be avoided, the least loss of every layer and signal, is paid first; the weights may
    spend half of what is left, the signals the other half and what the weights did not need.

    With `size_bytes` the weights lose the least that is possible in so many bytes. Signals take no room in a
    file and get the word that loses least, the longest of equal ones.

    Args:
        weight_losses: by layer, the loss for each word length of its weights that it may have.
        weights: number of weights of each of these layers, zeros included.
        signal_losses: by the layers that share a signal's word length, the loss for each length that it may have.
        tolerance: largest sum of losses, in units of the score: 0.01 of the MCR is one point.
        size_bytes: largest size of the weights, each layer packed to whole bytes; biases are not counted.
        power_of_two: whether the losses are those of steps that are powers of two.
        per_channel: whether they are those of a step for each output channel.

    Returns:
        A recipe with a word length for every layer by name. What has no losses at all, all weights or all
        signals, is left in float.

    Raises:
        ValueError: both limits or none, a limit that cannot be kept or is no number, or losses and weights
            that do not fit together.
    """
    signal_losses = {} if signal_losses is None else signal_losses
    _check(weight_losses, weights, signal_losses)
    _check_limits(tolerance, size_bytes)
    kernels = [_Choices.of(losses, weights[name], name) for name, losses in weight_losses.items()]
    signals = [_Choices.of(losses, None, " and ".join(names)) for names, losses in signal_losses.items()]
    if size_bytes is not None:
        chosen = _least_loss(kernels, size_bytes)
        words = [signal.most_faithful() for signal in signals]
    else:
        chosen, words = _fewest_bits(kernels, signals, tolerance or 0.0)
    kernel_bits = dict(zip(weight_losses, chosen, strict=True))
    signal_bits = {name: bits for names, bits in zip(signal_losses, words, strict=True) for name in names}
    default = LayerBits(8 if kernel_bits else None, 8 if signal_bits else None)
    layers = {
        name: LayerBits(kernel_bits.get(name, default.weight_bits), signal_bits.get(name, default.signal_bits))
        for name in dict.fromkeys([*kernel_bits, *signal_bits])
    }
    return FixedPoint(default.weight_bits, default.signal_bits, power_of_two, per_channel, layers)


def weight_bytes(weights: Mapping[str, int], recipe: FixedPoint) -> int:
    """Size of the weights in the words of a recipe, each layer packed to whole bytes; biases are not counted.

    Args:
        weights: number of weights by layer.
        recipe: word lengths; what it leaves in float takes 32 bits.
    """
    return sum(_packed(count, recipe.bits_of(name).weight_bits or _FLOAT_BITS) for name, count in weights.items())


def _packed(count: int, bits: int) -> int:
    return -(-count * bits // 8)


@dataclass(frozen=True)
class _Choices:
    """What one layer may have: word lengths, and in the same order sizes and losses in billionths."""

    bits: tuple[int, ...]
    sizes: NDArray[np.int64]
    losses: NDArray[np.int64]

    @classmethod
    def of(cls, losses: Losses, weights: int | None, where: str) -> Self:
        """The choices of a layer of so many weights; without weights the size is the word length."""
        bits = tuple(sorted(losses))
        lost = np.array([losses[word] for word in bits], np.float64)
        if not bits or not np.isfinite(lost).all():
            raise ValueError(
                f"Layer '{where}': needs a finite loss for each word length. Received: {dict(losses)}. "
                "Measure it with another score, or leave the layer out."
            )
        sizes = [word if weights is None else _packed(weights, word) for word in bits]
        whole = np.rint(np.clip(lost, 0.0, _LARGEST_LOSS) * _WHOLE).astype(np.int64)
        return cls(bits, np.array(sizes, np.int64), whole)

    def most_faithful(self) -> int:
        """The longest of the words that lose least."""
        return max(word for word, lost in zip(self.bits, self.losses, strict=True) if lost == self.losses.min())


def _fewest_bits(
    kernels: Sequence[_Choices], signals: Sequence[_Choices], tolerance: float
) -> tuple[list[int], list[int]]:
    """Word lengths of weights and signals whose losses add up to the tolerance at most."""
    allowed = min(math.floor(tolerance * _WHOLE + 0.5), _NO_LIMIT)
    unavoidable = [sum(int(each.losses.min()) for each in part) for part in (kernels, signals)]
    spare = allowed - sum(unavoidable)
    if spare < 0:
        raise ValueError(
            f"No word lengths stay within the tolerance. Received: tolerance={tolerance:g}, and the layers lose "
            f"{sum(unavoidable) / _WHOLE:g} at least, added up. Allow more, or retrain in fixed point."
        )
    share = spare // 2 if signals else spare
    front = _Front.of(kernels, largest_loss=unavoidable[0] + share)
    chosen = front.smallest()
    rest = allowed - _spent(kernels, chosen)
    return chosen, _Front.of(signals, largest_loss=rest).smallest()


def _least_loss(kernels: Sequence[_Choices], size_bytes: int) -> list[int]:
    """Word lengths of weights that fit."""
    needed = sum(int(each.sizes.min()) for each in kernels)
    if needed > size_bytes:
        raise ValueError(
            f"The weights do not fit. Received: size_bytes={size_bytes}, and in the shortest words they take {needed} "
            "bytes. Allow more, measure shorter words, or prune first."
        )
    return _Front.of(kernels, largest_size=size_bytes).most_faithful()


def _spent(parts: Sequence[_Choices], chosen: Sequence[int]) -> int:
    return sum(int(each.losses[each.bits.index(word)]) for each, word in zip(parts, chosen, strict=True))


@dataclass(frozen=True)
class _Front:
    """The choices for all layers that no other beats, by growing size and falling loss.

    Attributes:
        layers: what each layer may have.
        steps: for each layer and each choice for it and those before, `parent * words + word`, where `parent`
            counts the choices for the layers before.
    """

    layers: Sequence[_Choices]
    steps: list[NDArray[np.intp]]

    @classmethod
    def of(cls, layers: Sequence[_Choices], *, largest_size: int = _NO_LIMIT, largest_loss: int = _NO_LIMIT) -> Self:
        """The front within limits that some choice keeps."""
        size_room = largest_size - sum(int(layer.sizes.min()) for layer in layers)
        loss_room = largest_loss - sum(int(layer.losses.min()) for layer in layers)
        extra_sizes, extra_losses = np.zeros(1, np.int64), np.zeros(1, np.int64)  # over the least of each layer
        steps = []
        for layer in layers:
            sizes = np.add.outer(extra_sizes, layer.sizes - layer.sizes.min()).ravel()
            losses = np.add.outer(extra_losses, layer.losses - layer.losses.min()).ravel()
            order = np.lexsort((losses, sizes))
            order = order[(sizes[order] <= size_room) & (losses[order] <= loss_room)]
            least = np.minimum.accumulate(losses[order])
            kept = order[np.concatenate(([True], least[1:] < least[:-1]))]
            extra_sizes, extra_losses = sizes[kept], losses[kept]
            steps.append(kept)
        return cls(layers, steps)

    def smallest(self) -> list[int]:
        """The word lengths with the least size, and of these those with the least loss."""
        return self._words(0)

    def most_faithful(self) -> list[int]:
        """The word lengths with the least loss, and of these those with the least size."""
        return self._words(-1)

    def _words(self, at: int) -> list[int]:
        words = []
        for layer, step in zip(reversed(self.layers), reversed(self.steps), strict=True):
            at, word = divmod(int(step[at]), len(layer.bits))
            words.append(layer.bits[word])
        return words[::-1]


def _check(
    weight_losses: Mapping[str, Losses], weights: Mapping[str, int], signal_losses: Mapping[tuple[str, ...], Losses]
) -> None:
    if not weight_losses and not signal_losses:
        raise ValueError("There is nothing to give bits to. Received: no losses. Measure some layers first.")
    missing = [name for name in weight_losses if weights.get(name, 0) < 1]
    if missing:
        raise ValueError(f"Layer '{missing[0]}': needs its number of weights. Received: {weights.get(missing[0])}.")
    names = [name for names in signal_losses for name in names]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(
            f"Layer '{twice[0]}': its signals have one word length. Received: losses for it twice. Put what shares "
            "a word length under one key."
        )


def _check_limits(tolerance: float | None, size_bytes: int | None) -> None:
    if (tolerance is None) == (size_bytes is None):
        raise ValueError(
            f"Give one limit, tolerance or size_bytes. Received: tolerance={tolerance}, size_bytes={size_bytes}."
        )
    if tolerance is not None and not 0 <= tolerance < math.inf:
        raise ValueError(
            f"tolerance must be 0 or more and finite. Received: tolerance={tolerance}. Use e.g. 0.01 for a point."
        )
    if size_bytes is not None and size_bytes < 1:
        raise ValueError(f"size_bytes must be positive. Received: size_bytes={size_bytes}. Use a number of bytes.")
