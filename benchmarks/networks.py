"""The reference networks of the papers and of MLPerf Tiny, built in one place for every benchmark.

Shapes: Anwar and Sung, arXiv 1610.09639, table of networks; `C5` is a 5x5 convolution, every
convolution of the MNIST networks is followed by a 2x2 max pool while its map is larger than one pixel.
MP is a 3x3 max pool of stride 2. ResNet-8 and MobileNetV1: github.com/mlcommons/tiny, image
classification and visual wake words.

The networks whose latency is measured are built of Keras 3 or, for tfmot, of tf_keras: same layers, same
names, same weights. Their softmax is a layer of its own, so that logits can be compared.
"""

from types import ModuleType
from typing import Any

import keras
import numpy as np
from keras import layers


def mnist1() -> keras.Model:
    """MNIST1, 16C5-32C5-64C5-120-10: (28, 28, 1) in 0..1 to 10 probabilities."""
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(16, 5, padding="same", activation="relu", name="conv1"),
            layers.MaxPooling2D(2),
            layers.Conv2D(32, 5, padding="same", activation="relu", name="conv2"),
            layers.MaxPooling2D(2),
            layers.Conv2D(64, 5, padding="same", activation="relu", name="conv3"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(120, activation="relu", name="dense"),
            layers.Dropout(0.4),
            layers.Dense(10, activation="softmax", name="classifier"),
        ],
        name="mnist1",
    )


def mnist2() -> keras.Model:
    """MNIST2, 6C5-16C5-120C5-84-10: (28, 28, 1) in 0..1 to 10 probabilities."""
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(6, 5, padding="same", activation="relu", name="conv1"),
            layers.MaxPooling2D(2),
            layers.Conv2D(16, 5, activation="relu", name="conv2"),
            layers.MaxPooling2D(2),
            layers.Conv2D(120, 5, activation="relu", name="conv3"),
            layers.Flatten(),
            layers.Dense(84, activation="relu", name="dense"),
            layers.Dropout(0.2),
            layers.Dense(10, activation="softmax", name="classifier"),
        ],
        name="mnist2",
    )


NETWORKS = {"MNIST1": mnist1, "MNIST2": mnist2}


def cifar10_small(library: ModuleType = keras) -> Any:
    """CIFAR10.small, 2x128C3-MP-2x128C3-MP-2x256C3-256-10: (32, 32, 3) to 10 probabilities."""
    return _cifar10(library, ((128, 128), (128, 128), (256, 256)), (256,), "cifar10_small")


def cifar10_large(library: ModuleType = keras) -> Any:
    """CIFAR10.large, 2x128C3-MP-2x256C3-MP-2x256C3-512C3-1024-1024-10: (32, 32, 3) to 10 probabilities."""
    return _cifar10(library, ((128, 128), (256, 256), (256, 256, 512)), (1024, 1024), "cifar10_large")


def resnet8(library: ModuleType = keras) -> Any:
    """ResNet-8 of MLPerf Tiny: (32, 32, 3) to 10 probabilities."""
    built = library.layers

    def conv(x: Any, filters: int, name: str, size: int = 3, strides: int = 1) -> Any:
        return built.Conv2D(filters, size, strides=strides, padding="same", name=name)(x)

    def norm(x: Any, name: str) -> Any:
        return built.BatchNormalization(name=f"{name}_norm")(x)

    inputs = library.Input((32, 32, 3), name="image")
    x = built.ReLU()(norm(conv(inputs, 16, "stem"), "stem"))
    for filters, strides in ((16, 1), (32, 2), (64, 2)):
        y = built.ReLU()(norm(conv(x, filters, f"first_{filters}", strides=strides), f"first_{filters}"))
        y = norm(conv(y, filters, f"second_{filters}"), f"second_{filters}")
        if strides > 1:
            x = conv(x, filters, f"short_{filters}", size=1, strides=strides)
        x = built.ReLU()(built.Add()([x, y]))
    x = built.Flatten()(built.AveragePooling2D(8)(x))
    return _classified(library, inputs, x, 10, "resnet8")


def resnet_cifar(depth: int) -> keras.Model:
    """ResNet-20, 32, 44, 56 or 110 (He et al., arXiv 1512.03385, section 4.2): (32, 32, 3) to 10 probabilities.

    Args:
        depth: layers with weights, 6 n + 2.
    """
    blocks, rest = divmod(depth - 2, 6)
    if rest or blocks < 1:
        raise ValueError(f"depth must be 6 n + 2. Received: depth={depth}. Use e.g. 20.")

    def conv(x: Any, filters: int, name: str, size: int = 3, strides: int = 1) -> Any:
        x = layers.Conv2D(filters, size, strides, padding="same", use_bias=False, name=name)(x)
        return layers.BatchNormalization(name=f"{name}_norm")(x)

    inputs = keras.Input((32, 32, 3), name="image")
    x = layers.ReLU()(conv(inputs, 16, "stem"))
    for stage, filters in enumerate((16, 32, 64), start=1):
        for block in range(1, blocks + 1):
            name, strides = f"conv{stage}_{block}", 2 if block == 1 and stage > 1 else 1
            y = layers.ReLU()(conv(x, filters, f"{name}a", strides=strides))
            y = conv(y, filters, f"{name}b")
            short = x if strides == 1 else conv(x, filters, f"{name}_short", size=1, strides=strides)
            x = layers.ReLU()(layers.Add()([short, y]))
    return _classified(keras, inputs, layers.GlobalAveragePooling2D()(x), 10, f"resnet{depth}")


