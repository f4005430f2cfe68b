"""Blocks of well-known networks, in small."""

from typing import Any

import keras
import numpy as np
from keras import ops

from tests.junctions._net import Junction, classifier, conv, linear, net, pool, whole

_L = keras.layers


def _norm(x: Any, activation: str = "relu") -> Any:
    return _L.Activation(activation)(_L.BatchNormalization()(x))


def _preactivation(x: Any) -> Any:
    """ResNet v2: two bottlenecks, the first with a projection."""
    for index, filters in enumerate((9, 9)):
        y = _norm(x)
        short = linear(y, filters, f"short_{index}", 1, strides=2) if index == 0 else x
        y = linear(y, 5, f"reduce_{index}", 1, strides=1 if index else 2, use_bias=False)
        y = linear(_norm(linear(_norm(y), 4, f"middle_{index}")), filters, f"expand_{index}", 1)
        x = _L.Add()([short, y])
    return _norm(x)


def _densenet(x: Any) -> Any:
    for index in range(3):
        y = linear(_norm(linear(_norm(x), 6, f"reduce_{index}", 1)), 4, f"grow_{index}")
        x = _L.Concatenate()([x, y])
    return _L.AveragePooling2D(2)(linear(_norm(x), 9, "transition", 1))


def _inception(x: Any) -> Any:
    three = conv(conv(x, 5, "reduce_3", 1), 6, "three")
    five = conv(conv(conv(x, 4, "reduce_5", 1), 7, "five_1", (1, 5)), 7, "five_2", (5, 1))
    pooled = conv(_L.MaxPooling2D(3, 1, padding="same")(x), 3, "pooled", 1)
    return _L.Concatenate()([conv(x, 4, "one", 1), three, five, pooled])


def _inverted_residual(x: Any) -> Any:
    """MobileNetV3: expand, depthwise, squeeze and excite, project."""
    y = _norm(linear(x, 12, "expand", 1, use_bias=False), "hard_silu")
    y = _norm(_L.DepthwiseConv2D(3, padding="same", use_bias=False)(y), "hard_silu")
    gate = conv(_L.GlobalAveragePooling2D(keepdims=True)(y), 3, "squeeze", 1)
    y = _L.Multiply()([y, conv(gate, 12, "excite", 1, activation="hard_sigmoid")])
    return _L.Add()([x, _L.BatchNormalization()(linear(y, 8, "project", 1, use_bias=False))])


def _convnext(x: Any) -> Any:
    y = _L.LayerNormalization()(_L.DepthwiseConv2D(7, padding="same")(x))
    y = _L.Dense(8, name="project")(_L.Activation("gelu")(_L.Dense(32, name="expand")(y)))
    return x + y * np.linspace(0.2, 1, 8).astype(np.float32)


def _unet() -> keras.Model:
    image = keras.Input((8, 8, 2), name="image")
    top = conv(image, 6, "stem")
    middle = conv(top, 8, "down", strides=2)
    x = conv(middle, 10, "bottom", strides=2)
    x = _L.Concatenate()([middle, _L.Conv2DTranspose(7, 2, strides=2, activation="relu", name="up_1")(x)])
    x = _L.Conv2DTranspose(5, 3, strides=2, padding="same", name="up_2")(conv(x, 9, "mix_1"))
    x = conv(_L.Concatenate()([x, top]), 6, "mix_2")
    return keras.Model(image, linear(x, 2, "classifier", 1))


def _separable(x: Any, filters: int, name: str, size: int) -> Any:
    return _L.BatchNormalization()(_L.SeparableConv2D(filters, size, padding="same", name=name)(_L.ReLU()(x)))


def _nasnet(x: Any) -> Any:
    before, now = conv(x, 5, "adjust_before", 1), conv(conv(x, 9, "deeper"), 5, "adjust_now", 1)
    cells = [
        _L.Add()([_separable(now, 5, "separable_1", 3), now]),
        _L.Add()([_separable(before, 5, "separable_2", 5), _separable(now, 5, "separable_3", 3)]),
        _L.Add()([_L.AveragePooling2D(3, 1, padding="same")(now), before]),
    ]
    return _L.Concatenate()([before, *cells])


def _shufflenet(x: Any) -> Any:
    """ShuffleNetV2: half of the channels pass, the other half is convolved, then both are shuffled."""
    left, right = ops.split(x, 2, axis=-1)
    right = _norm(linear(right, 5, "reduce", 1))
    right = _norm(linear(_L.DepthwiseConv2D(3, padding="same")(right), 4, "expand", 1))
    x = _L.Reshape((6, 6, 2, 4))(_L.Concatenate()([left, right]))
    return _L.Reshape((6, 6, 8))(_L.Permute((1, 2, 4, 3))(x))


def _ghost(x: Any) -> Any:
    """GhostNet: cheap maps made from the dear ones by a depthwise convolution."""
    x = conv(x, 5, "primary", 1)
    return _L.Concatenate()([x, _L.DepthwiseConv2D(3, padding="same", activation="relu")(x)])


def _resnext(x: Any) -> Any:
    y = _norm(linear(x, 12, "reduce", 1))
    y = _norm(linear(y, 12, "grouped", groups=4))
    return _L.ReLU()(_L.Add()([x, linear(y, 8, "expand", 1)]))


