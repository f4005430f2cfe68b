"""A small network around one junction: input, stem, before, junction, after, classifier."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras

_L = keras.layers
CONVOLUTIONS = {1: _L.Conv1D, 2: _L.Conv2D, 3: _L.Conv3D}
_GLOBAL_POOLINGS = {1: _L.GlobalAveragePooling1D, 2: _L.GlobalAveragePooling2D, 3: _L.GlobalAveragePooling3D}
SHAPES = {0: (5,), 1: (10, 2), 2: (6, 6, 2), 3: (4, 4, 4, 2)}


@dataclass(frozen=True)
class Junction:
    """A model and what an ideal tracer finds in it.

    Attributes:
        build: makes the model, with Keras's initial weights.
        prunable: layers that have to produce channels of some prunable group. Layers that are not
            named may be pruned or kept.
    """

    build: Callable[[], keras.Model]
    prunable: frozenset[str]


def net(
    junction: Callable[[Any], Any],
    *,
    rank: int = 2,
    channels: int = 8,
    prunable: tuple[str, ...] = ("before", "after"),
) -> Junction:
    """A junction with one input and one output tensor between the layers 'before' and 'after'."""

    def build() -> keras.Model:
        inputs = keras.Input(SHAPES[rank], name="inputs")
        x = conv(conv(inputs, 6, "stem"), channels, "before", activation=None)
        return keras.Model(inputs, classifier(conv(junction(x), 7, "after")))

    return Junction(build, frozenset(prunable))


def whole(build: Callable[[], keras.Model], *prunable: str) -> Junction:
    """A junction that is a model of its own."""
    return Junction(build, frozenset(prunable))


def one(layer_class: type, *arguments: Any, **settings: Any) -> Callable[[Any], Any]:
    """A layer of that class named 'junction', new in every build."""
    return layer(layer_class, *arguments, name="junction", **settings)


def layer(layer_class: type, *arguments: Any, **settings: Any) -> Callable[[Any], Any]:
    """A layer of that class, new in every build."""
    return lambda x: layer_class(*arguments, **settings)(x)


def chain(*steps: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """One step after the other."""

    def run(x: Any) -> Any:
        for step in steps:
            x = step(x)
        return x

    return run


def conv(x: Any, filters: int, name: str, size: int = 3, **settings: Any) -> Any:
    """A convolution of the tensor's rank with a ReLU, or a dense layer on vectors."""
    rank = len(x.shape) - 2
    if rank == 0:
        return _L.Dense(filters, name=name, **{"activation": "relu", **settings})(x)
    settings = {"padding": "same", "activation": "relu", **settings}
    return CONVOLUTIONS[rank](filters, size, name=name, **settings)(x)


def linear(x: Any, filters: int, name: str, size: int = 3, **settings: Any) -> Any:
    """A convolution without an activation."""
    return conv(x, filters, name, size, **{"activation": None, **settings})


def pool(x: Any) -> Any:
    """The mean over all pixels."""
    return _GLOBAL_POOLINGS[len(x.shape) - 2]()(x)


def classifier(x: Any, units: int = 3) -> Any:
    """The kept last layer; it has no softmax, in which a leak could hide."""
    return _L.Dense(units, name="classifier")(x if len(x.shape) == 2 else pool(x))
