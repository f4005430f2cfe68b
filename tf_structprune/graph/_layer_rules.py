"""What each Keras layer does to channels: one row a layer class.

A layer without a row is a barrier: what feeds it stays whole.
"""

from typing import Any

import keras
import numpy as np

from tf_structprune.channels import LayerCut
from tf_structprune.graph._rules import Flow, LayerRule

_L = keras.layers


def _refuse_rms_scaling(layer: Any) -> str:
    return "it is scaled by rms_scaling, which Keras has deprecated" if layer.rms_scaling else ""


def _refuse_inner_axis(layer: Any) -> str:
    # Keras scales along the last axis, whichever it normalizes.
    return "" if layer.axis in (-1, [-1], (-1,)) else f"its axis is {layer.axis}, not the last"


def _refuse_compressed(layer: Any) -> str:
    if getattr(layer, "quantization_mode", None):
        return f"it is quantized ({layer.quantization_mode})"
    return "it has a LoRA kernel" if getattr(layer, "lora_enabled", False) else ""


def _resize_noise_shape(config: dict[str, Any], cut: LayerCut) -> None:
    (made,) = cut.makes
    shape = config.get("noise_shape")
    if shape is not None and shape[made.axis] not in (None, 1):
        config["noise_shape"] = [*shape[: made.axis], len(made.kept), *shape[made.axis + 1 :]]


def _resize_groups(config: dict[str, Any], cut: LayerCut) -> None:
    """Whole groups were removed."""
    groups = int(config["groups"])
    if groups > 1:
        config["groups"] = len(cut.inputs) * groups // cut.input_channels


def _resize_target_shape(config: dict[str, Any], cut: LayerCut) -> None:
    (made,) = cut.makes
    config["target_shape"] = [-1 if size is None else int(size) for size in made.new_shape[1:]]


def _resize_lists(*names: str) -> Any:
    """Cut constructor arguments that are lists with one value a channel."""

    def resize(config: dict[str, Any], cut: LayerCut) -> None:
        for name in names:
            value = np.asarray(config.get(name))
            if value.size == cut.input_channels > 1:
                config[name] = value.ravel()[cut.inputs].tolist()

    return resize


def _resize_size(name: str) -> Any:
    """Set a constructor argument to the number of channels that are left."""

    def resize(config: dict[str, Any], cut: LayerCut) -> None:
        config[name] = len(cut.outputs)

    return resize


def _convolution(rank: int) -> LayerRule:
    axes = {"kernel": ("",) * rank + ("in", "out")}
    return LayerRule(
        Flow.PRODUCE, "kernel", axes, "filters", spatial=True, refuse=_refuse_compressed, resize=_resize_groups
    )


def _transposed(rank: int) -> LayerRule:
    return LayerRule(Flow.PRODUCE, "kernel", {"kernel": ("",) * rank + ("out", "in")}, "filters", spatial=True)


def _separable(rank: int) -> LayerRule:
    axes = {
        "depthwise_kernel": ("",) * rank + ("in", ""),
        "pointwise_kernel": ("",) * rank + ("in", "out"),
    }
    return LayerRule(Flow.PRODUCE, "pointwise_kernel", axes, "filters", spatial=True)


def _depthwise(rank: int) -> LayerRule:
    return LayerRule(Flow.DEPTHWISE, "kernel", {"kernel": ("",) * rank + ("in", "")}, spatial=True)


_EACH_CHANNEL = LayerRule(Flow.FOLLOW)
_EACH_MAP = LayerRule(Flow.FOLLOW, spatial=True)
_ALL_CHANNELS = LayerRule(Flow.NORMALIZE, spatial=True)
_JOIN = LayerRule(Flow.JOIN)


def _end(reason: str) -> LayerRule:
    return LayerRule(Flow.END, refuse=lambda _: reason)


def _exported(names: str, rule: LayerRule) -> dict[type, LayerRule]:
    """Rows for layers that only some of the supported Keras versions have."""
    return {getattr(_L, name): rule for name in names.split() if hasattr(_L, name)}


_ATTENTION = _end("it is attention, which relates all channels to each other")
_RECURRENT = _end("it is recurrent: its state mixes all channels")