def mobilenet_v1_025(library: ModuleType = keras) -> Any:
    """MobileNetV1 of width 0.25, as in MLPerf Tiny's visual wake words: (96, 96, 3) to 2 probabilities."""
    built = library.layers

    def norm_relu(x: Any, name: str) -> Any:
        return built.ReLU()(built.BatchNormalization(name=f"{name}_norm")(x))

    inputs = library.Input((96, 96, 3), name="image")
    x = norm_relu(built.Conv2D(8, 3, strides=2, padding="same", use_bias=False, name="stem")(inputs), "stem")
    widths = (16, 32, 32, 64, 64, 128, 128, 128, 128, 128, 128, 256, 256)
    for block, filters in enumerate(widths, start=1):
        strides = 2 if block in (2, 4, 6, 12) else 1
        depthwise, pointwise = f"depthwise_{block}", f"pointwise_{block}"
        x = built.DepthwiseConv2D(3, strides=strides, padding="same", use_bias=False, name=depthwise)(x)
        x = norm_relu(x, depthwise)
        x = norm_relu(built.Conv2D(filters, 1, use_bias=False, name=pointwise)(x), pointwise)
    return _classified(library, inputs, built.GlobalAveragePooling2D()(x), 2, "mobilenet_v1_025")


def ds_cnn(filters: int = 64, shape: tuple[int, int] = (49, 32), classes: int = 10) -> keras.Model:
    """DS-CNN of MLPerf Tiny's keyword spotting: log-mel energies (49, 32, 1) to 10 probabilities.

    Args:
        filters: feature maps of every convolution.
        shape: frames and bands.
        classes: words.
    """

    def norm_relu(x: Any, name: str) -> Any:
        return layers.ReLU()(layers.BatchNormalization(name=f"{name}_norm")(x))

    inputs = keras.Input((*shape, 1), name="log_mel")
    x = layers.Conv2D(filters, (10, 4), strides=2, padding="same", use_bias=False, name="stem")(inputs)
    x = norm_relu(x, "stem")
    for block in range(1, 5):
        depthwise, pointwise = f"depthwise_{block}", f"pointwise_{block}"
        x = norm_relu(layers.DepthwiseConv2D(3, padding="same", use_bias=False, name=depthwise)(x), depthwise)
        x = norm_relu(layers.Conv2D(filters, 1, use_bias=False, name=pointwise)(x), pointwise)
    x = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(x))
    return _classified(keras, inputs, x, classes, "ds_cnn")


def _cifar10(library: ModuleType, stages: tuple[tuple[int, ...], ...], hidden: tuple[int, ...], name: str) -> Any:
    """3x3 convolutions with BatchNormalization and ReLU, MP between the stages, dense layers behind.

    The dense layers have a bias in the place of BatchNormalization, which is what conversion makes of one:
    TensorFlow's converter does not fold it into the 33 million weights of CIFAR10.large, and refuses.
    """
    built = library.layers

    def norm_relu(x: Any, name: str) -> Any:
        return built.ReLU()(built.BatchNormalization(name=f"{name}_norm")(x))

    x = inputs = library.Input((32, 32, 3), name="image")
    for stage, widths in enumerate(stages, start=1):
        if stage > 1:
            x = built.MaxPooling2D(3, strides=2, padding="same")(x)
        for index, filters in enumerate(widths, start=1):
            conv = f"conv{stage}_{index}"
            x = norm_relu(built.Conv2D(filters, 3, padding="same", use_bias=False, name=conv)(x), conv)
    x = built.Flatten()(x)
    for index, units in enumerate(hidden, start=1):
        x = built.ReLU()(built.Dense(units, name=f"dense{index}")(x))
    return _classified(library, inputs, x, 10, name)


def _classified(library: ModuleType, inputs: Any, features: Any, classes: int, name: str) -> Any:
    scores = library.layers.Dense(classes, name="classifier")(features)
    return library.Model(inputs, library.layers.Softmax(name="probabilities")(scores), name=name)


LATENCY_NETWORKS = {
    "CIFAR10.small": cifar10_small,
    "CIFAR10.large": cifar10_large,
    "ResNet-8": resnet8,
    "MobileNetV1 0.25": mobilenet_v1_025,
}


def randomize(model: Any, seed: int) -> Any:
    """Fill the weights such that no bias, offset or statistic is zero and signals stay near 1."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        layer.set_weights([_random_weight(layer, weight, rng) for weight in layer.weights])
    return model


def _random_weight(layer: Any, weight: Any, rng: np.random.Generator) -> np.ndarray:
    shape, name = tuple(weight.shape), weight.name.split("/")[-1].split(":")[0]  # tf_keras: conv/kernel:0
    if len(shape) > 1:
        reads = shape[:-2] if "Depthwise" in type(layer).__name__ else shape[:-1]
        return rng.normal(0, 1.4 / np.sqrt(np.prod(reads)), shape)
    if name in ("gamma", "moving_variance"):
        return rng.uniform(0.5, 1.5, shape)
    return rng.normal(0, 0.5, shape) + 0.1


def kept_weights(model: Any) -> int:
    """Nonzero weights of all convolutions and dense layers but the classifier; biases are not counted."""
    return sum(nonzero for nonzero, _ in _kernels(model)[:-1])


def kept_macs(model: Any) -> int:
    """Multiplications of one inference by weights that are not zero."""
    return sum(nonzero * pixels for nonzero, pixels in _kernels(model))


def _kernels(model: Any) -> list[tuple[int, int]]:
    """Nonzero weights and output pixels of every layer with a kernel, the classifier last."""
    return [
        (int(np.count_nonzero(kernel)), int(np.prod(layer.output.shape[1:-1])))
        for layer in model.layers
        for kernel in layer.get_weights()
        if kernel.ndim > 1
    ]
