"""Samples as a model takes them: one array for each input."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.graph import input_names


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples of a model with any number of inputs.

    Attributes:
        arrays: one for each input, in the order of `model.inputs`, each of shape (samples, ...).
    """

    arrays: tuple[NDArray[Any], ...]

    @classmethod
    def of(cls, model: keras.Model, x: Any) -> Self:
        """Samples from what `fit` takes.

        Args:
            model: a Sequential or functional model.
            x: an array for one input, or a list or dictionary of arrays; samples are given back.

        Raises:
            ValueError: arrays for other inputs than the model's, of different lengths, or without a sample.
        """
        if isinstance(x, cls):
            return x
        names = input_names(model)
        if isinstance(x, Mapping):
            given = _by_name(model, names, x)
        elif len(names) == 1:
            given = [_single(x, len(model.inputs[0].shape))]
        else:
            given = keras.tree.flatten(as_arrays(x))
        arrays = tuple(map(np.asanyarray, given))
        if len(arrays) != len(names):
            raise ValueError(
                f"Model '{model.name}' has {len(names)} inputs: {', '.join(names)}. Received: {len(arrays)} arrays. "
                "Give one for each, in this order or by these names."
            )
        sizes = {array.shape[:1] for array in arrays}
        if len(sizes) != 1 or sizes & {(), (0,)}:
            told = ", ".join(str(array.shape) for array in arrays)
            raise ValueError(
                f"Model '{model.name}' needs samples, as many for each input. Received: arrays of shape {told}. Stack "
                "them along the first axis."
            )
        return cls(arrays)

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.arrays[0])

    def __getitem__(self, chosen: slice | NDArray[np.integer[Any]]) -> Self:
        """Some of the samples."""
        return type(self)(tuple(array[chosen] for array in self.arrays))

    def fitting(self, model: keras.Model, told: str) -> Self:
        """The samples in the shapes that a model takes: a last axis of 1 may be missing, as in `fit`.

        Args:
            model: a Sequential or functional model.
            told: what the samples are called in an error.

        Raises:
            ValueError: samples of other shapes.
        """
        pairs = zip(self.arrays, (tuple(tensor.shape[1:]) for tensor in model.inputs), strict=True)
        return type(self)(tuple(_fitting(array, wanted, model, told) for array, wanted in pairs))

    def for_model(self, model: keras.Model) -> Any:
        """The arrays in the structure that a model takes."""
        return as_inputs(model, self.arrays)


def as_inputs(model: keras.Model, values: Sequence[Any]) -> Any:
    """One array or tensor for each input, in the structure that a model takes.

    Args:
        model: a Sequential or functional model; a Sequential one takes its input bare, and knows no `input` before it
            is called.
        values: in the order of `model.inputs`.
    """
    if isinstance(model, keras.Sequential):
        return values[0]
    return keras.tree.pack_sequence_as(model.input, list(values))


def output_names(model: keras.Model) -> list[str]:
    """Names of a model's outputs in the order of `model.outputs`: the keys of a dictionary, or the layers' names.

    Args:
        model: a Sequential or functional model.
    """
    if isinstance(model, keras.Sequential):
        return [model.layers[-1].name]
    structure = getattr(model, "output", None)
    return sorted(structure) if isinstance(structure, Mapping) else list(model.output_names)


def targets_by_output(model: keras.Model, values: Any) -> list[Any]:
    """Targets or outputs in the order of `model.outputs`, one for each.

    Args:
        model: a Sequential or functional model.
        values: an array for one output, or a list or dictionary of arrays.

    Raises:
        ValueError: other names than those of its outputs, or another number of arrays.
    """
    names = output_names(model)
    if not isinstance(values, Mapping):
        found = list(values) if isinstance(values, (list, tuple)) else [values]
        if len(found) != len(names):
            raise ValueError(
                f"Model '{model.name}' has {len(names)} outputs: {', '.join(names)}. Received: {len(found)} arrays. "
                "Give one for each, in this order or by these names."
            )
        return found
    if set(values) == {str(index) for index in range(len(names))} and len(names) > 1:
        return [values[str(index)] for index in range(len(names))]
    if set(names) != set(values):
        raise ValueError(
            f"Targets must have the names of the model's outputs. Received: {', '.join(map(str, values))}. Use: "
            f"{', '.join(names)}."
        )
    return [values[name] for name in names]


def as_arrays(x: Any) -> Any:
    """An array, or a list or dictionary of them: a list of numbers or images is one array.

    Args:
        x: samples as `fit` takes them.
    """
    if isinstance(x, Mapping):
        return {name: np.asarray(array) for name, array in x.items()}
    if isinstance(x, list | tuple) and x and all(hasattr(array, "shape") and array.ndim for array in x):
        return [np.asarray(array) for array in x]
    return np.asarray(x)


def _fitting(array: NDArray[Any], wanted: tuple[int | None, ...], model: keras.Model, told: str) -> NDArray[Any]:
    fitting = array[..., None] if wanted[-1:] == (1,) and array.ndim == len(wanted) else array
    given = fitting.shape[1:]
    if len(given) != len(wanted) or any(size not in (have, None) for have, size in zip(given, wanted, strict=True)):
        raise ValueError(
            f"{told} does not fit model '{model.name}'. Received: samples of shape {array.shape[1:]}. "
            f"Use shape {wanted}."
        )
    return fitting


def _by_name(model: keras.Model, names: list[str], x: Mapping[Any, Any]) -> list[Any]:
    """Arrays in the order of the inputs, by the names of the input layers, by the model's own keys, or numbered."""
    structure = None if isinstance(model, keras.Sequential) else model.input
    own = sorted(structure) if isinstance(structure, Mapping) else names
    for keys in (names, own, [str(index) for index in range(len(names))]):
        if set(keys) <= set(x):
            return [x[key] for key in keys]
    raise ValueError(
        f"Model '{model.name}' has other inputs. Received: {', '.join(map(str, x))}. Use {', '.join(names)}."
    )


def take(values: Any, chosen: slice | NDArray[np.integer[Any]]) -> Any:
    """Some samples or targets, in the structure in which they come.

    Args:
        values: an array, or a list or dictionary of arrays; or None.
        chosen: which.
    """
    return None if values is None else keras.tree.map_structure(lambda array: array[chosen], values)


def count_of(values: Any) -> int:
    """Number of samples in an array, or a list or dictionary of arrays."""
    return len(keras.tree.flatten(values)[0])


def in_output_structure(model: keras.Model, values: Sequence[Any]) -> Any:
    """One value for each output, in the structure of a model's outputs.

    Args:
        model: a Sequential or functional model.
        values: in the order of `model.outputs`.
    """
    if isinstance(model, keras.Sequential) or len(values) == 1:
        return values[0]
    return keras.tree.pack_sequence_as(model.output, list(values))


def _single(x: Any, axes: int) -> Any:
    """The array of one input: x itself, or the only one in a list of one array with that many axes."""
    return x[0] if isinstance(x, list | tuple) and len(x) == 1 and np.ndim(x[0]) == axes else x
