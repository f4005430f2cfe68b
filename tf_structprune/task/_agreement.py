"""How well two sets of outputs agree."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.task._samples import output_names

_SUM_ERROR = 1e-2  # outputs whose rows add up to one within this are probabilities
_NUMBER_LOSSES = ("squared", "absolute", "huber", "cosh", "cosine", "poisson")
_NO_SPREAD = 1e-6  # of the whole: a component that varies less is a constant


@dataclass(frozen=True)
class Reading:
    """How a decision is read from one output of a model.

    Attributes:
        kind: "classes": the largest along the last axis; "labels": each by itself; "numbers": none.
        threshold: of a label.
    """

    kind: Literal["classes", "labels", "numbers"]
    threshold: float = 0.5

    @classmethod
    def of(cls, loss: str, outputs: NDArray[Any]) -> Self:
        """The reading of one output, from the loss that the model was compiled with, else from the values.

        Two or more numbers a sample are classes, unless the loss is one of numbers or of labels; of a map, a class for
        each pixel, only where they are probabilities or the loss is one of classes. Without a loss, numbers between 0
        and 1 that do not add up to 1 along the last axis of two are labels.

        Args:
            loss: its name, "" without one, see `output_losses`.
            outputs: values on some samples, shape (samples, ...).
        """
        inside = bool(((outputs >= 0) & (outputs <= 1)).all())
        if "binary" in loss:
            return cls("labels", 0.5 if inside else 0.0)
        if outputs.ndim < 2 or outputs.shape[-1] < 2 or any(name in loss for name in _NUMBER_LOSSES):
            return cls("numbers")
        if outputs.ndim > 2:
            return cls("classes" if "categorical" in loss or are_probabilities(outputs) else "numbers")
        return cls("labels" if inside and not are_probabilities(outputs) and not loss else "classes")


def readings_of(model: keras.Model, outputs: Sequence[NDArray[Any]]) -> list[Reading]:
    """How decisions are read from each output of a model.

    Args:
        model: the model.
        outputs: its outputs on some samples, in the order of `model.outputs`.
    """
    return [
        Reading.of(loss, values) for loss, values in zip(map(_loss_name, output_losses(model)), outputs, strict=True)
    ]


def are_probabilities(outputs: NDArray[Any]) -> bool:
    """Whether outputs, shape (samples, ..., classes), are never negative and add up to one along the last axis."""
    return bool((outputs >= 0).all() and np.allclose(outputs.sum(axis=-1), 1, atol=_SUM_ERROR))


def output_losses(model: keras.Model) -> list[Any]:
    """The losses that a model was compiled with, one for each output as it was given; None where there is none."""
    loss = getattr(model, "loss", None)
    if isinstance(loss, Mapping):
        return [loss.get(name) for name in output_names(model)]
    return list(loss) if isinstance(loss, list | tuple) else [loss] * len(model.outputs)


def _loss_name(loss: Any) -> str:
    found = keras.losses.get(loss) if isinstance(loss, str) else loss
    return str(getattr(found, "name", None) or getattr(found, "__name__", None) or "")


@dataclass(frozen=True)
class Agreement:
    """How far the outputs of one model are those of another.

    Attributes:
        same_class: fraction of the samples for which both name the same class, or of the labels on which both decide
            alike; None where no decision is read from the outputs.
        error: root mean square difference as a fraction of the range of the reference outputs.
        component_error: the same for the component, one place of the last axis, for which it is worst, as a fraction of
            that component's range.
    """

    same_class: float | None
    error: float
    component_error: float

    @classmethod
    def between(cls, outputs: NDArray[Any], reference: NDArray[Any], reading: Reading | None = None) -> Self:
        """The agreement of outputs with reference outputs of the same shape.

        Args:
            outputs: of the one model.
            reference: of the other one.
            reading: how decisions are read; without one, a row of two or more numbers a sample are classes.
        """
        if reading is None:
            reading = Reading("classes" if reference.ndim == 2 and reference.shape[1] > 1 else "numbers")
        same = None
        if reading.kind == "classes":
            same = same_class_fraction(outputs, reference)
        elif reading.kind == "labels":
            same = float(np.mean((outputs > reading.threshold) == (reference > reading.threshold)))
        return cls(same, range_error(outputs, reference), component_error(outputs, reference))


def component_error(outputs: NDArray[Any], reference: NDArray[Any]) -> float:
    """The largest `range_error` of a component, one place of the last axis, each against its own range.

    Scores beside boxes in pixels do not vanish in it. A component that never varies counts with the range of all.

    Args:
        outputs: shape (samples, ..., components), or (samples,).
        reference: same shape.
    """
    if reference.ndim < 2:
        return range_error(outputs, reference)
    rows, wanted = (array.reshape(-1, array.shape[-1]).astype(np.float64) for array in (outputs, reference))
    whole = float(np.ptp(wanted)) or float(np.abs(wanted).max(initial=0.0)) or 1.0
    spread = np.ptp(wanted, axis=0)
    error = np.sqrt(np.mean(np.square(rows - wanted), axis=0))
    return float((error / np.where(spread > _NO_SPREAD * whole, spread, whole)).max())


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
