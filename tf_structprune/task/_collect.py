"""Streams of batches as arrays: data sets and generators, as `fit` takes them."""

from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np

_MOST = 1_000_000  # samples; a generator that gives more never ends
_INFINITE = -1  # cardinality of a `tf.data.Dataset` that repeats for ever


def collected(data: Any, name: str) -> Any:
    """The batches of a stream, joined; what is no stream is given back as it is.

    Args:
        data: a `tf.data.Dataset` or another iterable with `as_numpy_iterator`, a `keras.utils.PyDataset`, a generator,
            or a function that returns one, as TFLite's guide has it. Its elements are batches: arrays, a list of a
            single one, or tuples of samples and targets.
        name: what it is called in an error.

    Returns:
        The structure of its elements, with arrays of all samples.

    Raises:
        ValueError: it is empty or never ends, or its batches do not fit together.
    """
    batches = _batches_of(data, name)
    if batches is None:
        return data
    found: list[Any] = []
    count = 0
    for batch in batches:
        found.append(keras.tree.map_structure(np.asarray, _single(batch)))
        count += len(keras.tree.flatten(found[-1])[0])
        if count > _MOST:
            raise ValueError(
                f"{name} never ends. Received: more than {_MOST:,} samples. Take some, e.g. with data.take(n)."
            )
    if not found:
        raise ValueError(f"{name} is empty. Received: a {type(data).__name__} without batches. Give some samples.")
    try:
        return keras.tree.map_structure(lambda *parts: np.concatenate(parts), *found)
    except ValueError as error:
        raise ValueError(
            f"{name} has batches that do not fit together. Received: {error}. Give batches of samples of one shape."
        ) from error


def _batches_of(data: Any, name: str) -> Iterable[Any] | None:
    """The batches of a stream, None for what is none."""
    if hasattr(data, "as_numpy_iterator"):
        if int(getattr(data, "cardinality", lambda: 0)()) == _INFINITE:
            raise ValueError(f"{name} never ends. Received: a data set that repeats for ever. Use data.take(n).")
        batches: Iterable[Any] = data.as_numpy_iterator()
        return batches
    if isinstance(data, keras.utils.PyDataset):
        return (data[index] for index in range(len(data)))
    if callable(data) and not hasattr(data, "shape"):
        return _batches_of(data(), name)
    return data if isinstance(data, Iterator) else None


def _single(batch: Any) -> Any:
    return batch[0] if isinstance(batch, list) and len(batch) == 1 else batch
