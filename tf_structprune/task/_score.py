"""How good a model's outputs are; higher is always better."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.search import Metric

Values = NDArray[np.float64]
_SUM_ERROR = 1e-3  # outputs whose rows add up to one within this are probabilities
_LEAST = 1e-7  # of a probability, as Keras's losses bound it


class Score(ABC):
    """A number for the outputs of a model on samples with known targets; higher is better.

    Attributes:
        by_sample: whether each sample has a score by itself, whose mean is the score of all; only then candidates
            can be compared on a part of the samples.
        one_output: whether it judges the targets and outputs of one output, not lists of them.
        metric: how the score is told.
    """

    by_sample = False
    one_output = False
    metric = Metric("score")

    def __call__(self, y_true: Any, y_pred: Any) -> float:
        """The score of all samples together; minus infinity where an output is not finite.

        No class, label or number stands in an output of NaN, but `argmax` and comparisons read one out of it.
        """
        return self.of_all(y_true, y_pred) if _are_finite(y_pred).all() else -np.inf

    def samples(self, y_true: Any, y_pred: Any) -> Values:
        """A score for each sample, shape (samples,); minus infinity for one whose outputs are not all finite.

        Raises:
            ValueError: samples have none by themselves.
        """
        finite = _are_finite(y_pred)
        if finite.all():
            return self.of_each(y_true, y_pred)
        values = np.full(len(finite), -np.inf)
        if finite.any():
            values[finite] = self.of_each(*keras.tree.map_structure(lambda array: array[finite], (y_true, y_pred)))
        return values

    @abstractmethod
    def of_all(self, y_true: Any, y_pred: Any) -> float:
        """The score of all samples together, whose outputs are finite."""

    def of_each(self, y_true: Any, y_pred: Any) -> Values:
        """A score for each sample, whose outputs are finite, shape (samples,).

        Raises:
            ValueError: samples have none by themselves.
        """
        del y_true, y_pred
        raise ValueError(f"Samples have no score by themselves. Received: {type(self).__name__}. Use SampleScore.")


class SampleScore(Score):
    """The mean of a score that each sample has by itself.

    Attributes:
        of_samples: function of (targets, outputs) that gives one value a sample, shape (samples, ...); what is left
            of further axes is averaged.
        metric: how the score is told; by the function's name if not given.
    """

    by_sample = True
    one_output = True

    def __init__(self, of_samples: Callable[[Any, Any], Any], metric: Metric | None = None) -> None:
        self.of_samples = of_samples
        self.metric = Metric(_name_of(of_samples)) if metric is None else metric

    def of_all(self, y_true: Any, y_pred: Any) -> float:
        return float(self.of_each(y_true, y_pred).mean())

    def of_each(self, y_true: Any, y_pred: Any) -> Values:
        """A score for each sample, shape (samples,)."""
        values = np.asarray(keras.ops.convert_to_numpy(self.of_samples(y_true, y_pred)), np.float64)
        if values.ndim == 0 or len(values) != len(y_pred):
            raise ValueError(
                f"A score needs one value for each sample. Received: shape={values.shape} for {len(y_pred)} samples. "
                "Leave the reduction to the score, or give a function of all samples that returns one number."
            )
        return np.asarray(values.reshape(len(values), -1).mean(axis=1))


class _Mcr(Score):
    """Minus the misclassification rate."""

    by_sample = True
    one_output = True
    metric = Metric("MCR", falls=True, percent=True)

    def of_all(self, y_true: Any, y_pred: Any) -> float:
        return -misclassification_rate(y_true, y_pred)

    def of_each(self, y_true: Any, y_pred: Any) -> Values:
        """Minus one for each wrong prediction, shape (samples,)."""
        return -_wrong(y_true, y_pred).astype(np.float64)


class _Metric(Score):
    """A Keras metric, which sees all samples at once."""

    one_output = True

    def __init__(self, metric: keras.metrics.Metric) -> None:
        self._of_all, self.metric = metric, Metric(metric.name)

    def of_all(self, y_true: Any, y_pred: Any) -> float:
        self._of_all.reset_state()
        self._of_all.update_state(y_true, y_pred)
        return float(keras.ops.convert_to_numpy(self._of_all.result()))


class _Function(Score):
    """A function of all samples; of several values the mean is taken."""

    def __init__(self, function: Callable[[Any, Any], Any], metric: Metric | None = None) -> None:
        self.function = function
        self.metric = Metric(_name_of(function)) if metric is None else metric

    def of_all(self, y_true: Any, y_pred: Any) -> float:
        return float(np.mean(keras.ops.convert_to_numpy(self.function(y_true, y_pred))))


class _Outputs(Score):
    """The weighted sum over the outputs of a model, one score for each; None leaves an output out."""

    def __init__(self, scores: Sequence[Score | None], weights: Sequence[float], metric: Metric) -> None:
        self.scores, self.metric = scores, metric
        self.weights = [weight for weight, score in zip(weights, scores, strict=True) if score is not None]
        self.by_sample = all(score.by_sample for score in scores if score is not None)

    def of_all(self, y_true: Any, y_pred: Any) -> float:
        return float(np.dot(self.weights, [score.of_all(*pair) for score, pair in self._pairs(y_true, y_pred)]))

    def of_each(self, y_true: Any, y_pred: Any) -> Values:
        """A score for each sample, shape (samples,)."""
        each = [score.of_each(*pair) for score, pair in self._pairs(y_true, y_pred)]
        return np.asarray(np.tensordot(self.weights, each, axes=1))

    def _pairs(self, y_true: Any, y_pred: Any) -> list[tuple[Score, tuple[Any, Any]]]:
        if not len(self.scores) == len(y_true) == len(y_pred):
            raise ValueError(
                f"Scores, targets and outputs must be as many. Received: {len(self.scores)} scores, {len(y_true)} "
                f"targets, {len(y_pred)} outputs. Give one of each for every output, None for a score to leave it out."
            )
        pairs = zip(self.scores, zip(y_true, y_pred, strict=True), strict=True)
        return [(score, pair) for score, pair in pairs if score is not None]


def _are_finite(outputs: Any) -> NDArray[np.bool_]:
    """Whether all outputs of a sample are finite, shape (samples,)."""
    rows = [np.isfinite(np.asarray(array)) for array in keras.tree.flatten(outputs)]
    return np.asarray(np.logical_and.reduce([row.reshape(len(row), -1).all(axis=1) for row in rows]))


def misclassification_rate(y_true: NDArray[Any], y_pred: NDArray[Any]) -> float:
    """Share of wrong predictions (MCR), in [0, 1].

    Args:
        y_true: labels, shape (images,) or (images, 1), or one-hot or probabilities, shape (images, classes).
        y_pred: outputs, shape (images, classes), or (images, 1) with the positive class above 0.5.

    Raises:
        ValueError: outputs that are not one row of scores an image, labels of another length, or of classes that
            the outputs have not.
    """
    return float(_wrong(y_true, y_pred).mean())


def guessing_score(score: "Score", y: Any) -> float | None:
    """Score of saying the most frequent class always; None of scores other than the misclassification rate.

    Args:
        score: how outputs are scored.
        y: targets.
    """
    if not isinstance(score, _Mcr) or not isinstance(y, np.ndarray) or not len(y):
        return None
    return float(np.unique(class_labels(y), return_counts=True)[1].max() / len(y) - 1)


def _wrong(y_true: NDArray[Any], y_pred: NDArray[Any]) -> NDArray[np.bool_]:
    """Which predictions are wrong, shape (images,)."""
    if y_pred.ndim != 2 or len(y_true) != len(y_pred):
        raise ValueError(
            "The MCR needs one row of class scores for each label. Received: outputs of shape "
            f"{y_pred.shape}, labels of shape {y_true.shape}. Give another score for other tasks."
        )
    if y_pred.shape[1] == 1:
        positive = y_true[:, 0] if y_true.shape[1:] == (1,) else y_true if y_true.ndim == 1 else class_labels(y_true)
        return np.asarray((y_pred[:, 0] > 0.5) != (positive > 0.5))
    _check_one_class(y_true)
    labels = class_labels(y_true)
    if len(labels) and not 0 <= labels.min() <= labels.max() < y_pred.shape[1]:
        raise ValueError(
            f"The MCR needs a label for each of {y_pred.shape[1]} classes. Received: labels from {labels.min()} to "
            f"{labels.max()}. Number the classes from 0."
        )
    return np.asarray(y_pred.argmax(axis=1) != labels)


def _check_one_class(y_true: NDArray[Any]) -> None:
    rows = np.asarray(y_true)
    if rows.ndim != 2 or rows.shape[1] < 2 or not ((rows == 0) | (rows == 1)).all():
        return
    counts = rows.sum(axis=1)
    if (counts != 1).any():
        raise ValueError(
            f"The MCR needs one class for each sample. Received: rows of {int(counts.min())} to {int(counts.max())} "
            "ones. For several labels a sample use score='binary_crossentropy', or a SampleScore of your own."
        )


def class_labels(y: NDArray[Any]) -> NDArray[np.int64]:
    """Class indices, shape (images,), of labels that may be one-hot or a column."""
    flat = y if y.ndim == 1 else y[:, 0] if y.shape[1:] == (1,) else y.argmax(axis=-1)
    return np.asarray(flat, np.int64)


def sample_values(targets: Any) -> NDArray[Any]:
    """One value for each sample, by which samples can be sorted: its class, its target, or the mean of its targets.

    Args:
        targets: an array, or one for each output of the model, of which the first decides.
    """
    first = np.asarray(keras.tree.flatten(targets)[0])
    if first.ndim > 2:
        return np.asarray(first.reshape(len(first), -1).mean(axis=1))
    return class_labels(first) if first.ndim == 2 and first.shape[1] > 1 else first.reshape(len(first))


def divergence(y_true: NDArray[Any], y_pred: NDArray[Any]) -> Values:
    """Kullback-Leibler divergence of the outputs from the targets, shape (samples,), in nats.

    Rows that are no probabilities are taken for logits.

    Args:
        y_true: probabilities or logits, shape (samples, ..., classes).
        y_pred: the same of the model that is judged.
    """
    target, output = _probabilities(y_true), _probabilities(y_pred)
    values = (target * (np.log(target) - np.log(output))).sum(axis=-1)
    return np.asarray(values.reshape(len(values), -1).mean(axis=1))


def _probabilities(values: NDArray[Any]) -> Values:
    rows = np.asarray(values, np.float64)
    if (rows < 0).any() or np.abs(rows.sum(axis=-1) - 1).max(initial=0) > _SUM_ERROR:
        rows = np.exp(rows - rows.max(axis=-1, keepdims=True))
        rows = rows / rows.sum(axis=-1, keepdims=True)
    return np.clip(rows, _LEAST, 1.0)


def as_score(score: Any) -> Score:
    """A score of any kind as an object whose higher values are better.

    Args:
        score: "mcr" for minus the misclassification rate; "kl" for minus the divergence from targets that are
            outputs themselves; a Keras loss or its name, negated; a Keras metric whose higher values are better; a
            function of (targets, outputs) for all samples together, or `SampleScore(function)` of one that gives each
            sample its own; a sequence of these, or None, one for each output, of which the mean is taken.

    Raises:
        ValueError: an unknown name.
        TypeError: none of these.
    """
    if isinstance(score, Score):
        return score
    if isinstance(score, str) and score in _BY_NAME:
        return _BY_NAME[score]
    if isinstance(score, str):
        return _named(score)
    if isinstance(score, keras.losses.Loss):
        return _loss(score)
    if isinstance(score, keras.metrics.Metric):
        return _Metric(score)
    if isinstance(score, Sequence) and score:
        return mean_of([None if each is None else as_score(each) for each in score])
    if callable(score) and not isinstance(score, type | Mapping):
        return _Function(score)
    raise TypeError(
        f"score must be a name, a Keras loss or metric, or a function. Received: score={score!r}. Use e.g. 'mcr'."
    )


def mean_of(
    scores: Sequence[Score | None], metric: Metric | None = None, *, weights: Sequence[float] | None = None
) -> Score:
    """The mean over the outputs of a model.

    Args:
        scores: one for each output, None to leave it out.
        metric: how the mean is told; by default by the names of the scores.
        weights: of a sum in place of the mean, one for each output.
    """
    used = [score for score in scores if score is not None]
    told = Metric("mean of " + ", ".join(score.metric.name for score in used)) if metric is None else metric
    return _Outputs(scores, [1 / max(1, len(used))] * len(scores) if weights is None else weights, told)


def _named(name: str) -> Score:
    try:
        loss = keras.losses.get(name)
    except ValueError as error:
        raise ValueError(
            f"Unknown score. Received: score={name!r}. Use 'mcr', 'kl', the name of a Keras loss, a "
            "Keras loss or metric, or a function of (labels, outputs)."
        ) from error
    if isinstance(loss, keras.losses.Loss):
        return _loss(loss)
    return SampleScore(lambda *pair: -loss(*pair), Metric(name, falls=True))


def _loss(loss: keras.losses.Loss) -> Score:
    """The loss of each sample, whatever the loss makes of them; of all samples where it does not tell."""
    metric = Metric(loss.name, falls=True)
    if loss.reduction not in ("sum_over_batch_size", "mean"):
        return _Function(lambda *pair: -np.mean(keras.ops.convert_to_numpy(loss(*pair))), metric)

    def of_samples(y_true: Any, y_pred: Any) -> Any:
        # `call` is what the reduction is taken of; `__call__` has converted its arguments.
        return -loss.call(*(keras.ops.convert_to_tensor(values, loss.dtype) for values in (y_true, y_pred)))

    return SampleScore(of_samples, metric)


_BY_NAME: dict[str, Score] = {
    "mcr": _Mcr(),
    "kl": SampleScore(lambda y_true, y_pred: -divergence(y_true, y_pred), Metric("KL divergence", falls=True)),
}


def _name_of(function: Any) -> str:
    return str(getattr(function, "name", None) or getattr(function, "__name__", type(function).__name__))
