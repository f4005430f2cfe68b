"""A signal in fixed point, as a layer between two others."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import keras
import numpy as np
from numpy.typing import ArrayLike, NDArray

from tf_structprune.fixed_point import RECTIFIED, Grid, SignalGrid, grid_config, grid_of
from tf_structprune.graph import Flow, LayerRule, register_rule
from tf_structprune.layers._rounding import OnGrid, rounded, saturated


@keras.saving.register_keras_serializable(package="tf_structprune")
class SignalQuantizer(OnGrid, keras.layers.Layer):  # type: ignore[misc]  # Keras is untyped
    """Rounds a signal to the numbers of a grid; passes it on as it is until calibrated.

    The layer is passive: `calibrate` and the callback decide on its calibration, which is a variable and is saved
    with the model.

    Args:
        bits: word length, see `SignalGrid`.
        kind: "rectified", "signed" or "measured", see `SignalGrid`.
        power_of_two: whether its step is a power of two.
        tied: quantizers with the same name here share one grid, as the inputs of a concatenation have to;
            "" for one of its own.
        grid: another grid than the one that the first three describe, or its `grid_config`.

    Raises:
        ValueError: settings that the grid does not have.
    """

    def __init__(
        self,
        *,
        bits: int = 8,
        kind: str = RECTIFIED,
        power_of_two: bool = True,
        tied: str = "",
        grid: Grid | Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.grid = SignalGrid(bits, kind, power_of_two) if grid is None else grid_of(grid)
        self.bits, self.kind, self.power_of_two, self.tied = self.grid.bits, kind, power_of_two, tied
        self.supports_masking = True
        self.fitted = self.add_weight(
            shape=self.grid.shape, initializer="zeros", trainable=False, name="grid", dtype="float32"
        )

    def call(self, inputs: Any) -> Any:
        """The signal on the grid, in the shape and type of the input."""
        calibration = keras.ops.convert_to_tensor(self.fitted)
        return rounded(saturated(inputs, self.grid, calibration), self.grid, calibration)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The input's."""
        return input_shape

    def fit(self, samples: ArrayLike) -> NDArray[np.float64]:
        """The calibration with the least squared error for samples of the signal; the layer is not changed.

        Args:
            samples: finite values that the signal took, any shape.
        """
        return self.grid.fit(samples)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "bits": self.bits,
            "kind": self.kind,
            "power_of_two": self.power_of_two,
            "tied": self.tied,
            "grid": None if type(self.grid) is SignalGrid else grid_config(self.grid),
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
