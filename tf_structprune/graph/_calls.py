"""A Keras model as the flat list of its layer calls, read from the public model configuration.

Nested models are entered: their layers appear under the path "model/layer".
"""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import keras

Shape = tuple[int | None, ...]
_PLACEHOLDER = "\0tensor "  # no string argument of a layer begins so


@dataclass(frozen=True)
class TensorKey:
    """Names one tensor of a model.

    Attributes:
        call: path of the layer that made it, with the call number of each nested model on the way.
        node: which call of that layer.
        index: which of its outputs, from 0.
    """

    call: str
    node: int = 0
    index: int = 0

    def output(self, index: int) -> "TensorKey":
        """Another output of the same call."""
        return replace(self, index=index)


@dataclass(frozen=True)
class LayerCall:
    """One call of one layer.

    Attributes:
        name: path of the layer, unique in the model: "layer", or "nested/layer".
        layer: the Keras layer or operation.
        args: positional arguments, a `TensorKey` in the place of each tensor.
        kwargs: keyword arguments, likewise.
        inputs: keys of the tensors that it reads, in the order of its arguments.
        input_shapes: their shapes, batch axis first.
        output: key of its first output.
        output_shapes: shapes of the outputs that somebody reads, by index.
        repeated: whether the layer was called before.
    """

    name: str
    layer: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inputs: tuple[TensorKey, ...]
    input_shapes: tuple[Shape, ...]
    output: TensorKey
    output_shapes: dict[int, Shape] = field(default_factory=dict)
    repeated: bool = False

    def arguments(self, value: Callable[[TensorKey], Any]) -> tuple[list[Any], dict[str, Any]]:
        """Positional and keyword arguments with a value in the place of each tensor."""
        return [_substituted(arg, value) for arg in self.args], _substituted(self.kwargs, value)


@dataclass(frozen=True)
class CallList:
    """All layer calls of a model in topological order, and the tensors that it returns."""

    calls: tuple[LayerCall, ...]
    outputs: tuple[TensorKey, ...]

    def last_with(self, has_kernel: Callable[[Any], bool]) -> frozenset[str]:
        """Names of the layers with a kernel behind which no other layer with a kernel follows."""
        before_kernel: set[TensorKey] = set()  # calls that some kernel reads, however far behind
        last = set()
        for call in reversed(self.calls):
            reached = call.output in before_kernel
            if has_kernel(call.layer) and not reached:
                last.add(call.name)
            if has_kernel(call.layer) or reached:
                before_kernel.update(key.output(0) for key in call.inputs)
        return frozenset(last)


