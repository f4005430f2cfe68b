"""Which layer of a Keras model an operator of its file belongs to."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import keras

from tf_structprune.layers import clone, copy_of, renew_copies

_MARK = "tfsp"
_MARKED = re.compile(rf"(?:^|[/;]){_MARK}(\d+)(?:_\d+)?(?=[/;]|$)")


@dataclass(frozen=True)
class Marks:
    """What the marks of a model stand for.

    Attributes:
        names: of the layers, by place; of one inside a nested model with the names of the models around it.
        weighted: those of them that have a kernel.
    """

    names: tuple[str, ...]
    weighted: frozenset[str]

    def owner(self, texts: Iterable[str]) -> str:
        """The layer that an operator belongs to: of those that were fused in it one with a kernel, else the first.

        The converter names what it fused from the last to the first.

        Args:
            texts: names of the operator's output and of its constants.

        Returns:
            Its name; "" where none is told.
        """
        for text in texts:
            if found := self._layers_in(text):
                return next((name for name in found if name in self.weighted), found[-1])
        return ""

    def _layers_in(self, text: str) -> list[str]:
        """The layers that the name of a tensor speaks of, in its order."""
        numbers = dict.fromkeys(int(number) for number in _MARKED.findall(text))
        return [self.names[number] for number in numbers if number < len(self.names)]


def marked(model: keras.Model) -> tuple[keras.Model, Marks]:
    """A copy whose layers have names that are found again in its file, and what these stand for.

    TensorFlow numbers scopes of the same name anew, so that `conv2d_1` in a file may be the layer `conv2d` or the layer
    `conv2d_1`; marks cannot be taken for each other.

    Args:
        model: a Sequential or functional model; it is not changed.

    Raises:
        ValueError: a layer that cannot be copied.
    """
    layers: dict[str, keras.layers.Layer] = {}

    def renamed(path: str, layer: keras.layers.Layer) -> keras.layers.Layer:
        layers[path] = layer
        return copy_of(layer, lambda config: config.update(name=f"{_MARK}{len(layers) - 1}"))

    copy = clone(model, renamed)
    copy.set_weights(model.get_weights())
    renew_copies(copy)
    return copy, Marks(tuple(layers), frozenset(name for name, layer in layers.items() if _has_kernel(layer)))


def _has_kernel(layer: keras.layers.Layer) -> bool:
    return any(len(weight.shape) > 1 for weight in getattr(layer, "weights", ()))
