"""The ResNet-8 of MLPerf Tiny, as thin as its weights are: for Keras, for tf_keras, and the names of its layers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

LAYERS = (
    *("conv2d", "batch_normalization", "conv2d_1", "batch_normalization_1", "conv2d_2", "batch_normalization_2"),
    *("conv2d_3", "batch_normalization_3", "conv2d_4", "conv2d_5", "batch_normalization_4"),
    *("conv2d_6", "batch_normalization_5", "conv2d_7", "conv2d_8", "batch_normalization_6", "dense"),
)
"""Layers with weights, in the order in which Keras has them."""
Weights = Mapping[str, Sequence[np.ndarray]]
"""Of each layer, as Keras has them."""


def resnet8(layers: Any, weights: Weights, *, scores: bool = True) -> Any:
    """The network with these weights.

    Args:
        layers: `keras` or `tf_keras`.
        weights: by layer.
        scores: with the softmax at its end.
    """
    kinds = layers.layers

    def convolution(name: str, x: Any, strides: int = 1) -> Any:
        size, _, _, outputs = weights[name][0].shape
        return kinds.Conv2D(outputs, size, strides=strides, padding="same", name=name)(x)

    def normalized(number: str, x: Any) -> Any:
        return kinds.BatchNormalization(name=f"batch_normalization{number}")(x)

    inputs = layers.Input((32, 32, 3))
    x = kinds.ReLU()(normalized("", convolution("conv2d", inputs)))
    y = kinds.ReLU()(normalized("_1", convolution("conv2d_1", x)))
    x = kinds.ReLU()(kinds.Add()([x, normalized("_2", convolution("conv2d_2", y))]))
    for first, second, around, norms in (("_3", "_4", "_5", ("_3", "_4")), ("_6", "_7", "_8", ("_5", "_6"))):
        y = kinds.ReLU()(normalized(norms[0], convolution(f"conv2d{first}", x, 2)))
        y = normalized(norms[1], convolution(f"conv2d{second}", y))
        x = kinds.ReLU()(kinds.Add()([convolution(f"conv2d{around}", x, 2), y]))
    x = kinds.Flatten()(kinds.AveragePooling2D(8)(x))
    outputs = kinds.Dense(10, activation="softmax" if scores else None, name="dense")(x)
    model = layers.Model(inputs, outputs, name="resnet8")
    for name in LAYERS:
        model.get_layer(name).set_weights(weights[name])
    return model


def weights_of(model: Any) -> dict[str, list[np.ndarray]]:
    """Weights of each layer."""
    return {name: [np.asarray(each) for each in model.get_layer(name).get_weights()] for name in LAYERS}


def flat(weights: Weights) -> dict[str, np.ndarray]:
    """As `np.savez` takes them."""
    return {f"{name}/{place}": each for name in LAYERS for place, each in enumerate(weights[name])}


def from_flat(arrays: Mapping[str, np.ndarray]) -> dict[str, list[np.ndarray]]:
    """What `flat` was made of."""
    return {name: [arrays[f"{name}/{at}"] for at in range(4) if f"{name}/{at}" in arrays] for name in LAYERS}