def list_calls(model: keras.Model) -> CallList:
    """Read the wiring of a Sequential or functional model, nested models included.

    Raises:
        TypeError: not a Keras model.
        ValueError: a subclassed model, one that was not built, or a layer that is part of two
            models in it.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(
            f"Only Keras 3 models can be traced. Received: {type(model).__module__}.{type(model).__name__}. "
            "Load the model with keras.models.load_model of Keras 3, or a Keras 2 model with from_legacy."
        )
    reader = _Reader()
    if isinstance(model, keras.Sequential | _functional_class()) and _has_own_call(model):
        raise _subclassed(model)
    if isinstance(model, keras.Sequential):
        outputs = reader.read_sequential(model, _Scope())
    else:
        outputs = reader.read_functional(model, _functional_config(model), _Scope())
    return CallList(tuple(reader.finished()), tuple(outputs))


def input_names(model: keras.Model) -> list[str]:
    """Names of the input layers of a readable model, in the order of `model.inputs`."""
    if not isinstance(model, keras.Sequential):
        return [name for name, _, _ in _histories(_functional_config(model)["input_layers"])]
    first = config_of(model)["layers"][:1]
    if first and first[0]["class_name"] == "InputLayer":
        return [str(first[0]["config"]["name"])]
    return [tensor.name for tensor in model.inputs]


def named_layers(model: keras.Model) -> dict[str, Any]:
    """The layers of a model by path, nested models entered, each layer once; input layers left out."""
    found: dict[str, Any] = {}
    _collect(model, "", found, set())
    return found


def _collect(model: keras.Model, path: str, found: dict[str, Any], seen: set[int]) -> None:
    for layer in model.layers:
        if id(layer) in seen:
            continue
        seen.add(id(layer))
        if is_readable(layer):
            _collect(layer, f"{path}{layer.name}/", found, seen)
        elif not isinstance(layer, keras.layers.InputLayer):
            found[path + layer.name] = layer


def is_readable(layer: Any) -> bool:
    """Whether a layer is a nested model whose wiring can be read."""
    if isinstance(layer, keras.Sequential):
        return bool(layer.built and layer.inputs) and not _has_own_call(layer)
    if type(layer) is _functional_class():
        return True
    return _is_functional(layer) and not _has_own_call(layer) and "input_layers" in _config_or_empty(layer)


def _has_own_call(model: keras.Model) -> bool:
    """Whether a model does more, or something else, than to call its layers as they are wired."""
    plain: Any = keras.Sequential if isinstance(model, keras.Sequential) else _functional_class()
    return type(model).call is not plain.call


@cache
def _functional_class() -> type:
    """The class of functional models, which Keras does not export by name."""
    inputs = keras.Input((1,))
    return type(keras.Model(inputs, inputs))


def _is_functional(layer: Any) -> bool:
    return isinstance(layer, _functional_class())


@dataclass(frozen=True)
class _Scope:
    """Where a model is read: as a whole, or as the layer of another one.

    Attributes:
        path: prefix of its layers' names.
        call: prefix of its calls' keys.
        bound: the tensors that it is called with; None for the whole model.
        infer: whether shapes are computed from those tensors, because its own are open.
    """

    path: str = ""
    call: str = ""
    bound: tuple[TensorKey, ...] | None = None
    infer: bool = False


@dataclass
class _Reader:
    calls: list[LayerCall] = field(default_factory=list)
    shapes: dict[TensorKey, Shape] = field(default_factory=dict)
    alias: dict[TensorKey, TensorKey] = field(default_factory=dict)  # output of a nested model -> who made it
    names: dict[int, str] = field(default_factory=dict)  # by id of the layer
    called: set[str] = field(default_factory=set)

    def finished(self) -> Iterator[LayerCall]:
        """The calls with the shapes of their outputs."""
        by_call: dict[TensorKey, dict[int, Shape]] = {}
        for key, shape in self.shapes.items():
            by_call.setdefault(key.output(0), {})[key.index] = shape
        for call in self.calls:
            yield replace(call, output_shapes=by_call.get(call.output, {}))

    def read_sequential(self, model: keras.Sequential, scope: _Scope) -> list[TensorKey]:
        if not model.built or not model.inputs:
            raise ValueError(
                f"Model '{model.name}' is not built, its shapes are unknown. Begin it with "
                "keras.Input(shape) or call model.build(shape)."
            )
        (tensor,) = model.inputs
        (name,) = input_names(model)
        source = keras.layers.InputLayer(batch_shape=tensor.shape, dtype=tensor.dtype, name=name)
        key = self._input(source, scope, 0, tuple(tensor.shape))
        scope = replace(scope, infer=True)
        for layer in model.layers:
            output = TensorKey(scope.call + layer.name)
            self._visit(layer, (key,), {}, output, scope)
            key = self.alias.get(output, output)
        return [key]

    def read_functional(self, model: keras.Model, config: dict[str, Any], scope: _Scope) -> list[TensorKey]:
        by_name = {operation.name: operation for operation in model.operations}
        inputs = input_names(model)
        for index, (name, tensor) in enumerate(zip(inputs, model.inputs, strict=True)):
            self._input(by_name[name], scope, index, tuple(tensor.shape))
        pending = [
            _Node(by_name[entry["name"]], index, node)
            for entry in config["layers"]
            if entry["name"] not in inputs
            for index, node in enumerate(entry["inbound_nodes"])
        ]
        self._visit_in_order(model, pending, {TensorKey(scope.call + name) for name in inputs}, scope)
        outputs = []
        for name, node, index in _histories(config["output_layers"]):
            # Only here does the configuration count a node that every functional model begins with.
            key = TensorKey(scope.call + name, node - int(_is_functional(by_name[name])), index)
            outputs.append(self.alias.get(key, key))
        for key, tensor in zip(outputs, model.outputs, strict=True):
            self.shapes.setdefault(key, tuple(tensor.shape))
        return outputs

    def _visit_in_order(self, model: keras.Model, pending: list["_Node"], done: set[TensorKey], scope: _Scope) -> None:
        # Operations are listed in topological order of their first call only: a shared layer's later
        # calls may read tensors that come after it.
        while pending:
            waiting = []
            for node in pending:
                args, kwargs, shapes = node.arguments(scope.call)
                if not all(key.output(0) in done for key in shapes):
                    waiting.append(node)
                    continue
                for key, shape in shapes.items():
                    self.shapes.setdefault(self.alias.get(key, key), shape)
                output = TensorKey(scope.call + node.operation.name, node.index)
                self._visit(node.operation, args, kwargs, output, scope)
                done.add(output)
            if len(waiting) == len(pending):
                raise ValueError(f"Model '{model.name}': its layer calls form a cycle and cannot be traced.")
            pending = waiting

    def _input(self, layer: Any, scope: _Scope, index: int, shape: Shape) -> TensorKey:
        output = TensorKey(scope.call + layer.name)
        bound = () if scope.bound is None else (scope.bound[index],)
        self.shapes[output] = self.shapes[bound[0]] if bound else shape
        self._append(layer, bound, {}, output, scope)
        return output

    def _visit(
        self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: TensorKey, scope: _Scope
    ) -> None:
        resolve = lambda key: self.alias.get(key, key)  # noqa: E731
        args = tuple(_substituted(arg, resolve) for arg in args)
        kwargs = _substituted(kwargs, resolve)
        bound = tuple(_tensor_keys((args, kwargs)))
        if is_readable(layer) and len(bound) == len(layer.inputs):
            self._visit_nested(layer, bound, output, scope)
            return
        self._append(layer, args, kwargs, output, scope)
        if scope.infer:
            self._infer(layer, args, kwargs, output)

    def _visit_nested(self, model: keras.Model, bound: tuple[TensorKey, ...], output: TensorKey, scope: _Scope) -> None:
        path = scope.path + model.name
        infer = scope.infer or any(
            tuple(tensor.shape) != self.shapes[key] for tensor, key in zip(model.inputs, bound, strict=True)
        )
        inner = _Scope(f"{path}/", f"{output.call}@{output.node}/", bound, infer)
        if isinstance(model, keras.Sequential):
            made = self.read_sequential(model, inner)
        else:
            made = self.read_functional(model, _functional_config(model), inner)
        for index, key in enumerate(made):
            self.alias[output.output(index)] = key

    def _append(
        self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: TensorKey, scope: _Scope
    ) -> None:
        name = scope.path + layer.name
        known = name if isinstance(layer, keras.layers.InputLayer) else self.names.setdefault(id(layer), name)
        if known != name:
            raise ValueError(
                f"Layer '{known}' is also layer '{name}': it is part of two models, and no copy can keep it "
                "shared. Use one model for both places, or a layer of its own for each."
            )
        inputs = tuple(_tensor_keys((args, kwargs)))
        shapes = tuple(self.shapes[key] for key in inputs)
        repeated = name in self.called
        self.called.add(name)
        self.calls.append(LayerCall(name, layer, args, kwargs, inputs, shapes, output, repeated=repeated))

    def _infer(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: TensorKey) -> None:
        """Set the shapes of a call's outputs from those of its inputs."""
        tensors = lambda key: keras.KerasTensor(self.shapes[key])  # noqa: E731
        spec = layer.compute_output_spec(*(_substituted(arg, tensors) for arg in args), **_substituted(kwargs, tensors))
        for index, tensor in enumerate(keras.tree.flatten(spec)):
            self.shapes[output.output(index)] = tuple(tensor.shape)


