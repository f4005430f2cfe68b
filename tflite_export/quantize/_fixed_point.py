"""A model on fixed-point grids to the bytes of a full-integer `.tflite` file with exactly these grids."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tf_structprune.graph import named_layers
from tf_structprune.layers import (
    QuantizedLayer,
    SignalQuantizer,
    assign_weights,
    clone,
    copy_layer,
    quantized_layers,
    signal_quantizers,
)
from tflite_export.file import TFLiteFile
from tflite_export.quantize._convert import check_backend, converted
from tflite_export.quantize._scales import SignalScale, check_grids, guard_factor, signal_scale, weight_scales

_INT8 = (-128, 127)


def convert_fixed_point(
    model: keras.Model, *, computing: keras.Model | None = None, guard_bits: bool = False
) -> TFLiteFile:
    """Converts a model from `to_fixed_point` to an int8 `.tflite` file of batch size 1.

    Weights and signals get the scales that the model has, words of fewer bits lie in int8. A dense layer becomes
    a convolution of single pixels: LiteRT's reference kernels and TFLite Micro round a FULLY_CONNECTED differently,
    a CONV_2D alike.

    Args:
        model: calibrated throughout, not masked, with one input and one output. It is not changed.
        computing: a float model that computes what `float_form(model)` does with the same layer names, such as the
            lowered one; that itself by default.
        guard_bits: whether short words lie in the upper bits of int8, on a finer scale: the same numbers, but finer
            biases, and room for `without_ties`.

    Returns:
        The file.

    Raises:
        RuntimeError: Keras runs on another backend than TensorFlow.
        ValueError: a model that is masked or not calibrated throughout, or that TFLite cannot express.
    """
    check_backend()
    check_grids(model)
    base = float_form(model) if computing is None else computing
    file = TFLiteFile(converted(_with_fake_quantization(base, model, guard_bits=guard_bits), quantize="int8"))
    in_float = sorted(tensor.name for tensor in file.description.tensors if tensor.dtype == "float32")
    if in_float:
        raise ValueError(
            f"Model '{model.name}' has a signal in float. Received: {', '.join(in_float[:3])}. Give every layer "
            "signal_bits: a file for integers needs all of them."
        )
    return file


def float_form(model: keras.Model) -> keras.Model:
    """A plain model with the rounded weights of a fixed-point model, whose signals are float.

    Args:
        model: from `to_fixed_point`, not masked. It is not changed.

    Returns:
        A model of the same layers; a signal's quantizer is an `Identity`.
    """

    def made(_: str, layer: Any) -> Any:
        if isinstance(layer, QuantizedLayer):
            return copy_layer(layer.layer)
        return keras.layers.Identity(name=layer.name) if isinstance(layer, SignalQuantizer) else copy_layer(layer)

    copy = clone(model, made)
    new = named_layers(copy)
    for name, layer in named_layers(model).items():
        if isinstance(layer, QuantizedLayer):
            weights = layer.effective_kernel(), layer.effective_bias()
            assign_weights(new[name], [keras.ops.convert_to_numpy(weight) for weight in weights])
        elif layer.weights and not isinstance(layer, SignalQuantizer):
            assign_weights(new[name], layer.get_weights())
    return copy


def _with_fake_quantization(base: keras.Model, model: keras.Model, *, guard_bits: bool) -> keras.Model:
    """A float model with the operations by which the converter knows scales and zero points."""
    weights = {name: weight_scales(name, layer) for name, layer in quantized_layers(model).items()}
    signals = {name: signal_scale(name, layer) for name, layer in signal_quantizers(model).items()}

    def made(name: str, layer: Any) -> Any:
        if name in weights:
            grid = weights[name]
            scales = grid.scales / np.float32(guard_factor(grid.largest) if guard_bits else 1)
            return _Rounded(copy_layer(layer), layer.get_weights(), scales, name=layer.name)
        return _RoundedSignal(signals[name], name=layer.name) if name in signals else copy_layer(layer)

    copy = clone(base, made)
    new = named_layers(copy)
    for name, layer in named_layers(base).items():
        if layer.weights and name not in weights:
            assign_weights(new[name], layer.get_weights())
    return copy


class _RoundedSignal(keras.layers.Layer):  # type: ignore[misc]  # Keras is untyped
    """Tells the converter the grid of a signal."""

    def __init__(self, scale: SignalScale, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale = scale

    def call(self, inputs: Any) -> Any:
        """The signal on its grid."""
        low, high = ((end - self.scale.zero_point) * self.scale.scale for end in _INT8)
        return tf.quantization.fake_quant_with_min_max_args(inputs, min=low, max=high)


class _Rounded(keras.layers.Wrapper):  # type: ignore[misc]  # Keras is untyped
    """A layer that tells the converter the grid of its weights, all of which but the last, the bias, are kernels.

    A layer with an attribute `rounding` has several, or joins them first: it calls that function itself.
    """

    def __init__(
        self, layer: keras.layers.Layer, weights: list[NDArray[np.float32]], scales: NDArray[np.float32], **kwargs: Any
    ) -> None:
        super().__init__(layer, **kwargs)
        *self.kernels, self.bias = weights
        self.scales = scales

    def call(self, inputs: Any) -> Any:
        """The layer's output."""
        # A constant of its own for each call: the converter gives up the grid of a variable that is read twice.
        if isinstance(self.layer, keras.layers.Dense):
            return self._as_convolution(inputs, self._rounded(tf.constant(self.kernels[0][None, None])))
        if isinstance(self.layer, keras.layers.Conv1D):
            return self._as_row(inputs, self._rounded(tf.constant(self.kernels[0][None])))
        kernels = [tf.constant(kernel) for kernel in self.kernels]
        if hasattr(self.layer, "rounding"):
            self.layer.rounding = self._rounded
        else:
            kernels = [self._rounded(kernel) for kernel in kernels]
        weights = [*kernels, tf.constant(self.bias)]
        given = (weights, []) if self.layer.trainable_variables else ([], weights)  # a frozen layer has no others
        outputs, _ = self.layer.stateless_call(*given, inputs)
        return outputs

    def compute_output_shape(self, input_shape: Any) -> Any:
        """As the wrapped layer's."""
        return self.layer.compute_output_shape(input_shape)

    def _rounded(self, kernel: Any) -> Any:
        ends = _INT8[1] * self.scales.astype(np.float64)
        if self.scales.ndim == 0:
            return tf.quantization.fake_quant_with_min_max_args(kernel, min=-ends, max=ends, narrow_range=True)
        flat = tf.reshape(kernel, (*kernel.shape[:-2], -1)) if kernel.shape[-1] != len(self.scales) else kernel
        limits = (tf.constant(-ends, tf.float32), tf.constant(ends, tf.float32))
        rounded = tf.quantization.fake_quant_with_min_max_vars_per_channel(flat, *limits, narrow_range=True)
        return tf.reshape(rounded, kernel.shape)

    def _as_convolution(self, inputs: Any, kernel: Any) -> Any:
        """A dense layer as a convolution of single pixels, one for each row of features."""
        rows = int(np.prod(inputs.shape[1:-1]))
        pixels = tf.reshape(inputs, (1, 1, rows, inputs.shape[-1]))
        outputs = tf.nn.conv2d(pixels, kernel, 1, "VALID") + self.bias
        outputs = tf.reshape(outputs, (1, *inputs.shape[1:-1], kernel.shape[-1]))
        return self.layer.activation(outputs)

    def _as_row(self, inputs: Any, kernel: Any) -> Any:
        """A convolution over time as one over an image of one row: the converter cannot reshape rounded weights."""
        padding, (size,), (dilation,) = self.layer.padding, self.layer.kernel_size, self.layer.dilation_rate
        if padding == "causal":
            inputs, padding = tf.pad(inputs, ((0, 0), (dilation * (size - 1), 0), (0, 0))), "valid"
        row = tf.expand_dims(inputs, 1)
        strides = (1, *self.layer.strides)
        outputs = tf.nn.conv2d(row, kernel, strides, padding.upper(), dilations=(1, dilation)) + self.bias
        return self.layer.activation(tf.squeeze(outputs, 1))
