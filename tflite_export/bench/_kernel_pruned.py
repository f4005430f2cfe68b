"""The kernel-pruned convolutions of a Keras model and what they would multiply."""

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.graph import LayerCall, list_calls
from tflite_export.bench._multiplications import LayerMultiplications, Size, count_multiplications


def kernel_pruned_multiplications(model: keras.Model) -> tuple[LayerMultiplications, ...]:
    """Counts the multiplications of the convolutions from which kernels were removed.

    A kernel that is exactly zero is taken for removed. Counted are plain `Conv2D` layers in one group on maps of
    a fixed size; a layer that is called twice has two rows. See `count_multiplications` for what is counted.

    Args:
        model: a plain model, as `shrink` leaves it; nested models are entered.

    Returns:
        One row a call of a layer with a removed kernel, in topological order.

    Raises:
        TypeError, ValueError: a model that cannot be read, see `graph.list_calls`.
    """
    found = (_counted(call) for call in list_calls(model).calls if _is_plain(call))
    return tuple(row for row in found if row.kept_kernels < row.kernels)


def _is_plain(call: LayerCall) -> bool:
    layer = call.layer
    plain = type(layer) is keras.layers.Conv2D and layer.groups == 1
    return plain and None not in call.input_shapes[0][1:]


def _counted(call: LayerCall) -> LayerMultiplications:
    layer, shape = call.layer, call.input_shapes[0]
    alive: NDArray[np.bool_] = np.any(keras.ops.convert_to_numpy(layer.kernel) != 0, axis=(0, 1))
    return count_multiplications(
        call.name,
        alive,
        kernel_size=layer.kernel_size,
        input_size=_map_size(layer, shape),
        output_size=_map_size(layer, layer.compute_output_shape(shape)),
        strides=layer.strides,
        dilation_rate=layer.dilation_rate,
    )


def _map_size(layer: Any, shape: tuple[Any, ...]) -> Size:
    height, width = shape[1:3] if layer.data_format == "channels_last" else shape[2:4]
    return int(height), int(width)
