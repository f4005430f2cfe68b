"""The wrapper layer: non-trainable mask variables that multiply one layer's kernel."""

import math
from collections.abc import Sequence
from typing import Any, Self

import keras
from keras import ops

from tf_structprune.graph import TransparentWrapper
from tf_structprune.masks import (
    FEATURE_MAP,
    INTRA_KERNEL,
    KEEP_ON_GRID,
    KERNEL,
    POLARITIES,
    check_granularity,
)


@keras.saving.register_keras_serializable(package="tf_structprune")
class MaskedLayer(TransparentWrapper):
    """A convolution or dense layer whose kernel is multiplied by masks.

    The wrapper is passive: it holds masks and applies them, a callback decides on them. The masks
    are variables, so they are saved, restored and checkpointed with the model.

    Args:
        layer: the `Conv2D` or `Dense` layer.
        granularity: granularities whose masks it holds.
        prunable: whether kernel and intra-kernel masks apply; a kept layer (first convolution,
            classifier) still loses the inputs whose producers were pruned.
        positions: input features a map stands for, see `graph.Channels`.
        polarity: meaning of the intra-kernel pattern, see `masks.positions_kept`.

    Raises:
        ValueError: an unknown granularity or polarity.
    """

    def __init__(
        self,
        layer: keras.layers.Layer,
        *,
        granularity: Sequence[str] = (FEATURE_MAP,),
        prunable: bool = True,
        positions: int = 1,
        polarity: str = KEEP_ON_GRID,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("name", layer.name)
        kwargs.setdefault("dtype", layer.dtype_policy)
        super().__init__(layer, **kwargs)
        if polarity not in POLARITIES:
            raise ValueError(
                f"Layer '{layer.name}': unknown polarity. Received: polarity={polarity!r}. "
                f"Use one of: {', '.join(POLARITIES)}."
            )
        self.granularity = tuple(check_granularity(kind) for kind in granularity)
        self.prunable = prunable
        self.positions = positions
        self.polarity = polarity
        self.input_keep: Any = None
        self.output_keep: Any = None
        self.kernel_keep: Any = None
        self.pattern: Any = None

    def build(self, input_shape: Any = None) -> None:
        """Build the wrapped layer and masks that keep everything."""
        super().build(input_shape)
        positions, inputs, outputs = self._kernel_view()
        if FEATURE_MAP in self.granularity:
            self.input_keep = self._mask("input_keep", (inputs,))
            self.output_keep = self._mask("output_keep", (outputs,))
        if KERNEL in self.granularity and self.prunable:
            self.kernel_keep = self._mask("kernel_keep", (inputs, outputs))
        if INTRA_KERNEL in self.granularity and self.prunable and positions > 1:
            self.pattern = self.add_weight(
                shape=(inputs, 2), dtype="int32", initializer=_keep_all, trainable=False, name="pattern"
            )

    def call(self, inputs: Any) -> Any:
        """The wrapped layer's output with the masked kernel."""
        kernel = self.layer.kernel
        values = {id(kernel): self.effective_kernel()}
        trainable = [values.get(id(v), v.value) for v in self.layer.trainable_variables]
        fixed = [values.get(id(v), v.value) for v in self.layer.non_trainable_variables]
        outputs, _ = self.layer.stateless_call(trainable, fixed, inputs)
        return outputs

    def effective_kernel(self) -> Any:
        """The kernel with the masks applied, shape and layout of the wrapped layer's kernel."""
        kernel = ops.convert_to_tensor(self.layer.kernel)
        mask = self._composed_mask()
        if mask is None:
            return kernel
        full = ops.reshape(ops.broadcast_to(mask, self._kernel_view()), ops.shape(kernel))
        return ops.where(full, kernel, ops.zeros_like(kernel))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """As the wrapped layer's."""
        return self.layer.compute_output_shape(input_shape)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "granularity": list(self.granularity),
            "prunable": self.prunable,
            "positions": self.positions,
            "polarity": self.polarity,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Self:
        """The layer of a configuration, which is not changed."""
        layer: Self = super().from_config(dict(config), custom_objects)
        return layer

    def _kernel_view(self) -> tuple[int, int, int]:
        """The kernel as (positions, inputs, outputs)."""
        shape = tuple(int(size) for size in self.layer.kernel.shape)
        positions = math.prod(shape[:-2]) * self.positions
        return positions, math.prod(shape) // (positions * shape[-1]), shape[-1]

    def _mask(self, name: str, shape: tuple[int, ...]) -> Any:
        return self.add_weight(shape=shape, dtype="bool", initializer="ones", trainable=False, name=name)

    def _composed_mask(self) -> Any:
        """All masks combined, broadcastable to (positions, inputs, outputs); None without any."""
        parts = []
        if self.input_keep is not None:
            parts.append(ops.convert_to_tensor(self.input_keep)[None, :, None])
            parts.append(ops.convert_to_tensor(self.output_keep)[None, None, :])
        if self.kernel_keep is not None:
            parts.append(ops.convert_to_tensor(self.kernel_keep)[None, :, :])
        if self.pattern is not None:
            parts.append(self._positions_mask()[:, :, None])
        mask = None
        for part in parts:
            mask = part if mask is None else ops.logical_and(mask, part)
        return mask

    def _positions_mask(self) -> Any:
        """`masks.positions_kept` of the pattern variable, in the backend's operations."""
        pattern = ops.convert_to_tensor(self.pattern)
        stride, offset = pattern[None, :, 0], pattern[None, :, 1]
        index = ops.arange(self._kernel_view()[0], dtype="int32")[:, None]
        on_grid = ops.logical_and(index >= offset, ops.equal(ops.mod(index - offset, stride), 0))
        dense = ops.logical_and(ops.equal(stride, 1), ops.equal(offset, 0))
        kept = on_grid if self.polarity == KEEP_ON_GRID else ops.logical_not(on_grid)
        return ops.logical_or(kept, dense)


def _keep_all(shape: Sequence[int], dtype: Any = None) -> Any:
    """Patterns (stride 1, offset 0)."""
    return ops.tile(ops.convert_to_tensor([[1, 0]], dtype), (shape[0], 1))
