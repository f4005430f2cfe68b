"""Run a model call by call, to see what its layers read."""

import inspect
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from tf_structprune.graph._calls import TensorKey, input_names, list_calls


def layer_inputs(model: keras.Model, names: Sequence[str], x: Any) -> dict[str, list[Any]]:
    """The tensors that some layers of a model read for a batch of samples, in inference.

    Args:
        model: a Sequential or functional model; nested models are entered.
        names: paths of the layers.
        x: one batch for the model's inputs: an array, or a list or dictionary of them.

    Returns:
        By layer, its first input tensor in each of its calls, in the backend's type.
    """
    found = list_calls(model)
    wanted = frozenset(names)
    uses = Counter(key for call in found.calls for key in call.inputs)
    values: dict[TensorKey, Any] = {}
    batch = iter(input_arrays(model, x))
    seen: dict[str, list[Any]] = {name: [] for name in names}
    for call in found.calls:
        if call.name in wanted:
            seen[call.name].append(values[call.inputs[0]])
        if isinstance(call.layer, keras.layers.InputLayer):
            given = values[call.inputs[0]] if call.inputs else next(batch)
            values[call.output] = keras.ops.cast(given, call.layer.dtype)
        else:
            args, kwargs = call.arguments(values.__getitem__)
            if "training" in inspect.signature(call.layer.call).parameters:
                kwargs["training"] = False  # as `predict` says to every layer, whatever it was called with
            for index, output in enumerate(keras.tree.flatten(call.layer(*args, **kwargs))):
                values[call.output.output(index)] = output
        uses.subtract(call.inputs)
        for key in call.inputs:
            if not uses[key]:
                values.pop(key, None)
    return seen


def input_arrays(model: keras.Model, x: Any) -> list[Any]:
    """One array an input of the model, in the order of `model.inputs`.

    Args:
        model: a Sequential or functional model.
        x: an array for one input, or a list or dictionary of arrays.
    """
    if isinstance(x, Mapping):
        return [x[name] for name in _given_names(model, x)]
    return list(keras.tree.flatten(x))


def _given_names(model: keras.Model, x: Mapping[str, Any]) -> list[str]:
    """The keys of a dictionary of inputs in the order of the model's: its own, or the input layers' names."""
    names = input_names(model)
    return names if set(names) <= set(x) else sorted(x)
