"""The layers of a fixed-point model, made and called one by one."""

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from tf_structprune.fixed_point import RECTIFIED, SIGNED, SIGNED_SIGNAL_BITS, FixedPoint, SharedGrid
from tf_structprune.graph import LayerCall, TensorKey
from tf_structprune.layers._copy import copy_of
from tf_structprune.layers._fixed_point_plan import FixedPointPlan
from tf_structprune.layers._fold import factor_and_offset, normalized_weights
from tf_structprune.layers._quantized_layer import QuantizedLayer
from tf_structprune.layers._roles import Role, covers_map
from tf_structprune.layers._signal_quantizer import SignalQuantizer
from tf_structprune.layers._weights import assign_weights

_L = keras.layers


class FixedPointBuilder:
    """Calls the layers again, one by one, with quantizers on the way."""

    def __init__(self, recipe: FixedPoint, plan: FixedPointPlan) -> None:
        self.recipe = recipe
        self.plan = plan
        self.values: dict[TensorKey, Any] = {}
        self.layers: dict[str, Any] = {}  # by name, so that a shared layer stays one
        self.recipe_names: list[str] = []
        self.quantizers: dict[TensorKey, tuple[int, str, str]] = {}  # bits, kind, group
        self.signal_names: dict[TensorKey, str] = {}

    def run(self, calls: Sequence[LayerCall], inputs: list[Any], outputs: Sequence[TensorKey]) -> list[Any]:
        """The new outputs."""
        self.quantizers = dict(self._quantizers())
        given = iter(inputs)
        for call in calls:
            role = self.plan.roles[call.output]
            if role is Role.INPUT:
                self._set(call, self.values[call.inputs[0]] if call.inputs else next(given))
            elif call.output in self.plan.folded:
                self._set(call, self.values[call.inputs[0]])
            elif role is Role.SEPARABLE:
                self._set(call, self._separable(call))
            else:
                self._set(call, self._called(call, role))
        return [self.values[key] for key in outputs]

    def _quantizers(self) -> Iterator[tuple[TensorKey, tuple[int, str, str]]]:
        """Word length, kind and group of each signal that is not left in float."""
        groups = self.plan.groups()
        for number, keys in enumerate(groups):
            signals = [self.plan.signals[key] for key in keys]
            bits = [self.recipe.bits_of(_flat(signal.owner)).signal_bits for signal in signals]
            self.recipe_names += [_flat(signal.owner) for signal in signals]
            if None in bits:
                continue
            kinds = {signal.kind for signal in signals}
            kind = kinds.pop() if len(kinds) == 1 else SIGNED
            word = max(bit for bit in bits if bit) if kind == RECTIFIED else SIGNED_SIGNAL_BITS
            for key in keys:
                yield key, (word, kind, f"group_{number}" if len(keys) > 1 else "")

    def _set(self, call: LayerCall, made: Any) -> None:
        """Remember what a call made, rounded where the plan says so."""
        for index, value in enumerate(keras.tree.flatten(made)):
            self.values[call.output.output(index)] = value
        split = self.plan.split.get(call.output)
        owner = self.plan.signals[call.output].owner if call.output in self.plan.signals else ""
        if call.output in self.quantizers:
            bits, kind, tied = self.quantizers[call.output]
            name = _unused(f"{_flat(owner)}_signal", self.layers)
            quantizer = SignalQuantizer(
                bits=bits, kind=kind, power_of_two=self.recipe.power_of_two, tied=tied, name=name
            )
            self.layers[name] = quantizer
            self.signal_names[call.output] = name
            self.values[call.output] = quantizer(self.values[call.output])
        if split is not None:
            name = f"{_flat(call.name)}_{split.__name__}"
            layer = self.layers.setdefault(name, _L.Activation(split, name=name))
            self.values[call.output] = layer(self.values[call.output])

    def _called(self, call: LayerCall, role: Role) -> Any:
        args, kwargs = call.arguments(self.values.__getitem__)
        name = _flat(call.name)
        if role is Role.SCALE:
            args, kwargs = [self.values[call.inputs[0]]], {}
        if name not in self.layers:
            self.layers[name] = self._made(call, role, name)
        return self.layers[name](*args, **kwargs)

    def _made(self, call: LayerCall, role: Role, name: str) -> Any:
        """The layer that takes the place of another, with its weights."""
        if role is Role.SCALE:
            return self._scale(call, name)
        if covers_map(call):
            # TFLite's AVERAGE_POOL_2D has to keep the grid of its input, its MEAN need not.
            return _L.GlobalAveragePooling2D(keepdims=True, name=name, dtype=call.layer.dtype_policy)
        changes: dict[str, Any] = {"name": name}
        if call.output in self.plan.split:
            changes["activation"] = "linear"
        if role is Role.WEIGHTED:
            changes["use_bias"] = True
        layer = copy_of(call.layer, lambda config: config.update(changes))
        if role is Role.WEIGHTED:
            return self._quantized(layer, call.input_shapes[0], self._weights(call), self._read_by(call))
        if getattr(call.layer, "weights", ()):
            layer.build(call.input_shapes[0])
            assign_weights(layer, call.layer.get_weights())
        return layer

    def _weights(self, call: LayerCall) -> list[Any]:
        """Kernels and bias of a call's layer, with the normalizations that it does."""
        return normalized_weights(call.layer, self.plan.absorbed.get(call.output, ()))

    def _read_by(self, call: LayerCall) -> str:
        """Name of the quantizer of what a call reads."""
        source = self.plan.sources.get(call.inputs[0])
        return "" if source is None else self.signal_names.get(source, "")

    def _quantized(
        self, layer: Any, input_shape: Any, weights: list[Any], input_signal: str, *, least_bits: int = 0
    ) -> Any:
        self.recipe_names.append(layer.name)
        bits = self.recipe.bits_of(layer.name).weight_bits
        if bits is not None:
            layer = QuantizedLayer(
                layer,
                weight_bits=max(bits, least_bits),
                power_of_two=self.recipe.power_of_two,
                per_channel=self.recipe.per_channel,
                input_signal=input_signal,
                grid=self._shared_grid(max(bits, least_bits)),
                entropy=self.recipe.entropy,
            )
        layer.build(input_shape)
        assign_weights(layer, weights)
        if isinstance(layer, QuantizedLayer):
            layer.take(weights[0])
        return layer

    def _shared_grid(self, bits: int) -> SharedGrid | None:
        """A grid of few words, None where the recipe leaves all of them."""
        recipe = self.recipe
        return None if recipe.shared is None else SharedGrid(recipe.shared, recipe.sharing, bits, recipe.power_of_two)

    def _separable(self, call: LayerCall) -> Any:
        """A depthwise convolution and one of single pixels."""
        name = _flat(call.name)
        if name not in self.layers:
            self._make_separable(call, name)
        value = self.values[call.inputs[0]]
        for each in (f"{name}_depthwise", f"{name}_depthwise_signal", name):
            value = self.layers[each](value)
        return value

    def _make_separable(self, call: LayerCall, name: str) -> None:
        config, shape = call.layer.get_config(), call.input_shapes[0]
        spread, point, bias = self._weights(call)
        shared = {key: config[key] for key in ("strides", "padding", "dilation_rate", "dtype", "depth_multiplier")}
        depthwise = _L.DepthwiseConv2D(config["kernel_size"], name=f"{name}_depthwise", **shared)
        activation = "linear" if call.output in self.plan.split else config["activation"]
        pointwise = _L.Conv2D(config["filters"], 1, activation=activation, name=name, dtype=config["dtype"])
        between = depthwise.compute_output_shape(shape)
        zeros = np.zeros(between[-1], np.float32)
        signal = f"{name}_depthwise_signal"
        self.layers[depthwise.name] = self._quantized(depthwise, shape, [spread, zeros], self._read_by(call))
        self.layers[name] = self._quantized(pointwise, between, [point, bias], signal)
        in_float = self.recipe.bits_of(depthwise.name).signal_bits is None
        self.layers[signal] = (
            _L.Identity(name=signal)
            if in_float
            else SignalQuantizer(kind=SIGNED, power_of_two=self.recipe.power_of_two, name=signal)
        )

    def _scale(self, call: LayerCall, name: str) -> Any:
        """A normalization or rescaling that stands alone, as a depthwise convolution of single pixels."""
        shape = call.input_shapes[0]
        factor, offset = _affine(call, int(shape[-1] or 0))
        layer = _L.DepthwiseConv2D(1, name=name, dtype=call.layer.dtype_policy)
        # One number a channel: fewer bits would save nothing and distort everything.
        weights = [factor.reshape(1, 1, -1, 1), offset]
        return self._quantized(layer, shape, weights, self._read_by(call), least_bits=8)


