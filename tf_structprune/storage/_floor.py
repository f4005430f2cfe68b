"""What positions and values of a matrix are worth, whatever the format."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tf_structprune.storage._words import to_words


def floor_bits(matrix: NDArray[Any]) -> float:
    """Entropy of order zero: n m H(s) for where the entries other than zero are, and q H(values) for what they are.

    A format without a model of neighbours takes no less on average; the values themselves, k b bits, come on top.

    Args:
        matrix: shape (rows, columns).
    """
    words = to_words(matrix)
    held = words[words != 0]
    _, counts = np.unique(held, return_counts=True)
    share = held.size / words.size
    places = sum(-part * math.log2(part) for part in (share, 1 - share) if part)
    values = -float(np.dot(counts, np.log2(counts / held.size))) if held.size else 0.0
    return float(words.size * places + values)
