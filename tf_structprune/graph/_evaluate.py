"""Run a model call by call, to see what its layers read."""

import inspect
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import keras

from tf_structprune.graph._calls import CallList, LayerCall, TensorKey, input_names, list_calls
from tf_structprune.graph._rules import inner_layer


def layer_inputs(model: keras.Model, names: Sequence[str], x: Any) -> dict[str, list[Any]]:
    """The tensors that some layers of a model read for a batch of samples, in inference.

    Args:
        model: a Sequential or functional model; nested models are entered.
        names: paths of the layers.
        x: one batch for the model's inputs: an array, or a list or dictionary of them.

    Returns:
        By layer, its first input tensor in each of its calls, in the backend's type.
    """
    found, arrays = list_calls(model), input_arrays(model, x)
    run = partial(_run, found, names)
    if keras.backend.backend() == "tensorflow" and any(_is_channels_first(call) for call in found.calls):
        seen = _Compiled(run).predict_on_batch(arrays)
        return {name: [keras.ops.convert_to_tensor(value) for value in values] for name, values in seen.items()}
    return run(arrays)


class _Compiled(keras.Model):  # type: ignore[misc]  # Keras is untyped
    """Runs a function of some arrays as `predict` runs a model.

    TensorFlow has channels-first convolutions on a CPU only with oneDNN, which it leaves off where the CPU has no
    AVX512, or in XLA, for which Keras compiles.
    """

    def __init__(self, run: Callable[[list[Any]], Any]) -> None:
        super().__init__(name="compiled")
        self._of_arrays = run
        self.compile(jit_compile=True)

    def call(self, inputs: list[Any]) -> Any:
        return self._of_arrays(inputs)


def _is_channels_first(call: LayerCall) -> bool:
    return getattr(inner_layer(call.layer), "data_format", "") == "channels_first"


def _run(found: CallList, names: Sequence[str], arrays: Sequence[Any]) -> dict[str, list[Any]]:
    wanted = frozenset(names)
    uses = Counter(key for call in found.calls for key in call.inputs)
    values: dict[TensorKey, Any] = {}
    batch = iter(arrays)
    seen: dict[str, list[Any]] = {name: [] for name in names}
    for call in found.calls:
        if call.name in wanted:
            seen[call.name].append(values[call.inputs[0]])
        if isinstance(call.layer, keras.layers.InputLayer):
            given = values[call.inputs[0]] if call.inputs else next(batch)
            values[call.output] = keras.ops.cast(given, call.layer.dtype)
        else:
            for index, output in enumerate(outputs_of(call, values.__getitem__)):
                values[call.output.output(index)] = output
        uses.subtract(call.inputs)
        for key in call.inputs:
            if not uses[key]:
                values.pop(key, None)
    return seen


def outputs_of(call: LayerCall, value: Callable[[TensorKey], Any]) -> list[Any]:
    """Tensors that a call makes in inference, in order.

    Args:
        call: a call of any layer but an `InputLayer`.
        value: gives the tensor of a key.
    """
    args, kwargs = call.arguments(value)
    if "training" in inspect.signature(call.layer.call).parameters:
        kwargs["training"] = False  # as `predict` says to every layer, whatever it was called with
    return list(keras.tree.flatten(call.layer(*args, **kwargs)))


def runner_of(call: LayerCall) -> Callable[[Callable[[TensorKey], Any]], list[Any]]:
    """As `outputs_of`, for many batches, where TensorFlow can run the call on every CPU: see `_Compiled`.

    Args:
        call: a call of any layer but an `InputLayer`.

    Returns:
        Takes what gives the tensor of a key.
    """
    if keras.backend.backend() != "tensorflow" or not _is_channels_first(call):
        return partial(outputs_of, call)
    compiled = _Compiled(lambda given: outputs_of(call, dict(zip(call.inputs, given, strict=True)).__getitem__))
    return lambda value: list(compiled.predict_on_batch([value(key) for key in call.inputs]))


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
