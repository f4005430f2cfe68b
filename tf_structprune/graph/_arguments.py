"""Arguments of a call, cut to the channels that stay."""

from typing import Any

import keras
import numpy as np

from tf_structprune.channels import LayerCut, TensorCut
from tf_structprune.graph._flows import key_place, sliced_part
from tf_structprune.graph._lookup import is_operation, rule_for
from tf_structprune.graph._rules import Flow


def cut_arguments(
    layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any], cut: LayerCut
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of an operation's call when the tensors around it are cut.

    Constants with one value a channel (`x * array`) lose those of the removed channels, and the run
    that a slice takes is moved. Everything else is given back as it is.

    Args:
        layer: the operation; layers have no such arguments.
        args: positional arguments.
        kwargs: keyword arguments.
        cut: what stays of its tensors.
    """
    rule = rule_for(layer)
    if rule is None or not is_operation(layer):
        return args, kwargs
    if rule.flow is Flow.SLICE:
        return (args[0], _moved_key(args[1], cut)), kwargs
    if rule.flow is not Flow.JOIN:
        return args, kwargs
    (made,) = cut.makes
    return tuple(_cut_constant(arg, made) for arg in args), {
        name: _cut_constant(arg, made) for name, arg in kwargs.items()
    }


def _cut_constant(value: Any, made: TensorCut) -> Any:
    """A constant without the removed channels; it is aligned with the tensor at its last axis."""
    if isinstance(value, keras.KerasTensor) or not hasattr(value, "shape"):
        return value
    array = np.array(keras.ops.convert_to_numpy(value))
    axis = made.axis - len(made.shape)
    if array.ndim < -axis or array.shape[axis] == 1:
        return value
    return np.take(array, made.kept, axis=axis)


def _moved_key(key: Any, cut: LayerCut) -> Any:
    """An indexing key that takes what is left of its channels; behind the first, whole steps were removed."""
    (read,), (made,) = cut.reads, cut.makes
    part = sliced_part(key, read.axis, len(read.shape))
    keys = list(key) if isinstance(key, (tuple, list)) else [key]
    place = key_place(keys, read.axis, len(read.shape))
    if place is None:
        return key
    first, _, step = part.indices(read.shape[read.axis])
    begin = int((read.kept < first).sum())
    keys[place] = slice(begin, begin + step * (len(made.kept) - 1) + 1, step)
    return tuple(keys)
