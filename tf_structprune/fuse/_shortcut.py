"""The layer that adds a convolution's input to its output."""

from typing import Any

import keras
import numpy as np

from tf_structprune.graph import Flow, LayerRule, named_layers, register_rule


@keras.saving.register_keras_serializable(package="tf_structprune")
class Shortcut(keras.layers.Layer):  # type: ignore[misc]  # Keras is untyped
    """carry * x + scale * y, of a convolution's input x and output y, with two trainable numbers.

    Xu, Cao, Shang, Sun and Li, arXiv 2011.14356: the carry lets information pass around the convolution, so that deep
    plain networks learn; the scale is pressed towards zero by an L1 term, and a layer whose scale is small is one that
    may go. `fuse_shortcuts` makes one convolution of both. A layer that is off does nothing from then on, and
    `fuse_shortcuts` takes it out.

    Args:
        around: name of the convolution.
        l1: weight of |scale| in the loss.
        carry: at the start; 1 for networks that learn from scratch, 0 leaves what a trained one computes.
    """

    def __init__(self, *, around: str, l1: float = 0.0, carry: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.around, self.l1, self.first_carry = around, l1, carry

    def build(self, input_shape: Any = None) -> None:
        """A carry as given, and a scale of 1."""
        begin = keras.initializers.Constant(self.first_carry)
        self.carry = self.add_weight(shape=(), initializer=begin, name="carry")
        pressed = keras.regularizers.L1(self.l1) if self.l1 else None
        self.scale = self.add_weight(shape=(), initializer="ones", name="scale", regularizer=pressed)
        self.on = self.add_weight(shape=(), dtype="bool", initializer="ones", trainable=False, name="on")
        self.built = True

    def call(self, inputs: Any) -> Any:
        """The sum, of [x, y]."""
        x, y = inputs
        return self.carry * x + keras.ops.where(
            keras.ops.convert_to_tensor(self.on), self.scale * y, keras.ops.zeros_like(y)
        )

    def compute_output_shape(self, input_shape: Any) -> Any:
        """As the output of the convolution."""
        return input_shape[1]

    def numbers(self) -> tuple[float, float]:
        """Carry and scale, 0 for that of a layer that is off."""
        carry, scale = (float(np.asarray(keras.ops.convert_to_numpy(each))) for each in (self.carry, self.scale))
        return carry, scale if self.is_on else 0.0

    @property
    def is_on(self) -> bool:
        """Whether the convolution still does something."""
        return bool(keras.ops.convert_to_numpy(self.on))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "around": self.around, "l1": self.l1, "carry": self.first_carry}


register_rule(Shortcut, LayerRule(Flow.JOIN, weight_axes={"carry": (), "scale": (), "on": ()}))


def shortcuts_of(model: keras.Model) -> dict[str, Shortcut]:
    """The shortcuts of a model, by the path of the convolution that each leads around."""
    found = {}
    for path, layer in named_layers(model).items():
        if isinstance(layer, Shortcut):
            room = path.rpartition("/")[0]
            found[f"{room}/{layer.around}" if room else layer.around] = layer
    return found
