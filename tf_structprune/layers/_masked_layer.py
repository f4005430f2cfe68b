"""The wrapper layer: non-trainable mask variables that multiply one layer's kernel."""

from collections.abc import Sequence
from typing import Any, Self

import keras
import numpy as np
from keras import ops

from tf_structprune.channels import ChannelLimits, input_of_kernel
from tf_structprune.graph import KernelView, TransparentWrapper, core_layer, kernel_variable, kernel_view
from tf_structprune.layers._pull import Pull
from tf_structprune.layers._rounding import straight_through
from tf_structprune.masks import (
    FEATURE_MAP,
    INTRA_KERNEL,
    KEEP_ON_GRID,
    KERNEL,
    POLARITIES,
    WEIGHT,
    check_granularity,
)


@keras.saving.register_keras_serializable(package="tf_structprune")
class MaskedLayer(TransparentWrapper):
    """A convolution or dense layer whose kernel is multiplied by masks.

    The wrapper is passive: it holds masks and applies them, a callback decides on them. The masks
    are variables, so they are saved, restored and checkpointed with the model.

    Args:
        layer: the convolution or dense layer.
        granularity: granularities whose masks it holds.
        prunable: whether kernel, intra-kernel and weight masks apply; a kept layer (first convolution,
            classifier) still loses the inputs whose producers were pruned.
        positions: input features a map stands for, see `graph.Channels`.
        polarity: meaning of the intra-kernel pattern, see `masks.positions_kept`.
        limits: (round_to, min_channels, channel_block), see `graph.ChannelLimits`.
        pulled: whether its kernel can be pulled towards a target, as ADMM does, see `Pull`.

    Attributes:
        pruned_learn: whether pruned weights keep their gradients, see `let_pruned_learn`; it is not saved.

    Raises:
        ValueError: an unknown granularity or polarity.
    """

    limits: ChannelLimits
    pruned_learn: bool = False

    def __init__(
        self,
        layer: keras.layers.Layer,
        *,
        granularity: Sequence[str] = (FEATURE_MAP,),
        prunable: bool = True,
        positions: int = 1,
        polarity: str = KEEP_ON_GRID,
        limits: Sequence[int] = (1, 1, 1),
        pulled: bool = False,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("name", layer.name)
        kwargs.setdefault("dtype", layer.dtype_policy)
        super().__init__(layer, **kwargs)
        self.activity_regularizer = core_layer(layer).activity_regularizer  # of the outputs, which the wrapper gives
        if polarity not in POLARITIES:
            raise ValueError(
                f"Layer '{layer.name}': unknown polarity. Received: polarity={polarity!r}. "
                f"Use one of: {', '.join(POLARITIES)}."
            )
        self.granularity = tuple(check_granularity(kind) for kind in granularity)
        self.prunable = prunable
        self.positions = positions
        self.polarity = polarity
        self.limits = ChannelLimits(*limits)
        self.pulled = pulled
        self.input_keep: Any = None
        self.output_keep: Any = None
        self.kernel_keep: Any = None
        self.pattern: Any = None
        self.weight_keep: Any = None
        self.pull_target: Any = None
        self.pull_dual: Any = None
        self.pull_rho: Any = None

    def build(self, input_shape: Any = None) -> None:
        """Build the wrapped layer and masks that keep everything."""
        super().build(input_shape)
        view = self._view()
        if FEATURE_MAP in self.granularity:
            self.input_keep = self._mask("input_keep", (view.inputs,))
            self.output_keep = self._mask("output_keep", (view.outputs,))
        if KERNEL in self.granularity and self.prunable:
            self.kernel_keep = self._mask("kernel_keep", (view.group_inputs, view.outputs))
        if INTRA_KERNEL in self.granularity and self.prunable and view.positions > 1:
            self.pattern = self.add_weight(
                shape=(view.inputs, 2), dtype="int32", initializer=_keep_all, trainable=False, name="pattern"
            )
        if WEIGHT in self.granularity and self.prunable:
            self.weight_keep = self._mask("weight_keep", view.view_shape)
        if self.pulled:
            self._make_pull()

    def call(self, inputs: Any) -> Any:
        """The wrapped layer's output with the masked kernel."""
        return self.called_with({id(self.kernel_variable): self.masked_variable()}, inputs)

    def effective_kernel(self, variable: Any = None) -> Any:
        """The kernel with the masks applied and rounded if it is, shape and layout of the wrapped layer's kernel."""
        masked = self.masked_variable(variable)
        return self.layer.effective_kernel(masked) if isinstance(self.layer, TransparentWrapper) else masked

    def masked_variable(self, variable: Any = None) -> Any:
        """The kernel variable (or values in its place) with the masks applied."""
        kernel = ops.convert_to_tensor(self.kernel_variable if variable is None else variable)
        mask = self._composed_mask()
        if mask is None:
            return kernel
        view = self._view()
        full = view.restore(ops.broadcast_to(mask, view.view_shape), ops)
        kept = ops.where(full, kernel, ops.zeros_like(kernel))
        return straight_through(kernel, kept, on=True) if self.pruned_learn else kept

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "granularity": list(self.granularity),
            "prunable": self.prunable,
            "positions": self.positions,
            "polarity": self.polarity,
            "limits": [self.limits.round_to, self.limits.min_channels, self.limits.channel_block],
            "pulled": self.pulled,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Self:
        """The layer of a configuration, which is not changed."""
        layer: Self = super().from_config(dict(config), custom_objects)
        return layer

    def _view(self) -> KernelView:
        return kernel_view(self, self.positions)

    @property
    def kernel_variable(self) -> Any:
        """The variable that is masked."""
        return kernel_variable(self)

    def _mask(self, name: str, shape: tuple[int, ...]) -> Any:
        return self.add_weight(shape=shape, dtype="bool", initializer="ones", trainable=False, name=name)

    def _make_pull(self) -> None:
        """Target, dual variable and weight of the pull; it does nothing until the weight is set."""
        kernel = self.kernel_variable
        shape = tuple(kernel.shape)
        self.pull_target, self.pull_dual, self.pull_rho = (
            self.add_weight(shape=size, dtype="float32", initializer="zeros", trainable=False, name=name)
            for name, size in (("pull_target", shape), ("pull_dual", shape), ("pull_rho", ()))
        )
        kernel.regularizer = Pull(self, kernel.regularizer)

    def _composed_mask(self) -> Any:
        """All masks combined, broadcastable to (positions, group inputs, outputs); None without any."""
        parts = []
        if self.input_keep is not None:
            parts.append(self._by_kernel(ops.expand_dims(self.input_keep, 0)))
            parts.append(ops.expand_dims(self.output_keep, (0, 1)))
        if self.kernel_keep is not None:
            parts.append(ops.expand_dims(self.kernel_keep, 0))
        if self.pattern is not None:
            parts.append(self._by_kernel(self._positions_mask()))
        if self.weight_keep is not None:
            parts.append(ops.convert_to_tensor(self.weight_keep))
        mask = None
        for part in parts:
            mask = part if mask is None else ops.logical_and(mask, part)
        return mask

    def _by_kernel(self, by_input: Any) -> Any:
        """(positions, inputs) as (positions, group inputs, outputs), or 1 for outputs without groups."""
        view = self._view()
        if view.groups == 1:
            return ops.expand_dims(by_input, -1)
        return ops.take(by_input, input_of_kernel(view.inputs, view.outputs, view.groups), axis=1)

    def _positions_mask(self) -> Any:
        """`masks.positions_kept` of the pattern variable, in the backend's operations."""
        stride, offset = ops.unstack(ops.convert_to_tensor(self.pattern), axis=1)
        index = np.arange(self._view().positions, dtype=np.int32)[:, None]
        behind = ops.subtract(index, offset)
        on_grid = ops.logical_and(behind >= 0, ops.equal(ops.mod(behind, stride), 0))
        if self.polarity == KEEP_ON_GRID:
            return on_grid  # all of it for the dense pattern, stride 1 and offset 0
        dense = ops.logical_and(ops.equal(stride, 1), ops.equal(offset, 0))
        return ops.logical_or(ops.logical_not(on_grid), dense)


def _keep_all(shape: Sequence[int], dtype: Any = None) -> Any:
    """Patterns (stride 1, offset 0)."""
    return ops.tile(ops.convert_to_tensor([[1, 0]], dtype), (shape[0], 1))
