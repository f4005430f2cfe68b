"""What retrains a model: Adam, or Muon for convolutions too."""

import math
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, get_args

import keras

Optimizer = Literal["adam", "muon"]
OPTIMIZERS: tuple[str, ...] = get_args(Optimizer)


def optimizer_of(name: str, model: keras.Model) -> Callable[[Any], keras.optimizers.Optimizer]:
    """What makes the optimizer of a retraining from a learning rate or a schedule of it.

    Args:
        name: of `OPTIMIZERS`.
        model: what is trained; the last of its kernels, which makes the outputs, is left to Adam by "muon" too.
    """
    if name == "adam":
        return partial(keras.optimizers.Adam)
    kernels = [variable.path for variable in model.trainable_variables if len(variable.shape) > 1]
    return partial(ConvolutionMuon, last=kernels[-1] if kernels else "")


class ConvolutionMuon(keras.optimizers.Muon):  # type: ignore[misc]  # Keras is untyped
    """Muon for kernels of convolutions, as matrices from all that an output channel reads to the output channels.

    The update of a matrix is its momentum with all singular values brought near 1, by Newton-Schulz iterations (Jordan
    and others 2024, kellerjordan.github.io/posts/muon), of the size of an Adam step (Liu and others 2025, arXiv
    2502.16982, section 2.2). Keras's own takes matrices only. Vectors, depthwise kernels of one output each, embeddings
    and the kernel that makes the outputs are updated as Adam does. Weights do not decay.

    Args:
        learning_rate: a rate or a schedule.
        last: path of the kernel that makes the outputs; "" for none.
        **settings: as `keras.optimizers.Muon` takes them.
    """

    def __init__(self, learning_rate: Any, last: str = "", **settings: Any) -> None:
        alone = [f"^{re.escape(last)}$"] if last else None
        super().__init__(
            learning_rate, **{"weight_decay": None, "adam_weight_decay": None, "exclude_layers": alone, **settings}
        )
        self.last = last

    def build(self, var_list: Sequence[Any]) -> None:
        """Make the state; whether there is a second moment tells who updates a variable."""
        if self.built:
            return
        super().build(var_list)
        for index, variable in enumerate(var_list):
            if len(variable.shape) > 2 and variable.path != self.last and min(_matrix(variable)) > 1:
                self.adam_velocities[index] = None

    def zeropower_via_newtonschulz5(self, x: Any, steps: int) -> Any:
        """The iterations of a kernel of any dimension, as a matrix."""
        flat = keras.ops.reshape(x, _matrix(x))
        return keras.ops.reshape(super().zeropower_via_newtonschulz5(flat, steps), x.shape)

    def lr_adjust(self, x: Any) -> Any:
        """An update with the size of an Adam step; it depends on the longer side of the matrix."""
        return x if self.rms_rate is None else x * max(_matrix(x)) ** 0.5 * self.rms_rate

    def get_config(self) -> dict[str, Any]:
        """What it is made of."""
        return {**super().get_config(), "last": self.last}


def _matrix(kernel: Any) -> tuple[int, int]:
    """Sides of a kernel as a matrix."""
    *inputs, outputs = (int(side) for side in kernel.shape)
    return math.prod(inputs), outputs
