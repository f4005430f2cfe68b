"""A Keras model as the list of its layer calls, read from the public model configuration."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras

TensorKey = tuple[str, int, int]


@dataclass(frozen=True)
class LayerCall:
    """One call of one layer.

    Attributes:
        layer: the Keras layer or operation.
        inputs: keys of the tensors that it reads.
        input_shapes: their shapes, batch axis first.
        index: which call of this layer, from 0.
    """

    layer: Any
    inputs: tuple[TensorKey, ...]
    input_shapes: tuple[tuple[int | None, ...], ...]
    index: int = 0

    @property
    def output(self) -> TensorKey:
        """Key of the first output tensor."""
        return (self.layer.name, self.index, 0)


@dataclass(frozen=True)
class CallList:
    """All layer calls of a model in topological order, and the tensors that it returns."""

    calls: tuple[LayerCall, ...]
    outputs: tuple[TensorKey, ...]

    def last_with(self, has_kernel: Callable[[Any], bool]) -> frozenset[str]:
        """Names of the layers with a kernel behind which no other layer with a kernel follows."""
        before_kernel: set[tuple[str, int]] = set()  # calls that some kernel reads, however far behind
        last = set()
        for call in reversed(self.calls):
            reached = call.output[:2] in before_kernel
            if has_kernel(call.layer) and not reached:
                last.add(call.layer.name)
            if has_kernel(call.layer) or reached:
                before_kernel.update(key[:2] for key in call.inputs)
        return frozenset(last)


def list_calls(model: keras.Model) -> CallList:
    """Read the wiring of a Sequential or functional model.

    Raises:
        TypeError: not a Keras model.
        ValueError: a subclassed model, or one that was not built.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(
            f"Only Keras 3 models can be traced. Received: {type(model).__module__}.{type(model).__name__}. "
            "Load the model with keras.models.load_model of Keras 3."
        )
    if isinstance(model, keras.Sequential):
        return _sequential_calls(model)
    config = _functional_config(model)
    calls = tuple(_functional_calls(model, config))
    return CallList(calls, tuple(_keys(config["output_layers"])))


def _sequential_calls(model: keras.Sequential) -> CallList:
    if not model.built or not model.inputs:
        raise ValueError(
            f"Model '{model.name}' is not built, its shapes are unknown. Begin it with "
            "keras.Input(shape) or call model.build(shape)."
        )
    first = model.inputs[0]
    shape = tuple(first.shape)
    key: TensorKey = ("", 0, 0)  # no layer can have the empty name
    calls = []
    for layer in model.layers:
        call = LayerCall(layer, (key,), (shape,))
        calls.append(call)
        shape, key = tuple(layer.compute_output_shape(shape)), call.output
    return CallList(tuple(calls), (key,))


def _functional_config(model: keras.Model) -> dict[str, Any]:
    try:
        config: dict[str, Any] = model.get_config()
    except (NotImplementedError, TypeError) as error:
        raise ValueError(f"Model '{model.name}' cannot be read: {error}") from error
    if "input_layers" not in config:
        raise ValueError(
            f"Model '{model.name}' is subclassed ({type(model).__name__}): its layers are Python code that "
            "cannot be traced. Build it with keras.Sequential or keras.Model(inputs, outputs)."
        )
    return config


def _functional_calls(model: keras.Model, config: dict[str, Any]) -> Iterator[LayerCall]:
    by_name = {operation.name: operation for operation in model.operations}
    pending = [
        LayerCall(by_name[entry["name"]], *_tensors(node), index)
        for entry in config["layers"]
        for index, node in enumerate(entry["inbound_nodes"] or [{"args": [], "kwargs": {}}])
    ]
    # Operations are listed in topological order of their first call only: a shared layer's later
    # calls may read tensors that come after it.
    done: set[tuple[str, int]] = set()
    while pending:
        waiting = []
        for call in pending:
            if all(key[:2] in done for key in call.inputs):
                done.add(call.output[:2])
                yield call
            else:
                waiting.append(call)
        if len(waiting) == len(pending):
            raise ValueError(f"Model '{model.name}': its layer calls form a cycle and cannot be traced.")
        pending = waiting


def _tensors(node: dict[str, Any]) -> tuple[tuple[TensorKey, ...], tuple[tuple[int | None, ...], ...]]:
    configs = list(_keras_tensors((node["args"], node["kwargs"])))
    keys = tuple((c["keras_history"][0], c["keras_history"][1], c["keras_history"][2]) for c in configs)
    return keys, tuple(tuple(c["shape"]) for c in configs)


def _keras_tensors(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if value.get("class_name") == "__keras_tensor__":
            yield value["config"]
            return
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _keras_tensors(item)


def _keys(nested: Any) -> Iterator[TensorKey]:
    if isinstance(nested, dict):
        nested = list(nested.values())
    if len(nested) == 3 and isinstance(nested[0], str):
        yield (nested[0], nested[1], nested[2])
        return
    for item in nested:
        yield from _keys(item)
