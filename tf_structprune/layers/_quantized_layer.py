"""The wrapper layer that computes with weights in fixed point."""

from collections.abc import Mapping
from typing import Any, Self

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from tf_structprune.fixed_point import Grid, WeightGrid, grid_config, grid_of, multiples
from tf_structprune.graph import TransparentWrapper, inner_layer, kernel_variable
from tf_structprune.layers._coded_length import CodedLength
from tf_structprune.layers._rounding import OnGrid, rounded, straight_through

_BIAS_LARGEST = 2.0**31  # of a 32-bit integer


@keras.saving.register_keras_serializable(package="tf_structprune")
class QuantizedLayer(OnGrid, TransparentWrapper):
    """A convolution or dense layer whose kernel is rounded to the numbers of a grid, such as words of few bits.

    The wrapped layer keeps float weights, which training updates; forward and backward pass see the rounded
    ones (Sung, Shin, Hwang, arXiv 1511.06488). Until `set_calibration` they are not rounded. Weights that `keep` rules
    out, pruned ones, stay zero. The bias is a multiple of weight step times input step, as in TFLite, once
    `set_input_step` has told the latter; 32 bits hold it.

    The wrapped layer's variable is the kernel divided by `gain`, a power of two that gives it the variance
    2 / inputs with which training begins (He et al., arXiv 1502.01852, equation 10). A learning rate then means
    the same for every layer; with normalizations folded away, kernels differ by factors of hundreds.

    Args:
        layer: the layer, which has one kernel.
        weight_bits: word length, 2 to 8.
        power_of_two: whether its steps are powers of two.
        per_channel: whether each output channel has a calibration of its own.
        input_signal: name of the `SignalQuantizer` that rounds what the layer reads, "" if none does.
        grid: another grid than these words, or its `grid_config`.
        entropy: what a kibibyte of its words in an entropy code adds to the loss, see `CodedLength`; 0 for nothing.

    Raises:
        ValueError: a word length that is not supported.
    """

    def __init__(
        self,
        layer: keras.layers.Layer,
        *,
        weight_bits: int = 8,
        power_of_two: bool = True,
        per_channel: bool = False,
        input_signal: str = "",
        grid: Grid | Mapping[str, Any] | None = None,
        entropy: float = 0.0,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("name", layer.name)
        kwargs.setdefault("dtype", layer.dtype_policy)
        super().__init__(layer, **kwargs)
        self.activity_regularizer = layer.activity_regularizer  # of the outputs, which the wrapper gives
        self.grid = WeightGrid(weight_bits, power_of_two) if grid is None else grid_of(grid)
        self.weight_bits, self.power_of_two, self.per_channel = self.grid.bits, power_of_two, per_channel
        self.input_signal, self.entropy = input_signal, entropy

    def build(self, input_shape: Any = None) -> None:
        """Build the wrapped layer, a calibration of zeros and a mask that keeps everything."""
        super().build(input_shape)
        shape = tuple(self.kernel_variable.shape)
        self.fitted = self.add_weight(
            shape=(*self.grid.shape, *(_channel_axes(self, shape) if self.per_channel else ())),
            initializer="zeros",
            trainable=False,
            name="steps",
            dtype="float32",
        )
        self.keep = self.add_weight(shape=shape, dtype="bool", initializer="ones", trainable=False, name="keep")
        self.gain = self.add_weight(shape=(), initializer="ones", trainable=False, name="gain", dtype="float32")
        self.input_step = self.add_weight(
            shape=(), initializer="zeros", trainable=False, name="input_step", dtype="float32"
        )
        if self.entropy:
            kernel = self.kernel_variable
            kernel.regularizer = CodedLength(self, self.entropy, kernel.regularizer)

    def call(self, inputs: Any) -> Any:
        """The wrapped layer's output with the rounded kernel and bias."""
        values = {id(self.kernel_variable): self.effective_kernel()}
        if getattr(self.layer, "bias", None) is not None:
            values[id(self.layer.bias)] = self.effective_bias()
        return self.called_with(values, inputs)

    def effective_kernel(self, variable: Any = None) -> Any:
        """The kernel on its grid, shape and layout of the wrapped layer's kernel."""
        kernel = ops.convert_to_tensor(self.kernel_variable if variable is None else variable)
        kernel = kernel * ops.cast(self.gain, kernel.dtype)
        snapped = rounded(kernel, self.grid, ops.convert_to_tensor(self.fitted))
        return ops.where(ops.convert_to_tensor(self.keep), snapped, ops.zeros_like(kernel))

    def multiples(self, variable: Any) -> Any:
        """The kernel in steps, not rounded, shape and layout of the wrapped layer's kernel; zeros until calibrated."""
        kernel = ops.convert_to_tensor(variable)
        step = ops.cast(self.grid.step(ops.convert_to_tensor(self.fitted)), kernel.dtype)
        in_steps = kernel * ops.cast(self.gain, kernel.dtype) / ops.where(step > 0, step, ops.ones_like(step))
        return ops.where(step > 0, in_steps, ops.zeros_like(in_steps))

    def effective_bias(self) -> Any:
        """The bias as a multiple of both steps, shape (outputs,)."""
        bias = ops.convert_to_tensor(self.layer.bias)
        step = self.input_step * self.grid.step(ops.convert_to_tensor(self.fitted))
        step = ops.cast(ops.reshape(step, (-1,)), bias.dtype)
        words = multiples(bias, step, -_BIAS_LARGEST, _BIAS_LARGEST, symmetric=True, xp=ops)
        return straight_through(bias, words * step, step > 0)

    @property
    def kernel_variable(self) -> Any:
        """The float weights that are rounded."""
        return kernel_variable(self)

    def fit(self, variable: Any = None) -> NDArray[np.float64]:
        """The calibration with the least squared error for the present weights; the layer is not changed.

        Args:
            variable: values to take in place of the kernel variable's, such as masked ones.

        Returns:
            What `set_calibration` takes.
        """
        kernel = self._kept_kernel(self.kernel_variable if variable is None else variable)
        if not self.per_channel:
            return self.grid.fit(kernel)
        channels = kernel.reshape(-1, int(np.prod(_channel_axes(self, kernel.shape)))).T
        return np.stack([self.grid.fit(channel) for channel in channels], axis=-1).reshape(self.fitted.shape)

    def set_input_step(self, step: float) -> None:
        """Set the step of the signal that the layer reads; 0 lets the bias be."""
        self.input_step.assign(step)

    def take(self, kernel: NDArray[Any]) -> None:
        """Set the kernel, of which the weights that are zero stay so.

        Args:
            kernel: finite weights in the wrapped layer's shape.
        """
        kept = kernel[kernel != 0].astype(np.float64)
        gain = 1.0
        if kept.size:
            depth = len(_channel_axes(self, kernel.shape))
            inputs = max(1, kept.size // int(np.prod(kernel.shape[-depth:])))
            gain = float(2.0 ** np.round(np.log2(np.sqrt(np.mean(kept**2) * inputs / 2))))
        self.kernel_variable.assign(kernel / gain)  # exact, as long as nothing underflows
        self.gain.assign(gain)
        self.keep.assign(kernel != 0)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "weight_bits": self.weight_bits,
            "power_of_two": self.power_of_two,
            "per_channel": self.per_channel,
            "input_signal": self.input_signal,
            "grid": None if type(self.grid) is WeightGrid else grid_config(self.grid),
            "entropy": self.entropy,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Self:
        """The layer of a configuration, which is not changed."""
        layer: Self = super().from_config(dict(config), custom_objects)
        return layer

    def _kept_kernel(self, variable: Any) -> NDArray[np.float64]:
        kernel = np.asarray(keras.ops.convert_to_numpy(variable), np.float64) * self.gain_value()
        return np.where(keras.ops.convert_to_numpy(self.keep), kernel, 0.0)

    def gain_value(self) -> float:
        """What the kernel variable is multiplied with."""
        return float(keras.ops.convert_to_numpy(self.gain))


def quantizer_of(layer: Any) -> QuantizedLayer | None:
    """The wrapper that rounds a layer's weights, also inside masks; None without one."""
    while isinstance(layer, TransparentWrapper):
        if isinstance(layer, QuantizedLayer):
            return layer
        layer = layer.layer
    return None


def quantized_like(quantizer: QuantizedLayer, layer: keras.layers.Layer) -> QuantizedLayer:
    """A layer, plain and perhaps smaller, in a wrapper of the same settings."""
    config = {key: value for key, value in quantizer.get_config().items() if key != "layer"}
    return QuantizedLayer(layer, **config)


def take_state(
    target: QuantizedLayer, source: QuantizedLayer, kernel: NDArray[Any], outputs: NDArray[np.int64] | None = None
) -> None:
    """Give a wrapper the kernel and the grids of another one.

    Args:
        target: a built wrapper from `quantized_like`.
        source: the wrapper that it is like.
        kernel: float weights for the target; its zeros stay zero.
        outputs: the channels of the source that are left, in order; None for all.
    """
    calibration = source.calibration()
    if outputs is not None and source.per_channel:
        calibration = calibration.reshape(*source.grid.shape, -1)[..., outputs]
    target.take(kernel)
    target.set_calibration(calibration.reshape(target.fitted.shape))
    target.set_input_step(float(keras.ops.convert_to_numpy(source.input_step)))


def _channel_axes(layer: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The last axes of a kernel, which count its output channels: two in a depthwise one."""
    depthwise = isinstance(inner_layer(layer), keras.layers.DepthwiseConv1D | keras.layers.DepthwiseConv2D)
    return shape[-2:] if depthwise else shape[-1:]
