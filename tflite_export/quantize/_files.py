"""The files of a fixed-point model, made and read back."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.graph import named_layers
from tf_structprune.layers import quantized_layers, signal_quantizers
from tflite_export.file import (
    ModelDescription,
    TensorDescription,
    TFLiteFile,
    TFLiteModel,
    least_memory_order,
    open_file,
    packed,
    slim,
    slim_with_names,
    without_ties,
)
from tflite_export.quantize._fixed_point import convert_fixed_point, float_form
from tflite_export.quantize._scales import signal_scale

_INT4_BITS = 4
_ROUNDING = 1e-6  # relative, of scales that are no powers of two: the converter computes them in float32
_FIXED_OUTPUT = {"SOFTMAX": (1 / 256, -128), "LOGISTIC": (1 / 256, -128), "TANH": (1 / 128, 0)}


@dataclass(frozen=True)
class FixedPointFiles:
    """The `.tflite` files of one model in fixed point.

    Attributes:
        int8: every weight and signal in int8, for all runtimes. Words of 6 bits and fewer lie in its upper bits,
            and no convolution rounds a tie then, see `without_ties`.
        int4: the same with weights of 4 bits and fewer two in a byte, for LiteRT's own kernels and TFLite Micro; None
            if there are none. XNNPACK leaves its convolutions to slower kernels.
    """

    int8: TFLiteFile
    int4: TFLiteFile | None


def fixed_point_files(
    model: keras.Model, *, computing: keras.Model | None = None, names: bool = False
) -> FixedPointFiles:
    """Converts a model from `to_fixed_point` and checks what was written.

    Args:
        model: calibrated throughout, not masked.
        computing: see `convert_fixed_point`.
        names: whether inputs, outputs and the signature keep their names.

    Returns:
        The files.

    Raises:
        RuntimeError: Keras runs on another backend than TensorFlow, or a file does not hold the model's grids.
        ValueError: see `convert_fixed_point`.
    """
    last = slim_with_names if names else slim
    int8 = convert_fixed_point(model, computing=computing, guard_bits=True)
    int8 = int8.edited(without_ties, least_memory_order, last)
    check_file(int8, model, computing=computing)
    if all(layer.weight_bits > _INT4_BITS for layer in quantized_layers(model).values()):
        return FixedPointFiles(int8, None)
    int4 = convert_fixed_point(model, computing=computing).edited(packed, least_memory_order, last)
    check_file(int4, model, computing=computing)
    return FixedPointFiles(int8, int4)


def check_file(given: TFLiteModel, model: keras.Model, *, computing: keras.Model | None = None) -> None:
    """Reads a file back: its weights are the model's, to the last bit of each, and its signals have the model's grids.

    Args:
        given: the file.
        model: the fixed-point model that it was made from.
        computing: see `convert_fixed_point`.

    Raises:
        RuntimeError: a weight or a scale differs; names the layer.
    """
    file = open_file(given)
    base = named_layers(float_form(model) if computing is None else computing)
    wanted = {name: _as_tflite(base[name]) for name in quantized_layers(model)}
    held = set()
    for values in _weights(file.description, file.constants):
        equal = {name for name, kernels in wanted.items() if any(_same(values, kernel) for kernel in kernels)}
        held |= equal
        if not equal:
            raise RuntimeError(
                f"The file has weights that no layer of the model has on its grid. Received: shape {values.shape}. "
                "Report the model; use quantize='int8'."
            )
    if missing := set(wanted) - held:
        raise RuntimeError(
            f"Layer '{min(missing)}': the file does not hold its weights. Received: {len(held)} of {len(wanted)} "
            "layers. Report the model; use quantize='int8'."
        )
    _check_signals(file.description, model)


def _check_signals(description: ModelDescription, model: keras.Model) -> None:
    scales = [signal_scale(name, layer) for name, layer in signal_quantizers(model).items()]
    known = {(each.scale, each.zero_point) for each in scales}
    known |= {_FIXED_OUTPUT[op.name] for op in description.operators if op.name in _FIXED_OUTPUT}
    for tensor in description.tensors:
        if not tensor.constant and not (tensor.dtype == "int8" and any(_is_on(tensor, *grid) for grid in known)):
            raise RuntimeError(
                f"The file's tensor of shape {tensor.shape} is not on a grid of the model. Received: {tensor.dtype}, "
                f"scales {tensor.scales}, zero points {tensor.zero_points}. Report the model; use quantize='int8'."
            )


def _is_on(tensor: TensorDescription, scale: float, zero_point: int) -> bool:
    exact = float(np.log2(scale)).is_integer()
    return tensor.zero_points == (zero_point,) and bool(
        np.isclose(tensor.scales[0], scale, rtol=0 if exact else _ROUNDING, atol=0)
    )


def _weights(description: ModelDescription, constants: dict[int, NDArray[np.generic]]) -> Iterator[NDArray[np.float64]]:
    """The real values of each convolution's weights."""
    for operator in description.operators:
        if operator.name not in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            continue
        tensor, values = description.tensors[operator.inputs[1]], constants[operator.inputs[1]]
        axis = 0 if operator.name == "CONV_2D" else -1
        scales = np.asarray(tensor.scales).reshape([-1 if at == axis % 4 else 1 for at in range(4)])
        yield values.astype(np.float64) * scales


def _as_tflite(layer: Any) -> list[NDArray[np.float32]]:
    """The kernels of a float layer in the layout of the operators that compute with them, and all as one."""
    *kernels, _ = layer.get_weights()
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        return [kernel.reshape(1, *kernel.shape[:2], -1) for kernel in kernels]
    images = [kernel.reshape((1,) * (4 - kernel.ndim) + kernel.shape) for kernel in kernels]  # (h, w, in, out)
    alike = len({image.shape[:3] for image in images}) == 1
    together = [np.concatenate(images, axis=-1)] if alike and len(images) > 1 else []
    return [np.moveaxis(image, -1, 0) for image in (*images, *together)]


def _same(values: NDArray[np.float64], wanted: NDArray[np.float32]) -> bool:
    """Whether weights are equal, up to the float32 rounding of a step that is no power of two."""
    return values.shape == wanted.shape and bool(np.allclose(values, wanted, rtol=_ROUNDING, atol=0))
