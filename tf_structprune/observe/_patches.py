"""What each output pixel of a layer reads, found by the layer's own code with a kernel that copies."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.graph import KernelView, core_layer, kernel_view, step_axes
from tf_structprune.layers import copy_of

_L = keras.layers
_TRANSPOSED = (_L.Conv1DTranspose, _L.Conv2DTranspose, _L.Conv3DTranspose)
_COPIERS = {
    **{kind: kind for kind in (_L.Conv1D, _L.Conv2D, _L.Conv3D, *_TRANSPOSED)},
    _L.DepthwiseConv1D: _L.Conv1D,
    _L.DepthwiseConv2D: _L.Conv2D,
}
"""By class, the class that does the same to one map."""
_SEPARABLE = (_L.SeparableConv1D, _L.SeparableConv2D)
_SETTINGS = ("kernel_size", "strides", "padding", "dilation_rate", "output_padding")
MOST_INPUTS = 6144
"""Values that one output of a layer may read for its moments to be taken: their covariance needs 288 MiB then."""

_CHUNK = 2**22  # values at once, 16 MiB

_Copy = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Takes (samples, ...) and gives (samples, pixels, positions x maps)."""


@dataclass(frozen=True)
class Patches:
    """What the outputs of a layer read.

    Attributes:
        view: how the layer's kernel is read.
        steps: axes behind the batch axis that the layer does not see, one for each `TimeDistributed`.
        copy: gives what the outputs of some samples read.
    """

    view: KernelView
    steps: int
    copy: _Copy

    @property
    def size(self) -> int:
        """Values that one output reads."""
        return self.view.positions * self.view.group_inputs

    def of(self, x: NDArray[Any]) -> NDArray[np.float32]:
        """What each pixel reads, shape (samples, pixels, groups, size).

        Position by position, and within one the input maps of the group.

        Args:
            x: what the layer reads, shape (samples, ...).
        """
        merged = np.asarray(x, np.float32).reshape(-1, *x.shape[1 + self.steps :])
        found = self.copy(merged)
        found = found.reshape(len(x), -1, self.view.positions, self.view.groups, self.view.group_inputs)
        return np.ascontiguousarray(found.transpose(0, 1, 3, 2, 4)).reshape(*found.shape[:2], self.view.groups, -1)

    def parts(self, x: NDArray[Any]) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """As `of`, in parts of as many samples as are to be in memory at once, and which these are."""
        start, count = 0, 1
        while start < len(x):
            found = self.of(x[start : start + count])
            yield slice(start, start + len(found)), found
            start += len(found)
            count = max(1, _CHUNK * len(found) // max(1, found.size))


def patches_of(layer: Any, positions: int = 1) -> Patches | None:
    """What the outputs of a layer read; None of a layer that computes something unknown with its kernel.

    Args:
        layer: a built layer with a kernel, masked or not.
        positions: input features that one input map stands for, see `Channels`.
    """
    core = core_layer(layer)
    if type(core) is not _L.Dense and type(core) not in _SEPARABLE and type(core) not in _COPIERS:
        return None
    view = kernel_view(layer, positions)
    if type(core) is _L.Dense:
        copy: _Copy = _each_vector
    elif type(core) in _SEPARABLE:
        copy = _spread(core, view)
    else:
        copy = _each_position(core, view)
    return Patches(view, step_axes(layer), copy)


def _each_vector(x: NDArray[np.float32]) -> NDArray[np.float32]:
    return x.reshape(len(x), -1, x.shape[-1])


def _each_position(core: Any, view: KernelView) -> _Copy:
    """One map at a time, with a kernel that has one output for each position and copies that, however it is padded."""
    kind, first = _COPIERS[type(core)], core.data_format == "channels_first"
    settings = {name: getattr(core, name) for name in _SETTINGS if hasattr(core, name)}
    layer = kind(view.positions, use_bias=False, data_format="channels_last", dtype="float32", **settings)
    ends = (view.positions, 1) if kind in _TRANSPOSED else (1, view.positions)
    kernel = np.eye(view.positions, dtype=np.float32).reshape(*core.kernel_size, *ends)

    def copy(x: NDArray[np.float32]) -> NDArray[np.float32]:
        maps = x if first else np.moveaxis(x, -1, 1)
        each = np.ascontiguousarray(maps).reshape(-1, *maps.shape[2:], 1)
        made = _made(layer, [kernel], each).reshape(*maps.shape[:2], -1, view.positions)
        return np.ascontiguousarray(made.transpose(0, 2, 3, 1)).reshape(len(x), made.shape[2], -1)

    return copy


def _spread(core: Any, view: KernelView) -> _Copy:
    """The depthwise part of a separable convolution, whose outputs the pointwise part copies."""
    changes = {"filters": view.inputs, "use_bias": False, "activation": None, "dtype": "float32"}
    layer = copy_of(core, lambda config: config.update(changes, data_format="channels_last"))
    first = core.data_format == "channels_first"
    ones = (1,) * len(core.kernel_size)

    def copy(x: NDArray[np.float32]) -> NDArray[np.float32]:
        x = np.moveaxis(x, 1, -1) if first else x
        depthwise = keras.ops.convert_to_numpy(core.depthwise_kernel)
        pointwise = np.eye(view.inputs, dtype=np.float32).reshape(*ones, view.inputs, view.inputs)
        return _made(layer, [depthwise, pointwise], x).reshape(len(x), -1, view.inputs)

    return copy


def _made(layer: Any, weights: list[NDArray[Any]], x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Outputs of a layer, which is built at first."""
    if not layer.built:
        layer.build(x.shape)
        layer.set_weights(weights)
    made: NDArray[np.float32] = keras.ops.convert_to_numpy(layer(x))
    return made
