"""How good a model's outputs are; higher is always better."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

ScoreFunction = Callable[[NDArray[Any], NDArray[Any]], float]


def misclassification_rate(y_true: NDArray[Any], y_pred: NDArray[Any]) -> float:
    """Share of wrong predictions (MCR), in [0, 1].

    Args:
        y_true: labels, shape (images,) or (images, 1), or one-hot, shape (images, classes).
        y_pred: outputs, shape (images, classes), or (images, 1) with the positive class above 0.5.

    Raises:
        ValueError: outputs that are not one row of scores an image, or labels of another length.
    """
    if y_pred.ndim != 2 or len(y_true) != len(y_pred):
        raise ValueError(
            "The MCR needs one row of class scores for each label. Received: outputs of shape "
            f"{y_pred.shape}, labels of shape {y_true.shape}. Give another score for other tasks."
        )
    predicted = y_pred.argmax(axis=1) if y_pred.shape[1] > 1 else (y_pred[:, 0] > 0.5).astype(np.int64)
    return float(np.mean(predicted != class_labels(y_true)))


def class_labels(y: NDArray[Any]) -> NDArray[np.int64]:
    """Class indices, shape (images,), of labels that may be one-hot or a column."""
    flat = y if y.ndim == 1 else y[:, 0] if y.shape[1:] == (1,) else y.argmax(axis=-1)
    return np.asarray(flat, np.int64)


def as_score(score: Any) -> ScoreFunction:
    """A function of (labels, outputs) whose higher values are better.

    Args:
        score: "mcr" for minus the misclassification rate; a Keras loss or its name, negated; a
            Keras metric whose higher values are better; or a function, taken as it is.

    Raises:
        ValueError: an unknown name.
        TypeError: none of these.
    """
    if isinstance(score, str) and score == "mcr":
        return lambda y_true, y_pred: -misclassification_rate(y_true, y_pred)
    if isinstance(score, str):
        try:
            return _negated(keras.losses.get(score))
        except ValueError as error:
            raise ValueError(
                f"Unknown score. Received: score={score!r}. Use 'mcr', the name of a Keras loss, a "
                "Keras loss or metric, or a function of (labels, outputs)."
            ) from error
    if isinstance(score, keras.losses.Loss):
        return _negated(score)
    if isinstance(score, keras.metrics.Metric):
        return _metric(score)
    if callable(score):
        function: ScoreFunction = score
        return function
    raise TypeError(
        f"score must be a name, a Keras loss or metric, or a function. Received: score={score!r}. Use e.g. 'mcr'."
    )


def _negated(loss: Callable[[Any, Any], Any]) -> ScoreFunction:
    return lambda y_true, y_pred: -float(np.mean(keras.ops.convert_to_numpy(loss(y_true, y_pred))))


def _metric(metric: keras.metrics.Metric) -> ScoreFunction:
    def value(y_true: NDArray[Any], y_pred: NDArray[Any]) -> float:
        metric.reset_state()
        metric.update_state(y_true, y_pred)
        return float(keras.ops.convert_to_numpy(metric.result()))

    return value
