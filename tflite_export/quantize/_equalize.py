"""Equalize the ranges of the channels of a signal, so that one grid suits them all."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.graph import LayerCall, Readers, layer_inputs, list_calls, named_layers, readers_of
from tf_structprune.layers import copy_model
from tf_structprune.task import Samples

_L = keras.layers
_DEPTHWISE = (_L.DepthwiseConv1D, _L.DepthwiseConv2D)
_CONVOLUTIONS = (_L.Conv1D, _L.Conv2D, _L.Conv3D)
_WEIGHTED = (*_CONVOLUTIONS, *_DEPTHWISE, _L.Dense)
# f(s x) = s f(x) for s > 0, channel by channel.
_HOMOGENEOUS = (
    *(_L.MaxPooling1D, _L.MaxPooling2D, _L.MaxPooling3D, _L.GlobalMaxPooling1D, _L.GlobalMaxPooling2D),
    *(_L.AveragePooling1D, _L.AveragePooling2D, _L.AveragePooling3D),
    *(_L.GlobalAveragePooling1D, _L.GlobalAveragePooling2D, _L.LeakyReLU),
    *(_L.ZeroPadding1D, _L.ZeroPadding2D, _L.Cropping1D, _L.Cropping2D, _L.UpSampling1D, _L.UpSampling2D),
    *(_L.Dropout, _L.SpatialDropout1D, _L.SpatialDropout2D, _L.Identity, _L.Flatten),
)
_SAMPLES = 64  # at a time, with the signals in front of all layers
_LEAST = 1e-3  # of the largest channel: samples may have missed what a smaller one can be


@dataclass(frozen=True)
class _Pair:
    """Two layers between which channels can be scaled.

    Attributes:
        scaler: the call that multiplies each channel, with all weights of its last axis: a convolution or dense layer
            or a batch normalization.
        reader: the call that alone reads those channels.
    """

    scaler: LayerCall
    reader: LayerCall


def equalize(model: keras.Model, samples: Any) -> keras.Model:
    """A copy that computes the same, with the ranges of a signal's channels brought together.

    One step has to serve all channels of a signal, so one channel that is much larger than the others leaves these
    only few levels. Between two layers with nothing but functions f(s x) = s f(x) in between, such as a ReLU, a
    channel can be divided by s and the weights that read it multiplied by s. With r the largest magnitude of a channel
    on the samples and w that of the weights that read it, s = sqrt(r / w) makes both sqrt(r w) (cross-layer
    equalization: Nagel et al., ICCV 2019, arXiv 1906.04721, section 4.1, with the ranges of the signals, as Xiao et
    al., arXiv 2211.10438, equation 4, have it, in place of those of the weights that make them). A depthwise
    convolution has weights of its own for each channel, whose ranges do not matter to each other: there s = r. Every s
    is rounded to a power of two, so that the copy computes the same to the last bit.

    Args:
        model: a built Sequential or functional model with the channels last; it is not changed.
        samples: real samples, an array or a list or dictionary of arrays as the model takes them.

    Returns:
        The copy; the model itself where no two layers can be equalized.

    Raises:
        ValueError: a model that cannot be read.
    """
    found = list_calls(model)
    readers = readers_of(found)
    pairs = [pair for call in found.calls if (pair := _pair_of(call, readers)) is not None]
    if not pairs:
        return model
    largest = _largest_inputs(model, [pair.reader.name for pair in pairs], Samples.of(model, samples))
    copy = copy_model(model)
    layers = named_layers(copy)
    for pair in pairs:
        scaler, reader = layers[pair.scaler.name], layers[pair.reader.name]
        factors = _factors(largest[pair.reader.name], reader, channels=int(pair.scaler.output_shapes[0][-1] or 0))
        _multiply_inputs(reader, factors)
        _divide_outputs(scaler, factors)
    return copy


def _pair_of(call: LayerCall, readers: Readers) -> _Pair | None:
    """The pair whose first layer is the one of a call, perhaps with the normalization behind it as its scaler."""
    if call.name not in readers.once or type(call.layer) not in _WEIGHTED or not _is_plain(call.layer):
        return None
    scaler = call
    for reader in readers.behind(call):
        if type(reader.layer) in _WEIGHTED:
            return _Pair(scaler, reader) if _is_plain(reader.layer, read=True) else None
        if _scales(reader):
            scaler = reader
        elif not _is_homogeneous(reader):
            return None
    return None


def _is_plain(layer: Any, *, read: bool = False) -> bool:
    """Whether a layer's weights are what it seems, and its activation lets factors pass, where it is not only read."""
    compressed = getattr(layer, "quantization_mode", None) or getattr(layer, "lora_enabled", False)
    last = getattr(layer, "data_format", "channels_last") == "channels_last" and getattr(layer, "groups", 1) == 1
    return last and not compressed and (read or _lets_pass(layer.activation))


