"""Held-out samples on which candidates are judged."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.task import predict
from tf_structprune.task._collect import collected
from tf_structprune.task._samples import Samples, as_arrays, count_of, take, targets_by_output
from tf_structprune.task._score import Score, as_score


@dataclass(frozen=True)
class Validation:
    """Held-out samples, and how outputs on them are scored.

    Attributes:
        x: inputs as the model takes them: an array, shape (samples, ...), or a list or dictionary of arrays.
        y: targets, one array for each output of the model, an array for one output, or a dictionary until `for_model`
            has put them in order; None until `with_outputs_of` has set them: then the dense model's outputs are the
            targets, and no labels are needed.
        score: of (targets, outputs), higher is better.
        batch_size: samples a prediction step.
    """

    x: Any
    y: Any
    score: Score
    batch_size: int = 256

    @property
    def size(self) -> int:
        """Number of samples."""
        return count_of(self.x)

    def of(self, model: keras.Model) -> float:
        """Score of a model as it is.

        Raises:
            ValueError: no targets, or outputs that do not fit them.
        """
        return self.for_model(model).score_of(self.outputs_of(model))

    def score_of(self, outputs: Any) -> float:
        """Score of outputs, in the order of the targets.

        Raises:
            ValueError: no targets, or outputs that do not fit them.
        """
        if self.y is None:
            raise ValueError(
                "Without labels the outputs of the dense model are the targets. Received: none of both. Use "
                "with_outputs_of(model)."
            )
        return self.score(self.y, outputs)

    def for_model(self, model: keras.Model) -> "Validation":
        """The same with targets by name in the order of a model's outputs.

        Raises:
            ValueError: other names than those of its outputs, or one score for several of them.
        """
        if len(model.outputs) > 1 and self.score.one_output:
            names = ", ".join(model.output_names)
            raise ValueError(
                f"Model '{model.name}' has {len(model.outputs)} outputs, and each needs a score of its own. "
                f"Received: one score for all. Use score=[...] with one for each of {names}, None to leave it out."
            )
        return replace(self, y=_single(targets_by_output(model, self.y))) if isinstance(self.y, Mapping) else self

    def outputs_of(self, model: keras.Model) -> Any:
        """Outputs of a model, an array or a list of them in the order of its outputs."""
        outputs = predict(model, self.x, self.batch_size)
        return _single([np.asarray(output) for output in targets_by_output(model, outputs)])

    def with_outputs_of(self, dense: keras.Model) -> "Validation":
        """The same with that model's outputs as targets, if there are no others."""
        return replace(self, y=self.outputs_of(dense)) if self.y is None else self

    def inputs(self, model: keras.Model) -> list[NDArray[Any]]:
        """The inputs in the order of the model's."""
        return list(Samples.of(model, self.x).arrays)

    def first(self, count: int) -> "Validation":
        """The first samples only."""
        return self._some(slice(count))

    def sample(self, count: int, seed: int) -> "Validation":
        """The same with so many samples at most, drawn by a seed: the first ones may be of few classes."""
        if self.size <= count:
            return self
        return self._some(np.sort(np.random.default_rng(seed).choice(self.size, count, replace=False)))

    def _some(self, chosen: Any) -> "Validation":
        return replace(self, x=take(self.x, chosen), y=take(self.y, chosen))


def check_validation(validation_data: Any, score: Any, batch_size: int, model: keras.Model | None = None) -> Validation:
    """Validation data as arrays.

    Args:
        validation_data: pair (x, y) of arrays, or of lists or dictionaries of arrays as the model takes and gives
            them; y None for targets that are the dense model's outputs; or a data set of such batches, see `collected`.
        score: how outputs are scored, as `as_score` takes it.
        batch_size: samples a prediction step.
        model: gives the shapes of inputs and the order of outputs by name; None where it is not known yet.

    Raises:
        TypeError: not a pair, or a score of another kind.
        ValueError: no samples, lengths that differ, shapes that the model does not take, values that are not numbers,
            or what `for_model` refuses.
    """
    validation_data = collected(validation_data, "validation_data")
    if not isinstance(validation_data, (tuple, list)) or len(validation_data) != 2:
        raise TypeError(
            "validation_data must be a pair of arrays (x, y). Received: "
            f"{type(validation_data).__name__}. Give samples and targets, or a data set of both."
        )
    x = as_arrays(validation_data[0])
    y = None if validation_data[1] is None else _targets(validation_data[1])
    sizes = [len(array) for array in keras.tree.flatten(x)]
    targets = [len(array) for array in keras.tree.flatten(y)] if y is not None else []
    if not sizes or not sizes[0] or len({*sizes, *targets}) > 1:
        raise ValueError(
            f"validation_data needs one label for each sample. Received: {_told(sizes)} samples, {_told(targets)} "
            "labels. Split some training data off."
        )
    _check_numbers(x, y)
    validation = Validation(x, y, as_score(score), batch_size)
    if model is None:
        return validation
    Samples.of(model, x).fitting(model, "validation_data")
    return validation.for_model(model)


def _check_numbers(x: Any, y: Any) -> None:
    for array in () if y is None else keras.tree.flatten(y):
        if array.dtype.kind in "OSUMm":  # objects, text and dates
            raise ValueError(
                f"validation_data needs targets that are numbers. Received: y of dtype {array.dtype}. Number the "
                "classes from 0."
            )
    if not all(np.isfinite(array).all() for array in keras.tree.flatten(x) if array.dtype.kind == "f"):
        raise ValueError("validation_data has values that are not finite. Received: NaN or infinity in x. Clean it.")


def _told(sizes: list[int]) -> str:
    return ", ".join(str(size) for size in sizes) or "no"


def _targets(y: Any) -> Any:
    arrays = as_arrays(y)
    return _single(arrays) if isinstance(arrays, list) else arrays


def _single(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else values
