"""Copy a model layer by layer, nested models included."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import keras

from tf_structprune.graph import input_names, is_readable
from tf_structprune.layers._compile import compile_alike
from tf_structprune.layers._copy import copy_layer
from tf_structprune.layers._weights import renew_copies

Make = Callable[[str, Any], Any]  # path and layer to the layer that takes its place
Call = Callable[[str, Any, tuple[Any, ...], dict[str, Any]], Any]


def copy_model(model: keras.Model) -> keras.Model:
    """A model of the same wiring, names, compile configuration and weights.

    Args:
        model: a Sequential or functional model.
    """
    copy = clone(model, lambda _, layer: copy_layer(layer))
    copy.set_weights(model.get_weights())
    renew_copies(copy)
    return copy


def clone(
    model: keras.Model,
    make: Make,
    *,
    call: Call | None = None,
    input_channels: Mapping[str, tuple[int, int]] | None = None,
) -> keras.Model:
    """A model of the same wiring, names and compile configuration, made of other layers.

    Args:
        model: a Sequential or functional model; it is not changed.
        make: gives the layer (or operation) for the place of one, which it may give back itself if that holds no
            variables.
        call: calls such a layer with its arguments, by default as it was called; not for the layers of
            Sequential models.
        input_channels: by path of an input layer, its channel axis and the number of channels that it gets.

    Raises:
        ValueError: a layer that cannot be copied.
    """
    return _Cloner(make, call or (lambda _, layer, args, kwargs: layer(*args, **kwargs)), input_channels or {}).model(
        model, ""
    )


class _Cloner:
    """Remembers copies, so that a layer that is called twice is copied once."""

    def __init__(self, make: Make, call: Call, input_channels: Mapping[str, tuple[int, int]]) -> None:
        self.make = make
        self.call = call
        self.input_channels = input_channels
        self.copies: dict[int, Any] = {}
        self.names: dict[int, str] = {}  # path by id of the copy

    def model(self, model: keras.Model, path: str) -> keras.Model:
        """A copy of a model that lies at a path, "" for the whole."""
        # By identity: backends walk a dictionary in different orders.
        names = {id(tensor): name for tensor, name in zip(model.inputs, input_names(model), strict=True)}
        sequential = isinstance(model, keras.Sequential)
        structure = model.inputs[0] if sequential else model.input
        inputs = keras.tree.map_structure(lambda tensor: self._input(tensor, path, names[id(tensor)]), structure)
        if sequential:
            layers = [self._layer(layer, path) for layer in model.layers]
            copy = keras.Sequential([inputs, *layers], name=model.name, trainable=model.trainable)
        else:
            copy = self._functional(model, path, inputs)
        compile_alike(copy, model)
        return copy

    def _functional(self, model: keras.Model, path: str, inputs: Any) -> keras.Model:
        # The same graph as a model that is not compiled, for Keras would write and read what it was compiled with.
        bare = keras.Model(model.input, model.output, name=model.name)
        copy = keras.models.clone_model(
            bare,
            input_tensors=inputs,
            clone_function=lambda layer: self._layer(layer, path),
            call_function=self._call,
        )
        own, plain = type(model), type(bare)
        if own is plain or inspect.getfullargspec(own.__init__) != inspect.getfullargspec(plain.__init__):
            return copy
        return own(copy.input, copy.output, name=model.name)

    def _input(self, tensor: Any, path: str, name: str) -> Any:
        shape = list(tensor.shape)
        axis, channels = self.input_channels.get(path + name, (0, 0))
        if channels and shape[axis] is not None:
            shape[axis] = channels
        return keras.Input(batch_shape=shape, dtype=tensor.dtype, name=name)

    def _layer(self, layer: Any, path: str) -> Any:
        if id(layer) not in self.copies:
            name = path + layer.name
            copy = self.model(layer, f"{name}/") if is_readable(layer) else self._made(name, layer)
            self.copies[id(layer)] = copy
            self.names[id(copy)] = name
        return self.copies[id(layer)]

    def _made(self, name: str, layer: Any) -> Any:
        try:
            return self.make(name, layer)
        except (NotImplementedError, TypeError, ValueError) as error:
            raise ValueError(
                f"Layer '{name}' ({type(layer).__name__}) cannot be copied from its configuration: {error} "
                "Give its class get_config and from_config, as saving needs them too."
            ) from error

    def _call(self, layer: Any, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("mask", True) is None:  # by default, of a layer that takes one: the other one may not
            kwargs = {name: value for name, value in kwargs.items() if name != "mask"}
        return self.call(self.names[id(layer)], layer, args, kwargs)
