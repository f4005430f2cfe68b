"""What each output pixel of a layer reads, found by the layer's own code with a kernel that copies."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.graph import KernelView, core_layer, kernel_view, step_axes
from tf_structprune.layers import copy_of
from tf_structprune.observe._pixels import Pixels
from tf_structprune.reconstruct import few_rows

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
_DIGIT = 256  # of a pixel's number: smaller whole numbers are exact in every precision in which a backend convolves
MOST_INPUTS = 6144
"""Values that one output of a layer may read for its covariance to be taken, which needs 288 MiB then."""
MOST_BYTES = 8 * MOST_INPUTS**2
"""Memory of such a covariance, and what rows that take the place of one may need."""

_CHUNK = 2**20  # values at once, 4 MiB, of which a few copies are made

_Maps = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Takes what a layer reads, (samples, ...), and gives what its kernel is applied to, channels last."""
_Index = Callable[[tuple[int, ...]], NDArray[np.int64]]
"""Takes the shape of the pixels that are read, and gives those of each output, shape (output pixels, positions), as
numbers from 1 on, and 0 for what lies beyond the edge."""


@dataclass(frozen=True)
class Patches:
    """What the outputs of a layer read.

    Attributes:
        view: how the layer's kernel is read.
        steps: axes behind the batch axis that the layer does not see, one for each `TimeDistributed`.
        maps: what the kernel is applied to.
        index: which of its pixels each output reads.
    """

    view: KernelView
    steps: int
    maps: _Maps
    index: _Index

    @property
    def size(self) -> int:
        """Values that one output reads."""
        return self.view.positions * self.view.group_inputs

    def nbytes(self, rows: int) -> int:
        """Memory of the moments of so many rows, or of the rows where they are few."""
        return 4 * rows * self.size * self.view.groups if few_rows(rows, self.size) else self.covariance_bytes

    @property
    def covariance_bytes(self) -> int:
        """Memory of the covariances of what the outputs read."""
        return 8 * self.view.groups * self.size**2

    def of(self, x: NDArray[Any], chosen: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """What each pixel reads, shape (samples, pixels, groups, size); nothing is made of pixels that are not chosen.

        Position by position, and within one the input maps of the group.

        Args:
            x: what the layer reads, shape (samples, ...).
            chosen: output pixels of each sample, shape (samples, pixels); None for all.
        """
        maps = self._maps(x)
        index = self.index(maps.shape[1:-1])
        steps = len(maps) // len(x)
        if chosen is None:
            chosen = np.broadcast_to(np.arange(steps * len(index)), (len(x), steps * len(index)))
        step, pixel = np.divmod(chosen, len(index))
        image = np.arange(0, len(maps), steps)[:, None] + step
        found = _gathered(maps.reshape(len(maps), -1, maps.shape[-1]), image, index[pixel])
        found = found.reshape(*chosen.shape, self.view.positions, self.view.groups, self.view.group_inputs)
        return np.ascontiguousarray(found.transpose(0, 1, 3, 2, 4)).reshape(*chosen.shape, self.view.groups, -1)

    def pixels(self, x: NDArray[Any]) -> int:
        """Output pixels of a sample.

        Args:
            x: what the layer reads, shape (samples, ...), at least one.
        """
        first = self._maps(x[:1])
        return len(first) * len(self.index(first.shape[1:-1]))

    def parts(self, x: NDArray[Any], pixels: Pixels) -> Iterator[tuple[slice, NDArray[np.int64] | None]]:
        """Samples, as many as are to be in memory at once, and the pixels that are chosen of them, for `of`.

        Args:
            x: what the layer reads, shape (samples, ...).
            pixels: chooses.
        """
        each = self.pixels(x)
        values = max(x[0].size, pixels.count(each) * self.size * self.view.groups)
        step = max(1, _CHUNK // max(1, values))
        for start in range(0, len(x), step):
            part = slice(start, min(start + step, len(x)))
            yield part, pixels.choose(part.stop - start, each)

    def _maps(self, x: NDArray[Any]) -> NDArray[np.float32]:
        return self.maps(np.asarray(x, np.float32).reshape(-1, *x.shape[1 + self.steps :]))


def _gathered(maps: NDArray[np.float32], image: NDArray[np.int64], places: NDArray[np.int64]) -> NDArray[np.float32]:
    """Values of all maps at some places, shape (samples, pixels, positions, maps).

    Args:
        maps: shape (images, pixels, maps).
        image: shape (samples, pixels).
        places: pixels of it from 1 on, 0 for a zero, shape (samples, pixels, positions).
    """
    if (places == 0).any():
        maps = np.pad(maps, ((0, 0), (1, 0), (0, 0)))
    else:
        places = places - 1
    rows = image[..., None] * maps.shape[1] + places
    found: NDArray[np.float32] = np.take(maps.reshape(-1, maps.shape[-1]), rows, axis=0)
    return found


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
    maps: _Maps = _as_it_is
    index: _Index = _each_pixel
    if type(core) in _SEPARABLE:
        maps = _spread(core, view)
    elif type(core) in _COPIERS:
        maps, index = _channels_last(core), _each_position(core, view.positions)
    return Patches(view, step_axes(layer), maps, index)


def _as_it_is(x: NDArray[np.float32]) -> NDArray[np.float32]:
    return x


def _channels_last(core: Any) -> _Maps:
    return (lambda x: np.moveaxis(x, 1, -1)) if core.data_format == "channels_first" else _as_it_is


def _each_pixel(shape: tuple[int, ...]) -> NDArray[np.int64]:
    """An output for each pixel, which reads that one."""
    return np.arange(1, math.prod(shape) + 1)[:, None]


def _each_position(core: Any, positions: int) -> _Index:
    """Of an image of pixel numbers, by a kernel that has one output for each position and copies that."""
    kind = _COPIERS[type(core)]
    settings = {name: getattr(core, name) for name in _SETTINGS if hasattr(core, name)}
    layer = kind(positions, use_bias=False, data_format="channels_last", dtype="float32", **settings)
    ends = (positions, 1) if kind in _TRANSPOSED else (1, positions)
    kernel = np.eye(positions, dtype=np.float32).reshape(*core.kernel_size, *ends)

    @cache
    def index(shape: tuple[int, ...]) -> NDArray[np.int64]:
        numbers, worth = _each_pixel(shape).reshape(*shape, 1), [1]
        while worth[-1] * _DIGIT <= numbers.size:
            worth.append(worth[-1] * _DIGIT)
        digits = np.stack([numbers // each % _DIGIT for each in worth]).astype(np.float32)
        made = np.rint(_made(layer, [kernel], digits)).astype(np.int64).reshape(len(worth), -1, positions)
        return np.tensordot(worth, made, 1)

    return index


def _spread(core: Any, view: KernelView) -> _Maps:
    """The depthwise part of a separable convolution, whose outputs the pointwise part copies."""
    changes = {"filters": view.inputs, "use_bias": False, "activation": None, "dtype": "float32"}
    layer = copy_of(core, lambda config: config.update(changes, data_format="channels_last"))
    last, ones = _channels_last(core), (1,) * len(core.kernel_size)

    def maps(x: NDArray[np.float32]) -> NDArray[np.float32]:
        depthwise = keras.ops.convert_to_numpy(core.depthwise_kernel)
        pointwise = np.eye(view.inputs, dtype=np.float32).reshape(*ones, view.inputs, view.inputs)
        return _made(layer, [depthwise, pointwise], last(x))

    return maps


def _made(layer: Any, weights: list[NDArray[Any]], x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Outputs of a layer, which is built at first."""
    if not layer.built:
        layer.build(x.shape)
        layer.set_weights(weights)
    made: NDArray[np.float32] = keras.ops.convert_to_numpy(layer(x))
    return made
