"""A plain network that takes one candidate after the other, split where they begin to differ."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.channels import LayerCut
from tf_structprune.graph import CallList, LayerCall, TensorKey, kernel_variable, kernel_view, list_calls, named_layers
from tf_structprune.layers import NamedWeight, assign_cut, rebuild
from tf_structprune.scoring._changes import Change

Tensors = list[Any]  # of the backend
Assignments = list[tuple[Any, Any]]  # variables and their values


class Network:
    """A copy of a plain model, cut to size, in which candidates are put by their weights.

    It is made once and compiled once: its candidates differ in the values of variables only. What comes before the
    first layer in which they differ (`shared`) is computed once for all of them.

    Args:
        uncut: the model without masks; it is not changed.
        weights: by layer that has any, its weights without masks.
        example: a candidate, which is in the network at first.
        cuts: what stays of each layer.
        varied: names of the layers in which candidates differ.
    """

    def __init__(
        self,
        uncut: keras.Model,
        weights: Mapping[str, Sequence[NamedWeight]],
        example: Change,
        *,
        cuts: Mapping[str, LayerCut],
        varied: frozenset[str],
    ) -> None:
        self._uncut, self._weights = named_layers(uncut), weights
        self._varied = [name for name in weights if name in varied]
        plain = rebuild(uncut, cuts)
        self._layers = named_layers(plain)
        self._put(example, weights, cuts)
        self._shared, self._own = _split(plain, varied)

    def shared(self, inputs: Tensors) -> Tensors:
        """What all candidates have in common on one batch: the tensors that `outputs` reads."""
        if self._shared is None:
            return inputs
        return [keras.ops.convert_to_tensor(value) for value in _listed(self._shared.predict_on_batch(inputs))]

    def outputs(self, shared: Tensors) -> list[NDArray[Any]]:
        """Outputs of the candidate that is in, one array for each output of the model."""
        return [np.asarray(value) for value in _listed(self._own.predict_on_batch(shared))]

    def put(self, change: Change, cuts: Mapping[str, LayerCut]) -> Assignments:
        """Put a candidate in; returns the variables that it sets and their values, to put it in again.

        Args:
            change: the candidate.
            cuts: what stays of each layer, of the same sizes as those that the network was made with.
        """
        self._put(change, self._varied, cuts)
        variables = [variable for name in self._varied for variable in self._layers[name].variables]
        return [(variable, keras.ops.copy(keras.ops.convert_to_tensor(variable))) for variable in variables]

    def _put(self, change: Change, names: Iterable[str], cuts: Mapping[str, LayerCut]) -> None:
        for name in names:
            layer = self._uncut[name]
            weights = _masked_weights(layer, self._weights[name], change, name)
            assign_cut(self._layers[name], name, layer, cuts.get(name), weights)


def _masked_weights(layer: Any, weights: Sequence[NamedWeight], change: Change, name: str) -> list[NamedWeight]:
    """The weights with what the candidate removes set to zero."""
    if name not in change.layers:
        return list(weights)
    view = kernel_view(layer, change.graph.channels[name].positions)
    kept = view.restore(change.kept_view(name), np)
    kernel = kernel_variable(layer).name
    return [
        (kind, np.where(kept, value, 0).astype(value.dtype) if kind == kernel else value) for kind, value in weights
    ]


def _split(plain: keras.Model, varied: frozenset[str]) -> tuple[keras.Model | None, keras.Model]:
    """The part of a model that does not depend on some layers, if there is any, and the rest."""
    found = list_calls(plain)
    behind = _behind(found, varied)
    before = [call for call in found.calls if call.output not in behind]
    after = [call for call in found.calls if call.output in behind]
    if not after or all(_is_input(call) for call in before) or not _may_be_flat(found):
        return None, _compiled(plain.inputs, plain.outputs)
    edge = list(dict.fromkeys(_read_from(found, after, behind)))
    inputs = [keras.Input(batch_shape=t.shape, dtype=t.dtype) for t in plain.inputs]
    values = _called(before, {}, iter(inputs))
    shared = _compiled(inputs, [values[key] for key in edge])
    own_inputs = [keras.Input(batch_shape=t.shape, dtype=t.dtype) for t in shared.outputs]
    values = _called(after, dict(zip(edge, own_inputs, strict=True)), iter(()))
    return shared, _compiled(own_inputs, [values[key] for key in found.outputs])


def _behind(found: CallList, varied: frozenset[str]) -> set[TensorKey]:
    """First outputs of the calls whose results depend on some layers."""
    behind: set[TensorKey] = set()
    for call in found.calls:
        if call.name in varied or any(key.output(0) in behind for key in call.inputs):
            behind.add(call.output)
    return behind


def _may_be_flat(found: CallList) -> bool:
    """Whether the layers of nested models can be those of one: Keras wants a name for each there."""
    layers = {call.name: call.layer.name for call in found.calls if not _is_input(call)}
    return len(set(layers.values())) == len(layers)


def _is_input(call: LayerCall) -> bool:
    return isinstance(call.layer, keras.layers.InputLayer)


def _read_from(found: CallList, after: Sequence[LayerCall], behind: set[TensorKey]) -> Iterable[TensorKey]:
    """Tensors of the first part that the second part reads, or that are outputs."""
    for key in (*(key for call in after for key in call.inputs), *found.outputs):
        if key.output(0) not in behind:
            yield key


def _called(calls: Sequence[LayerCall], values: dict[TensorKey, Any], inputs: Any) -> dict[TensorKey, Any]:
    """The tensors that some calls make, by key, those given included."""
    values = dict(values)
    for call in calls:
        if _is_input(call):
            values[call.output] = values[call.inputs[0]] if call.inputs else next(inputs)
            continue
        args, kwargs = call.arguments(values.__getitem__)
        for index, made in enumerate(keras.tree.flatten(call.layer(*args, **kwargs))):
            values[call.output.output(index)] = made
    return values


def _compiled(inputs: Tensors, outputs: Tensors) -> keras.Model:
    """A model that predicts without the compilation that takes longest and buys least here.

    XLA takes seconds to compile a convolutional network for a CPU, and its convolutions there are slower than
    TensorFlow's own; JAX has nothing else.
    """
    model = keras.Model(inputs, outputs)
    model.compile(jit_compile=keras.backend.backend() == "jax")
    return model


def _listed(values: Any) -> list[Any]:
    return list(values) if isinstance(values, (list, tuple)) else [values]