def _lets_pass(activation: Any) -> bool:
    known = (keras.activations.linear, keras.activations.relu, keras.activations.leaky_relu)
    return any(activation is function for function in known)


def _scales(call: LayerCall) -> bool:
    layer = call.layer
    plain = type(layer) is _L.BatchNormalization and len(call.inputs) == 1 and not call.kwargs.get("training")
    return plain and layer.scale and layer.center and layer.axis in (-1, len(call.input_shapes[0]) - 1)


def _is_homogeneous(call: LayerCall) -> bool:
    layer, kind = call.layer, type(call.layer)
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        return False
    if kind is _L.ReLU:
        return layer.max_value is None and not layer.threshold
    if kind is _L.Activation:
        return _lets_pass(layer.activation)
    if kind.__module__.startswith("keras.src.ops"):
        return kind.__name__ == "Relu"
    return kind in _HOMOGENEOUS


def _largest_inputs(model: keras.Model, names: list[str], samples: Samples) -> dict[str, NDArray[np.float64]]:
    """Largest magnitude of each feature that some layers read, by layer, shape (features,)."""
    largest: dict[str, NDArray[np.float64]] = {}
    for begin in range(0, len(samples), _SAMPLES):
        batch = samples[begin : begin + _SAMPLES]
        for name, tensors in layer_inputs(model, names, list(batch.arrays)).items():
            for tensor in tensors:
                values = np.abs(np.asarray(keras.ops.convert_to_numpy(tensor), np.float64))
                seen = values.reshape(-1, values.shape[-1]).max(axis=0)
                largest[name] = np.maximum(largest.get(name, 0.0), seen)
    return largest


def _factors(signals: NDArray[np.float64], reader: Any, *, channels: int) -> NDArray[np.float64]:
    """What each channel is divided by, shape (channels,); 1 for one that is always zero or that nothing reads.

    Args:
        signals: largest magnitude of each feature that the reader reads, shape (features,), channel after channel,
            several times behind a `Flatten`.
        reader: the layer that reads.
        channels: how many there are.
    """
    signals = signals.reshape(-1, channels).max(axis=0)
    kernel = np.abs(_array(reader.kernel))
    rows = np.moveaxis(kernel, -2, 0).reshape(-1, channels, kernel.size // kernel.shape[-2])
    weights = rows.max(axis=(0, 2))
    used = (signals > 0) & (weights > 0)
    signals = np.maximum(signals, _LEAST * signals.max(initial=0.0))
    wanted = signals if type(reader) in _DEPTHWISE else np.sqrt(signals / np.where(used, weights, 1.0))
    return np.asarray(np.exp2(np.round(np.log2(np.where(used, wanted, 1.0)))))


def _multiply_inputs(reader: Any, factors: NDArray[np.float64]) -> None:
    kernel = _array(reader.kernel)
    reader.kernel.assign(kernel * np.tile(factors, kernel.shape[-2] // len(factors))[:, None])


def _divide_outputs(scaler: Any, factors: NDArray[np.float64]) -> None:
    if type(scaler) is _L.BatchNormalization:
        scaler.gamma.assign(_array(scaler.gamma) / factors)
        scaler.beta.assign(_array(scaler.beta) / factors)
        return
    kernel = _array(scaler.kernel)
    last = kernel.shape[-2:] if type(scaler) in _DEPTHWISE else kernel.shape[-1:]
    scaler.kernel.assign(kernel / factors.reshape(last))
    if scaler.use_bias:
        scaler.bias.assign(_array(scaler.bias) / factors)


def _array(variable: Any) -> NDArray[np.float64]:
    return np.asarray(keras.ops.convert_to_numpy(variable), np.float64)
