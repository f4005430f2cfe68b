"""What the words of a layer's weights would take in an entropy code, as a loss."""

from collections.abc import Callable
from typing import Any

from keras import ops

KIBIBYTE = 8 * 1024


class CodedLength:
    """A regularizer of float weights: the bits of the words that they round to, in a code made for these words.

    A word that n weights of N have takes -log2(n / N) bits, and between two words the length is drawn straight: so
    every weight is pushed towards the shorter of the two that it lies between, and words become few (entropy as the
    limit of a code's length: Shannon 1948; rate as a term of the loss: Balle et al., arXiv 1611.01704, equation 8;
    here, the frequencies are counted at every step rather than modelled). Weights that stay zero count as zeros.

    Args:
        layer: the `QuantizedLayer` whose kernel it is given.
        weight: loss of a kibibyte.
        further: the regularizer that the kernel had, None without.
    """

    def __init__(self, layer: Any, weight: float, further: Callable[[Any], Any] | None) -> None:
        self.layer, self.weight, self.further = layer, weight, further

    def __call__(self, kernel: Any) -> Any:
        """The loss of a kernel, a scalar."""
        layer = self.layer
        multiples = layer.multiples(kernel)
        low, high = layer.grid.ends(None)
        bits = coded_bits(ops.where(ops.convert_to_tensor(layer.keep), multiples, ops.zeros_like(multiples)), low, high)
        loss = bits * (self.weight / KIBIBYTE)
        return loss if self.further is None else loss + self.further(kernel)


def coded_bits(multiples: Any, low: int, high: int) -> Any:
    """Bits of words in a code made for them, drawn straight between words; a scalar.

    Args:
        multiples: real numbers, in steps; what is rounded to words of low to high.
        low: the smallest word.
        high: the largest.
    """
    inside = ops.clip(ops.reshape(multiples, (-1,)), low, high)
    levels = high - low + 1
    words = ops.cast(ops.round(inside) - low, "int32")
    counts = ops.segment_sum(ops.ones(words.shape, "float32"), words, num_segments=levels)
    shares = (counts + 1) / (inside.shape[0] + levels)  # also of a word that nobody has
    lengths = -ops.log2(shares)
    below = ops.stop_gradient(ops.floor(inside))
    place = ops.cast(below - low, "int32")
    short, long = (ops.take(lengths, ops.minimum(place + more, levels - 1)) for more in (0, 1))
    return ops.sum(short + (inside - below) * (long - short))
