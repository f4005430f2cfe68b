"""A model without some of its layers."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from tf_structprune.fuse._insert import as_functional
from tf_structprune.fuse._removable import chosen_of, find_removable
from tf_structprune.fuse._sites import check_named
from tf_structprune.graph import named_layers
from tf_structprune.layers import assign_weights, clone, copy_layer

_L = keras.layers
_RECTIFIERS = (_L.ReLU, _L.Activation)
_BETWEEN = (  # what they give lies between the least and the largest of what they read
    *(_L.MaxPooling1D, _L.MaxPooling2D, _L.MaxPooling3D, _L.AveragePooling1D, _L.AveragePooling2D, _L.AveragePooling3D),
    *(_L.GlobalMaxPooling1D, _L.GlobalMaxPooling2D, _L.GlobalAveragePooling1D, _L.GlobalAveragePooling2D),
    *(_L.Flatten, _L.Reshape),
)


@keras.saving.register_keras_serializable(package="tf_structprune")
class Passed(keras.layers.Layer):  # type: ignore[misc]  # Keras is untyped
    """What is in the place of a layer that goes: it gives one of its inputs.

    Args:
        index: which one.
        activation: what the layer did behind its sum, which stays.
    """

    def __init__(self, index: int = 0, activation: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.index, self.activation = index, keras.activations.get(activation)

    def call(self, inputs: Any) -> Any:
        """That input, activated."""
        return self.activation(self.of(inputs))

    def of(self, inputs: Any) -> Any:
        """That input."""
        return inputs[self.index] if isinstance(inputs, list | tuple) else inputs

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Its shape."""
        return input_shape[self.index] if isinstance(input_shape, list) else input_shape

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        activation = keras.activations.serialize(self.activation)
        return {**super().get_config(), "index": self.index, "activation": activation}


def hollowed(model: keras.Model, names: Sequence[str]) -> keras.Model:
    """A copy in which layers that go are replaced by such as pass on what they read: each call is still there.

    So it can be run beside the model, call by call. `without_passed` takes them out.

    Args:
        model: a built Sequential or functional model; it is not changed.
        names: of what goes, see `find_removable`.

    Raises:
        ValueError: a name of nothing that may go, with the reason.
    """
    model = as_functional(model)
    units, skipped = find_removable(model)
    chosen = list(chosen_of(units, check_named(units, skipped, names, "names")))
    passing = {path: index for unit in chosen for path, index in unit.passing.items()}

    def made(name: str, layer: Any) -> Any:
        if name in passing:
            return Passed(passing[name], getattr(layer, "activation", None), name=layer.name)
        return copy_layer(layer)

    def called(name: str, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if name not in passing:
            return layer(*args, **kwargs)
        return layer(list(args) if len(args) > 1 else args[0])

    return _with_weights(clone(model, made, call=called), model)


def without_passed(model: keras.Model) -> keras.Model:
    """A copy without the layers that only pass on what they read, and without a ReLU right behind another.

    Args:
        model: from `hollowed`, or with its layers; it is not changed.
    """
    rectified, held = dict[int, Any](), list[Any]()  # by id of a tensor that a ReLU made, which one; ids stay their own

    def called(name: str, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        del name
        if isinstance(layer, Passed):
            read = layer.of(args[0])
            if layer.activation is keras.activations.linear:
                return read
            layer, args = keras.layers.Activation(layer.activation, name=f"{layer.name}_activation"), (read,)
        kind = _rectifier(layer)
        if isinstance(layer, _RECTIFIERS) and kind and rectified.get(id(args[0])) == kind:
            return args[0]
        output = layer(*args, **kwargs)
        if isinstance(layer, _BETWEEN):
            kind = rectified.get(id(args[0]))
        if kind:
            rectified[id(output)] = kind
            held.append(output)
        return output

    return _with_weights(clone(model, lambda _, layer: copy_layer(layer), call=called), model)


def _with_weights(made: keras.Model, model: keras.Model) -> keras.Model:
    """A model with the weights of another, where it has the layer."""
    old: Mapping[str, Any] = named_layers(model)
    for name, layer in named_layers(made).items():
        if name in old and not isinstance(layer, Passed):
            assign_weights(layer, old[name].get_weights())
    return made


def _rectifier(layer: Any) -> tuple[str, float | None] | None:
    """What kind of ReLU a layer ends in, None for none: the same one behind it would do nothing."""
    if isinstance(layer, keras.layers.ReLU):
        plain = not layer.negative_slope and not layer.threshold
        return ("relu", layer.max_value) if plain else None
    activation = getattr(layer, "activation", None)
    if activation is keras.activations.relu:
        return ("relu", None)
    return ("relu", 6) if activation is keras.activations.relu6 else None