LAYER_RULES: dict[type, LayerRule] = {
    _L.InputLayer: LayerRule(Flow.SOURCE),
    # new channels
    _L.Conv1D: _convolution(1),
    _L.Conv2D: _convolution(2),
    _L.Conv3D: _convolution(3),
    _L.Conv1DTranspose: _transposed(1),
    _L.Conv2DTranspose: _transposed(2),
    _L.Conv3DTranspose: _transposed(3),
    _L.SeparableConv1D: _separable(1),
    _L.SeparableConv2D: _separable(2),
    _L.DepthwiseConv1D: _depthwise(1),
    _L.DepthwiseConv2D: _depthwise(2),
    _L.Dense: LayerRule(Flow.PRODUCE, "kernel", {"kernel": ("in", "out")}, "units", refuse=_refuse_compressed),
    # normalization
    _L.BatchNormalization: _EACH_MAP,
    _L.GroupNormalization: LayerRule(Flow.GROUP_NORMALIZE, spatial=True, resize=_resize_groups),
    _L.LayerNormalization: LayerRule(Flow.NORMALIZE, spatial=True, refuse=_refuse_rms_scaling),
    _L.RMSNormalization: LayerRule(Flow.NORMALIZE, spatial=True, refuse=_refuse_inner_axis),
    _L.UnitNormalization: _ALL_CHANNELS,
    # activations
    **dict.fromkeys((_L.Activation, _L.Softmax, _L.ReLU, _L.LeakyReLU, _L.ELU, _L.PReLU, _L.Identity), _EACH_CHANNEL),
    # regularization and augmentation
    **dict.fromkeys((_L.Dropout, _L.AlphaDropout), LayerRule(Flow.FOLLOW, resize=_resize_noise_shape)),
    **dict.fromkeys((_L.GaussianDropout, _L.GaussianNoise, _L.ActivityRegularization), _EACH_CHANNEL),
    **dict.fromkeys((_L.SpatialDropout1D, _L.SpatialDropout2D, _L.SpatialDropout3D), _EACH_MAP),
    **dict.fromkeys(
        (_L.RandomFlip, _L.RandomRotation, _L.RandomTranslation, _L.RandomZoom, _L.RandomCrop, _L.CenterCrop),
        _EACH_MAP,
    ),
    # pooling
    **dict.fromkeys((_L.MaxPooling1D, _L.MaxPooling2D, _L.MaxPooling3D), _EACH_MAP),
    **dict.fromkeys((_L.AveragePooling1D, _L.AveragePooling2D, _L.AveragePooling3D), _EACH_MAP),
    **dict.fromkeys((_L.GlobalMaxPooling1D, _L.GlobalMaxPooling2D, _L.GlobalMaxPooling3D), _EACH_MAP),
    **dict.fromkeys((_L.GlobalAveragePooling1D, _L.GlobalAveragePooling2D, _L.GlobalAveragePooling3D), _EACH_MAP),
    **_exported("AdaptiveAveragePooling1D AdaptiveAveragePooling2D AdaptiveAveragePooling3D", _EACH_MAP),
    **_exported("AdaptiveMaxPooling1D AdaptiveMaxPooling2D AdaptiveMaxPooling3D", _EACH_MAP),
    # size
    **dict.fromkeys((_L.ZeroPadding1D, _L.ZeroPadding2D, _L.ZeroPadding3D), _EACH_MAP),
    **dict.fromkeys((_L.Cropping1D, _L.Cropping2D, _L.Cropping3D), _EACH_MAP),
    **dict.fromkeys((_L.UpSampling1D, _L.UpSampling2D, _L.UpSampling3D, _L.Resizing), _EACH_MAP),
    # scale
    _L.Rescaling: LayerRule(Flow.FOLLOW, spatial=True, resize=_resize_lists("scale", "offset")),
    _L.Normalization: LayerRule(Flow.FOLLOW, spatial=True, resize=_resize_lists("mean", "variance")),
    # joins
    **dict.fromkeys((_L.Add, _L.Subtract, _L.Multiply, _L.Average, _L.Maximum, _L.Minimum), _JOIN),
    _L.Concatenate: LayerRule(Flow.CONCATENATE),
    # order
    _L.Flatten: LayerRule(Flow.REARRANGE),
    _L.Permute: LayerRule(Flow.REARRANGE),
    _L.RepeatVector: LayerRule(Flow.REARRANGE),
    _L.Reshape: LayerRule(Flow.REARRANGE, resize=_resize_target_shape),
    # ends
    _L.Embedding: _end("it is a table of vectors, not of channels that a kernel made"),
    **dict.fromkeys((_L.MultiHeadAttention, _L.GroupQueryAttention, _L.Attention, _L.AdditiveAttention), _ATTENTION),
    **dict.fromkeys((_L.LSTM, _L.GRU, _L.SimpleRNN, _L.RNN, _L.ConvLSTM1D, _L.ConvLSTM2D, _L.ConvLSTM3D), _RECURRENT),
    _L.Bidirectional: _RECURRENT,
    _L.Dot: _end("a product of two tensors mixes all channels"),
    _L.Lambda: _end("it is Python code that cannot be traced"),
}

# Layers of keras.applications, which Keras does not export: by the end of their module and name.
APPLICATION_RULES: dict[str, LayerRule] = {
    "applications.convnext.LayerScale": LayerRule(Flow.FOLLOW, resize=_resize_size("projection_dim")),
    "applications.convnext.StochasticDepth": _EACH_CHANNEL,
    "applications.inception_resnet_v2.CustomScaleLayer": _JOIN,
}
