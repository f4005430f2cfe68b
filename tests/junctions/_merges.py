"""Junctions of two or more tensors, Keras operators and keras.ops functions."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from tests.junctions._net import Junction, conv, layer, linear, net

_L = keras.layers
_BOTH = ("before", "left", "right", "after")


def _merge(merge: Callable[[list[Any]], Any], *, left: int = 9, right: int = 9, rank: int = 2) -> Junction:
    """Two convolutions of the same tensor, merged."""
    return net(lambda x: merge([linear(x, left, "left"), linear(x, right, "right", 1)]), rank=rank, prunable=_BOTH)


def _three(x: Any) -> Any:
    return _L.Add()([linear(x, 9, "left"), linear(x, 9, "right", 1), linear(x, 9, "middle")])


def _identity(x: Any) -> Any:
    return _L.ReLU()(_L.Add()([x, linear(conv(x, 9, "wide"), 8, "narrow", 1)]))


def _concatenate_then_add(x: Any) -> Any:
    both = _L.Concatenate()([linear(x, 4, "left"), linear(x, 5, "right"), x])
    return _L.Add()([_L.BatchNormalization()(both), linear(x, 17, "short")])


def _concatenate_behind_poolings(x: Any) -> Any:
    left = _L.GlobalAveragePooling2D()(conv(x, 9, "left"))
    return _L.Concatenate()([left, _L.GlobalMaxPooling2D()(conv(x, 5, "right"))])


def _squeeze_excite(x: Any) -> Any:
    gate = _L.Dense(3, activation="relu", name="squeeze")(_L.GlobalAveragePooling2D()(x))
    gate = _L.Dense(8, activation="sigmoid", name="excite")(gate)
    return _L.Multiply()([x, _L.Reshape((1, 1, 8))(gate)])


def _squeeze_excite_maps(x: Any) -> Any:
    gate = conv(_L.GlobalAveragePooling2D(keepdims=True)(x), 3, "squeeze", 1)
    return _L.Multiply()([conv(gate, 8, "excite", 1, activation="hard_sigmoid"), x])


def _squeeze_excite_vector(x: Any) -> Any:
    """Multiply brings a vector to the rank of the maps by itself."""
    gate = _L.Dense(8, activation="sigmoid", name="excite")(_L.GlobalAveragePooling2D()(x))
    return _L.Multiply()([x, gate])


def _spatial_gate(x: Any) -> Any:
    return _L.Multiply()([x, conv(x, 1, "gate", activation="sigmoid")])


def _statistics_gate(x: Any) -> Any:
    """The spatial attention of CBAM: it reads the mean and the maximum of all channels."""
    parts = [ops.mean(x, axis=-1, keepdims=True), ops.max(x, axis=-1, keepdims=True)]
    return conv(x * conv(_L.Concatenate()(parts), 1, "gate", activation="sigmoid"), 5, "later")


def _matrix_product(x: Any) -> Any:
    """Products of all pairs of channels, by `Dot` over the pixels."""
    left, right = (_L.Reshape((36, 8))(conv(x, 8, name)) for name in ("left", "right"))
    return _L.Dense(5, name="later")(_L.Flatten()(_L.Dot(axes=1)([left, right])))


def _halves(x: Any) -> Any:
    left, right = ops.split(x, 2, axis=-1)
    return _L.Add()([linear(left, 9, "left"), linear(right, 9, "right")])


def _parts(x: Any) -> Any:
    left, middle, right = ops.split(x, [3, 5], axis=-1)
    return _L.Concatenate()([linear(left, 9, "left"), middle, linear(right, 4, "right")])


def _slices(x: Any) -> Any:
    """Two slices that share channels."""
    return _L.Concatenate()([linear(x[..., :5], 9, "left"), linear(x[..., 3:], 4, "right")])


def _shuffle(x: Any) -> Any:
    """The channel shuffle of ShuffleNet: (groups, n) becomes (n, groups)."""
    x = ops.transpose(ops.reshape(x, (-1, 6, 6, 2, 4)), (0, 1, 2, 4, 3))
    return ops.reshape(x, (-1, 6, 6, 8))


def _shuffle_layers(x: Any) -> Any:
    return _L.Reshape((6, 6, 8))(_L.Permute((1, 2, 4, 3))(_L.Reshape((6, 6, 2, 4))(x)))


def _stack(x: Any) -> Any:
    return ops.max(ops.stack([linear(x, 9, "left"), linear(x, 9, "right")], axis=1), axis=1)


def _as_sequence(x: Any) -> Any:
    """A row of pixels as a sequence and back, as models with 1D data on 2D layers have it."""
    return ops.expand_dims(conv(ops.squeeze(_L.AveragePooling2D((6, 1))(x), axis=1), 5, "sequence"), axis=2)


def _padded_channels(x: Any) -> Any:
    """The shortcut of the first ResNets: channels of zeros for those that are missing."""
    return ops.pad(x, [[0, 0], [0, 0], [0, 0], [0, 4]]) + linear(x, 12, "wide")


def _pixels_to_channels(x: Any) -> Any:
    """Space to depth: four pixels of a channel become four channels."""
    x = ops.transpose(ops.reshape(x, (-1, 3, 2, 3, 2, 8)), (0, 1, 3, 2, 4, 5))
    return ops.reshape(x, (-1, 3, 3, 32))


def _functions(x: Any) -> Any:
    x = ops.relu(x) + ops.multiply(ops.sigmoid(x), 0.5)
    return ops.clip(ops.leaky_relu(x - 0.2), -2.0, 2.0) + ops.abs(x) - ops.square(x) / 4


def _operators(x: Any) -> Any:
    return (2 - x * 2 - 1) / 3 + -x + x**2


def _pixel_means(x: Any) -> Any:
    return ops.concatenate([ops.mean(x, axis=(1, 2)), ops.max(x, axis=[1, 2])], axis=-1)


def _matmul(x: Any) -> Any:
    weights = np.random.default_rng(5).normal(0, 0.4, (8, 6)).astype(np.float32)
    return conv(ops.matmul(x, weights), 5, "later")


SCALES = np.linspace(-1, 2, 8).astype(np.float32)
MERGES: dict[str, Junction] = {
    "add": _merge(layer(_L.Add)),
    "add_identity": net(_identity, prunable=("before", "wide", "narrow", "after")),
    "add_three": net(_three, prunable=(*_BOTH, "middle")),
    "add_itself": net(lambda x: _L.Add()([x, x])),
    "subtract": _merge(layer(_L.Subtract)),
    "multiply": _merge(layer(_L.Multiply)),
    "average": _merge(layer(_L.Average)),
    "maximum": _merge(layer(_L.Maximum)),
    "minimum": _merge(layer(_L.Minimum)),
    "squeeze_excite": net(_squeeze_excite, prunable=("before", "squeeze", "excite", "after")),
    "squeeze_excite_maps": net(_squeeze_excite_maps, prunable=("before", "squeeze", "excite", "after")),
    "squeeze_excite_vector": net(_squeeze_excite_vector, prunable=("before", "excite", "after")),
    "spatial_gate": net(_spatial_gate),
    "statistics_gate": net(_statistics_gate, prunable=("later", "after")),
    "dot": net(_matrix_product, prunable=("later", "after")),
    "concatenate": _merge(layer(_L.Concatenate), left=4),
    "concatenate_1d": _merge(layer(_L.Concatenate), left=5, rank=1),
    "concatenate_3d": _merge(layer(_L.Concatenate, axis=4), left=5, rank=3),
    "concatenate_along_height": _merge(layer(_L.Concatenate, axis=1)),
    "concatenate_itself": net(lambda x: _L.Concatenate()([x, x, x])),
    "concatenate_then_add": net(_concatenate_then_add, prunable=("before", "left", "right", "short", "after")),
    "concatenate_behind_poolings": net(_concatenate_behind_poolings, prunable=_BOTH),
    "operator_add": _merge(lambda pair: pair[0] + pair[1]),
    "operator_subtract": _merge(lambda pair: pair[0] - pair[1]),
    "operator_multiply": _merge(lambda pair: pair[0] * pair[1]),
    "operator_divide": _merge(lambda pair: pair[0] / (1.5 + ops.tanh(pair[1]))),
    "operators_with_numbers": net(_operators),
    "operator_with_a_vector": net(lambda x: x * SCALES + 0.5),
    "operator_with_a_number_array": net(lambda x: x * np.float32(0.5)),
    "ops_functions": net(_functions),
    "ops_add": _merge(lambda pair: ops.maximum(ops.add(*pair), ops.subtract(*pair))),
    "ops_concatenate": _merge(lambda pair: ops.concatenate(pair, axis=-1), left=4),
    "ops_concatenate_along_width": _merge(lambda pair: ops.concatenate(pair, axis=2)),
    "ops_mean": net(_pixel_means),
    "ops_split": net(_halves, prunable=_BOTH),
    "ops_split_at": net(_parts, prunable=_BOTH),
    "ops_flip_pixels": net(lambda x: ops.flip(x, axis=2)),
    "ops_pad": net(lambda x: ops.pad(x, [[0, 0], [1, 2], [0, 1], [0, 0]])),
    "ops_pad_channels": net(_padded_channels, prunable=("after",)),
    "ops_stack": net(_stack, prunable=_BOTH),
    "ops_expand_dims": net(_as_sequence, prunable=("before", "sequence", "after")),
    "ops_softmax": net(lambda x: conv(ops.softmax(x, axis=-1) * 8, 5, "later"), prunable=("later", "after")),
    "ops_matmul": net(_matmul, prunable=("later", "after")),
    "slice_channels": net(lambda x: x[..., :4]),
    "slice_last_channels": net(lambda x: x[:, :, :, -5:]),
    "slice_every_other_channel": net(lambda x: x[..., ::2]),
    "slices_that_overlap": net(_slices, prunable=_BOTH),
    "slice_pixels": net(lambda x: x[:, ::2]),
    "slice_row": net(lambda x: x[:, 0]),
    "slice_one_channel": net(lambda x: x * x[..., :1], prunable=("after",)),
    "channel_shuffle": net(_shuffle),
    "channel_shuffle_layers": net(_shuffle_layers),
    "space_to_depth": net(_pixels_to_channels),
}
