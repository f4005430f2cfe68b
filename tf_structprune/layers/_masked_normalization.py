"""A normalization over the channels that are kept."""

from typing import Any, Self

import keras
from keras import ops

from tf_structprune.graph import TransparentWrapper


@keras.saving.register_keras_serializable(package="tf_structprune")
class MaskedNormalization(TransparentWrapper):
    """A layer that normalizes each position over its channels, removed channels not counted.

    In a plain `LayerNormalization` a removed channel would still shift the mean and the variance of
    the others, so the shrunk model would compute something else. Here they are taken over the
    kept channels alone; with all channels kept it is the wrapped layer.

    Args:
        layer: a `LayerNormalization`, `RMSNormalization` or `UnitNormalization` over the channel axis.
    """

    def __init__(self, layer: keras.layers.Layer, **kwargs: Any) -> None:
        kwargs.setdefault("name", layer.name)
        kwargs.setdefault("dtype", layer.dtype_policy)
        super().__init__(layer, **kwargs)
        self.activity_regularizer = layer.activity_regularizer  # of the outputs, which the wrapper gives
        self.keep: Any = None

    def build(self, input_shape: Any = None) -> None:
        """Build the wrapped layer and a mask that keeps every channel."""
        super().build(input_shape)
        self.keep = self.add_weight(
            shape=(input_shape[self._axis(len(input_shape))],),
            dtype="bool",
            initializer="ones",
            trainable=False,
            name="keep",
        )

    def call(self, inputs: Any) -> Any:
        """The normalized input; removed channels give finite values that nobody reads."""
        rank = len(inputs.shape)
        axis = self._axis(rank)
        along = [-1 if at == axis else 1 for at in range(rank)]
        keep = ops.reshape(ops.cast(self.keep, "float32"), along)
        x = _NORMALIZERS[type(self.layer)](ops.cast(inputs, "float32"), keep, axis, self.layer)
        for name in ("gamma", "scale"):
            factor = getattr(self.layer, name, None)
            if isinstance(factor, keras.Variable):
                x = x * ops.reshape(ops.cast(factor, "float32"), along)
        beta = getattr(self.layer, "beta", None)
        x = x if beta is None else x + ops.reshape(ops.cast(beta, "float32"), along)
        return ops.cast(x, self.compute_dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The input's."""
        return input_shape

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Self:
        """The layer of a configuration, which is not changed."""
        layer: Self = super().from_config(dict(config), custom_objects)
        return layer

    def _axis(self, rank: int) -> int:
        axis = self.layer.axis
        return int(axis[0] if isinstance(axis, (list, tuple)) else axis) % rank


def _layer_normalization(x: Any, keep: Any, axis: int, layer: Any) -> Any:
    mean = ops.sum(x * keep, axis=axis, keepdims=True) / ops.sum(keep)
    return _rms_normalization(x - mean, keep, axis, layer)


def _rms_normalization(x: Any, keep: Any, axis: int, layer: Any) -> Any:
    square = ops.sum(ops.square(x) * keep, axis=axis, keepdims=True) / ops.sum(keep)
    return x * ops.rsqrt(square + layer.epsilon)


def _unit_normalization(x: Any, keep: Any, axis: int, layer: Any) -> Any:
    del layer
    square = ops.sum(ops.square(x) * keep, axis=axis, keepdims=True)
    return x * ops.minimum(ops.rsqrt(square), 1e12)  # the bound that Keras's UnitNormalization has


_NORMALIZERS = {
    keras.layers.LayerNormalization: _layer_normalization,
    keras.layers.RMSNormalization: _rms_normalization,
    keras.layers.UnitNormalization: _unit_normalization,
}
