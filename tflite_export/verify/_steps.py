"""Differences of integer outputs."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def largest_steps(outputs: NDArray[Any], reference: NDArray[Any]) -> int:
    """Largest difference of integer outputs, in quantization steps."""
    return int(np.abs(outputs.astype(np.int64) - reference.astype(np.int64)).max(initial=0))
