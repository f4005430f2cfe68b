"""How well two sets of outputs agree."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Agreement:
    """How far the outputs of one model are those of another.

    Attributes:
        same_class: fraction of the samples for which both name the same class; None where outputs are no class scores.
        error: root mean square difference as a fraction of the range of the reference outputs.
    """

    same_class: float | None
    error: float

    @classmethod
    def between(cls, outputs: NDArray[Any], reference: NDArray[Any]) -> Self:
        """The agreement of outputs with reference outputs of the same shape.

        One vector of two or more numbers a sample counts as class scores.
        """
        classes = reference.ndim == 2 and reference.shape[1] > 1
        return cls(same_class_fraction(outputs, reference) if classes else None, range_error(outputs, reference))


def relative_error(outputs: NDArray[Any], reference: NDArray[Any]) -> float:
    """Largest absolute difference, relative to the largest reference output or 1, whichever is larger.

    Args:
        outputs: any shape.
        reference: same shape.

    Returns:
        0 for equal outputs; infinite when one of them is not finite.
    """
    if not (np.isfinite(outputs).all() and np.isfinite(reference).all()):
        return float("inf")
    difference = np.abs(np.asarray(outputs, np.float64) - reference).max(initial=0.0)
    return float(difference / max(1.0, float(np.abs(reference).max(initial=0.0))))


def range_error(outputs: NDArray[Any], reference: NDArray[Any]) -> float:
    """Root mean square difference as a fraction of the range of the reference outputs.

    Args:
        outputs: any shape.
        reference: same shape. When all its values are equal, their magnitude (or 1) is the range.

    Returns:
        0 for equal outputs.
    """
    reference = np.asarray(reference, np.float64)
    spread = float(np.ptp(reference)) or float(np.abs(reference).max(initial=0.0)) or 1.0
    return float(np.sqrt(np.mean(np.square(outputs - reference)))) / spread


def same_class_fraction(outputs: NDArray[Any], reference: NDArray[Any]) -> float:
    """Fraction of the samples whose largest output is at the same place; the first one wins a tie.

    Args:
        outputs: `(n, classes)`.
        reference: `(n, classes)`.

    Returns:
        Between 0 and 1.
    """
    return float(np.mean(np.argmax(outputs, axis=-1) == np.argmax(reference, axis=-1)))
