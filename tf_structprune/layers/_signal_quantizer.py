"""A signal in fixed point, as a layer between two others."""

from collections.abc import Sequence
from typing import Any, Self

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike, NDArray

from tf_structprune.fixed_point import SIGNED_SIGNAL_BITS, optimal_step, word_range
from tf_structprune.graph import Flow, LayerRule, register_rule
from tf_structprune.layers._rounding import rounded, saturated

RECTIFIED, SIGNED, MEASURED = "rectified", "signed", "measured"
KINDS = (RECTIFIED, SIGNED, MEASURED)


@keras.saving.register_keras_serializable(package="tf_structprune")
class SignalQuantizer(keras.layers.Layer):  # type: ignore[misc]  # Keras is untyped
    """Rounds a signal to multiples of a step, from `smallest` to `largest`; passes it on as it is until calibrated.

    The layer is passive: `calibrate` and the callback decide on its grid, which is a variable and is saved
    with the model.

    Args:
        bits: word length; 8 unless the signal is rectified.
        kind: "rectified" signals are never negative and take the integers 0 to `2**bits - 1`; "signed" ones
            -128 to 127, all of int8; "measured" ones, such as the input, 0 to 255 if the samples are never
            negative, else as signed ones.
        power_of_two: whether its step is a power of two.
        tied: quantizers with the same name here share one grid, as the inputs of a concatenation have to;
            "" for one of its own.

    Raises:
        ValueError: an unknown kind, or a word length that the kind does not have.
    """

    def __init__(
        self, *, bits: int = 8, kind: str = RECTIFIED, power_of_two: bool = True, tied: str = "", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if kind not in KINDS:
            raise ValueError(f"Layer '{self.name}': unknown kind. Received: kind={kind!r}. Use: {', '.join(KINDS)}.")
        word_range(bits, signed=False)
        if kind != RECTIFIED and bits != SIGNED_SIGNAL_BITS:
            raise ValueError(
                f"Layer '{self.name}': a {kind} signal has {SIGNED_SIGNAL_BITS} bits, for int8 saturates at one end "
                f"only of a shorter signed word. Received: bits={bits}."
            )
        self.bits, self.kind, self.power_of_two, self.tied = bits, kind, power_of_two, tied
        self.supports_masking = True
        self.grid = self.add_weight(shape=(3,), initializer="zeros", trainable=False, name="grid", dtype="float32")

    def call(self, inputs: Any) -> Any:
        """The signal on the grid, in the shape and type of the input."""
        step, smallest, largest = (self.grid[at] for at in range(3))
        grid = [ops.cast(value, inputs.dtype) for value in (step, smallest, largest)]
        return rounded(saturated(inputs, *grid), *grid, symmetric=False)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The input's."""
        return input_shape

    @property
    def calibrated(self) -> bool:
        """Whether it has a grid."""
        return self.values()[0] > 0

    def values(self) -> tuple[float, int, int]:
        """Step, smallest and largest multiple; the step is 0 until calibrated."""
        step, smallest, largest = np.asarray(keras.ops.convert_to_numpy(self.grid), np.float64).tolist()
        return step, int(smallest), int(largest)

    def set_values(self, step: float, smallest: int, largest: int) -> None:
        """Set the grid, all of it at once."""
        self.grid.assign(np.array([step, smallest, largest], np.float32))

    def fit(self, samples: ArrayLike) -> tuple[float, int, int]:
        """The grid with the least squared error for samples of the signal; the layer is not changed.

        Args:
            samples: finite values that the signal took, any shape.

        Returns:
            Step, smallest and largest multiple.
        """
        real: NDArray[Any] = np.asarray(samples)
        unsigned = self.kind == RECTIFIED or (self.kind == MEASURED and not (real < 0).any())
        step = float(optimal_step(real, self.bits, power_of_two=self.power_of_two, signed=not unsigned))
        return (step, 0, 2**self.bits - 1) if unsigned else (step, -128, 127)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "bits": self.bits,
            "kind": self.kind,
            "power_of_two": self.power_of_two,
            "tied": self.tied,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """The layer of a configuration, which is not changed."""
        return cls(**dict(config))


register_rule(SignalQuantizer, LayerRule(Flow.FOLLOW, weight_axes={"grid": ("",)}))


def tied_together(layers: Sequence[SignalQuantizer]) -> list[list[SignalQuantizer]]:
    """The quantizers that share a grid, in their order."""
    groups: dict[str, list[SignalQuantizer]] = {}
    for layer in layers:
        groups.setdefault(layer.tied or f"\0{layer.name}", []).append(layer)
    return list(groups.values())