def _xception(x: Any) -> Any:
    y = _separable(_separable(x, 9, "separable_1", 3), 10, "separable_2", 3)
    return _L.Add()([_L.MaxPooling2D(3, 2, padding="same")(y), linear(x, 10, "short", 1, strides=2)])


def _pyramid() -> keras.Model:
    """A feature pyramid with one head for maps of two sizes, as RetinaNet has it."""
    image = keras.Input((8, 8, 2), name="image")
    large = conv(conv(image, 6, "stem"), 8, "level_1")
    small = conv(large, 10, "level_2", strides=2)
    top = linear(small, 7, "lateral_2", 1)
    bottom = _L.Add()([linear(large, 7, "lateral_1", 1), _L.UpSampling2D(2)(top)])
    head, last = _L.Conv2D(9, 3, activation="relu", name="head"), _L.Conv2D(3, 1, name="classifier")
    return keras.Model(image, {"large": last(head(bottom)), "small": last(head(top))})


def _transformer() -> keras.Model:
    """A vision transformer: the channels of its residual stream stay, those of its MLP may go."""
    image = keras.Input((6, 6, 2), name="image")
    x = _L.Reshape((9, 8))(linear(image, 8, "stem", 2, strides=2))
    y = _L.LayerNormalization()(x)
    x = x + _L.MultiHeadAttention(2, 4, name="attention")(y, y)
    y = _L.Dense(16, activation="gelu", name="expand")(_L.LayerNormalization()(x))
    x = x + _L.Dense(8, name="project")(y)
    return keras.Model(image, classifier(_L.GlobalAveragePooling1D()(x)))


def _mixer(x: Any) -> Any:
    """MLP-Mixer: dense layers over the pixels, then over the channels."""
    x = _L.Reshape((36, 8))(x)
    y = _L.Permute((2, 1))(_L.LayerNormalization()(x))
    y = _L.Dense(36, name="pixels_project")(_L.Dense(10, activation="gelu", name="pixels_expand")(y))
    x = _L.Add()([x, _L.Permute((2, 1))(y)])
    y = _L.Dense(12, activation="gelu", name="expand")(_L.LayerNormalization()(x))
    return _L.Add()([x, _L.Dense(8, name="project")(y)])


def _wavenet(x: Any) -> Any:
    """Gated residual convolutions with skips to the end."""
    skips = []
    for index in range(2):
        gate = {"padding": "causal", "dilation_rate": 2**index}
        y = linear(x, 9, f"filter_{index}", 2, activation="tanh", **gate)
        y = _L.Multiply()([y, linear(x, 9, f"gate_{index}", 2, activation="sigmoid", **gate)])
        skips.append(linear(y, 5, f"skip_{index}", 1))
        x = x if index else _L.Add()([x, linear(y, 8, "narrow", 1)])
    return _L.ReLU()(_L.Add()(skips))


def _pointnet() -> keras.Model:
    """Dense layers on points, then a maximum over them."""
    points = keras.Input((12, 3), name="points")
    x = points
    for filters, name in ((6, "one"), (8, "two"), (9, "three")):
        x = _L.Dense(filters, activation="relu", name=name)(x)
    x = _L.Concatenate()([_L.GlobalMaxPooling1D()(x), pool(x)])
    return keras.Model(points, classifier(_L.Dense(7, activation="relu", name="hidden")(x)))


BLOCKS: dict[str, Junction] = {
    "resnet_preactivation": net(
        _preactivation,
        prunable=("before", "short_0", "expand_0", "expand_1", "reduce_0", "middle_0", "reduce_1", "middle_1", "after"),
    ),
    "densenet": net(
        _densenet,
        prunable=("before", *(f"{part}_{i}" for part in ("reduce", "grow") for i in range(3)), "transition", "after"),
    ),
    "inception": net(
        _inception,
        prunable=("before", "one", "reduce_3", "three", "reduce_5", "five_1", "five_2", "pooled", "after"),
    ),
    "inverted_residual": net(
        _inverted_residual, prunable=("before", "expand", "squeeze", "excite", "project", "after")
    ),
    "convnext": net(_convnext, prunable=("before", "expand", "project", "after")),
    "unet": whole(_unet, "down", "bottom", "up_1", "mix_1", "up_2", "mix_2"),
    "nasnet": net(
        _nasnet,
        prunable=(
            "before",
            "deeper",
            "adjust_before",
            "adjust_now",
            "separable_1",
            "separable_2",
            "separable_3",
            "after",
        ),
    ),
    "shufflenet": net(_shufflenet, prunable=("before", "reduce", "expand", "after")),
    "ghostnet": net(_ghost, prunable=("before", "primary", "after")),
    "resnext": net(_resnext, prunable=("before", "reduce", "grouped", "expand", "after")),
    "xception": net(_xception, prunable=("before", "separable_1", "separable_2", "short", "after")),
    "feature_pyramid": whole(_pyramid, "level_1", "level_2", "lateral_1", "lateral_2", "head"),
    "vision_transformer": whole(_transformer, "expand"),
    "mlp_mixer": net(_mixer, prunable=("expand", "after")),
    "wavenet": net(
        _wavenet,
        rank=1,
        prunable=("before", "narrow", *(f"{part}_{i}" for part in ("filter", "gate", "skip") for i in (0, 1)), "after"),
    ),
    "pointnet": whole(_pointnet, "one", "two", "three", "hidden"),
}