@dataclass(frozen=True)
class _Node:
    """One entry of `inbound_nodes`."""

    operation: Any
    index: int
    config: dict[str, Any]

    def arguments(self, prefix: str) -> tuple[tuple[Any, ...], dict[str, Any], dict[TensorKey, Shape]]:
        """The call's arguments with keys for tensors, and the shapes of those as configured."""
        found: list[tuple[TensorKey, Shape]] = []
        marked = _marked((self.config["args"], self.config["kwargs"]), prefix, found)
        args, kwargs = _restored(keras.saving.deserialize_keras_object(list(marked)), found)
        return tuple(args), dict(kwargs), dict(found)


def config_of(thing: Any) -> dict[str, Any]:
    """The configuration of a model or layer, to read in it; nothing is made of the code that it may hold.

    Raises:
        NotImplementedError, TypeError: there is none.
        OSError: a lambda whose source Python does not have, as those typed at a prompt.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"The object being serialized includes a `lambda`")
        return dict(thing.get_config())


def _functional_config(model: keras.Model) -> dict[str, Any]:
    try:
        config = config_of(model)
    except (NotImplementedError, OSError, TypeError) as error:
        raise ValueError(f"Model '{model.name}' cannot be read: {error}") from error
    if "input_layers" not in config:
        raise _subclassed(model)
    return config


def _subclassed(model: keras.Model) -> ValueError:
    return ValueError(
        f"Model '{model.name}' is subclassed ({type(model).__name__}): its layers are Python code that "
        "cannot be traced. Build it with keras.Sequential or keras.Model(inputs, outputs)."
    )


def _config_or_empty(model: keras.Model) -> dict[str, Any]:
    try:
        return config_of(model)
    except (NotImplementedError, OSError, TypeError):
        return {}


def _marked(value: Any, prefix: str, found: list[tuple[TensorKey, Shape]]) -> Any:
    """A configuration with a string in the place of each tensor, which is put in `found`."""
    if isinstance(value, dict):
        if value.get("class_name") == "__keras_tensor__":
            name, node, index = value["config"]["keras_history"]
            found.append((TensorKey(prefix + name, node, index), tuple(value["config"]["shape"])))
            return f"{_PLACEHOLDER}{len(found) - 1}"
        return {key: _marked(item, prefix, found) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_marked(item, prefix, found) for item in value)
    return value


def _restored(value: Any, found: list[tuple[TensorKey, Shape]]) -> Any:
    if isinstance(value, str) and value.startswith(_PLACEHOLDER):
        return found[int(value.removeprefix(_PLACEHOLDER))][0]
    if isinstance(value, dict):
        return {key: _restored(item, found) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_restored(item, found) for item in value)
    return value


def _substituted(value: Any, of: Callable[[TensorKey], Any]) -> Any:
    """A nested argument with another value in the place of each tensor key."""
    if isinstance(value, TensorKey):
        return of(value)
    if isinstance(value, dict):
        return {key: _substituted(item, of) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_substituted(item, of) for item in value)
    return value


def _tensor_keys(value: Any) -> Iterator[TensorKey]:
    """Tensor keys in a nested value, dictionaries in sorted order, as Keras flattens them."""
    if isinstance(value, TensorKey):
        yield value
    elif isinstance(value, dict):
        for key in sorted(value):
            yield from _tensor_keys(value[key])
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensor_keys(item)


def _histories(nested: Any) -> Iterator[tuple[str, int, int]]:
    """(layer, node, tensor) triples of a nested configuration, dictionaries in sorted order."""
    if isinstance(nested, dict):
        nested = [nested[key] for key in sorted(nested)]
    if len(nested) == 3 and isinstance(nested[0], str):
        yield (nested[0], nested[1], nested[2])
        return
    for item in nested:
        yield from _histories(item)