def _affine(call: LayerCall, channels: int) -> tuple[Any, Any]:
    """Factor and offset by channel of a layer that scales each channel."""
    layer = call.layer
    if len(call.input_shapes[0]) != 4 or not channels:
        raise ValueError(
            f"Layer '{call.name}' ({type(layer).__name__}) has no fixed-point form here: it does not follow a "
            f"convolution or dense layer, and its input is not (height, width, channels). Received: input shape "
            f"{call.input_shapes[0]}. Put it behind a layer without activation, or leave it out."
        )
    if isinstance(layer, _L.BatchNormalization):
        if layer.axis not in (-1, 3):
            raise ValueError(
                f"Layer '{call.name}' must normalize the last axis in fixed point. Received: axis={layer.axis}."
            )
        factor, offset = factor_and_offset(layer)
    elif isinstance(layer, _L.Rescaling):
        factor, offset = np.asarray(layer.scale, np.float64), np.asarray(layer.offset, np.float64)
    else:
        deviation = np.maximum(np.sqrt(np.asarray(layer.variance, np.float64)), keras.config.epsilon()).ravel()
        mean = np.asarray(layer.mean, np.float64).ravel()
        factor, offset = 1 / deviation, -mean / deviation
        if layer.invert:
            factor, offset = deviation, mean
    return np.broadcast_to(factor, channels).astype(np.float32), np.broadcast_to(offset, channels).astype(np.float32)


def _flat(name: str) -> str:
    """A name in the flat model: Keras allows no slash in it, and torch no dot."""
    return name.replace("/", "-")


def _unused(name: str, taken: dict[str, Any]) -> str:
    number = 1
    while (numbered := name if number == 1 else f"{name}_{number}") in taken:
        number += 1
    return numbered
