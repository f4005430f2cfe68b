"""Find the fixed-point grids of a model: of its weights from the weights, of its signals from samples."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.graph import layer_inputs, named_layers
from tf_structprune.layers import (
    MaskedLayer,
    SignalQuantizer,
    is_fixed_point,
    quantized_layers,
    quantizer_of,
    signal_quantizers,
    tied_together,
)
from tf_structprune.task import Samples, as_arrays

_BATCH = 64  # samples in memory at a time, with all their activations
_VALUES = 2**18  # of a signal that its step is fitted to; more change the step by less than a per mille


def calibrate(model: keras.Model, x: Any) -> None:
    """Put weights, then signals, of a model from `to_fixed_point` on the grids with the least squared error.

    Args:
        model: the model, masked or not; its quantizers are changed.
        x: samples as the model takes them: an array, shape (samples, ...), or a list or dictionary of arrays; some
            hundred are enough.

    Raises:
        ValueError: a model without quantizers, no samples, values that are not finite, or other inputs than the
            model's.
    """
    check_fixed_point(model)
    calibrate_weights(model)
    calibrate_signals(model, x)


def calibrate_weights(model: keras.Model) -> None:
    """Fit the steps of all kernels to the present float weights (Sung et al., arXiv 1511.06488, section 2).

    Args:
        model: the model, masked or not.
    """
    for layer in named_layers(model).values():
        quantizer = quantizer_of(layer)
        if quantizer is not None:
            # Weights under a mask count as the zeros that they are.
            variable = layer.masked_variable() if isinstance(layer, MaskedLayer) else None
            quantizer.set_calibration(quantizer.fit(variable))


def calibrate_signals(model: keras.Model, x: Any) -> None:
    """Fit the grids of all signals to what they are with the weights as they are rounded now.

    Args:
        model: the model, masked or not.
        x: samples as the model takes them.

    Raises:
        ValueError: no samples, values that are not finite, or other inputs than the model's.
    """
    samples = check_samples(model, x)
    layers = signal_quantizers(model)
    for layer in layers.values():
        layer.set_calibration(0)
    tell_input_steps(model)
    fit_signals(list(layers.values()), sample_signals(model, list(layers), samples))
    tell_input_steps(model)


def fit_signals(layers: Sequence[SignalQuantizer], seen: Mapping[str, NDArray[np.float32]]) -> None:
    """Put some quantizers on the grids that suit samples of their signals, those tied together on one grid.

    Args:
        layers: the quantizers.
        seen: by their names, values of the signals, from `sample_signals`.
    """
    for group in tied_together(layers):
        calibration = group[0].fit(np.concatenate([seen[layer.name] for layer in group]))
        for layer in group:
            layer.set_calibration(calibration)


def tell_input_steps(model: keras.Model) -> None:
    """Tell every layer the step of the signal that it reads, on which the grid of its bias depends."""
    steps = {layer.name: float(layer.step_values()) for layer in signal_quantizers(model).values()}
    for layer in quantized_layers(model).values():
        layer.set_input_step(steps.get(layer.input_signal, 0.0))


def check_samples(model: keras.Model, x: Any) -> Samples:
    """Samples for calibration.

    Args:
        model: the model that takes them.
        x: an array, shape (samples, ...), or a list or dictionary of arrays.

    Raises:
        ValueError: none, values that are not finite, or other inputs than the model's.
    """
    check_finite(x)
    return Samples.of(model, x).fitting(model, "The data")


def check_finite(x: Any) -> None:
    """Refuses samples for calibration that no model could take.

    Raises:
        ValueError: none, or values that are not finite.
    """
    try:
        arrays = keras.tree.flatten(x.arrays if isinstance(x, Samples) else as_arrays(x))
    except ValueError:  # NumPy's, of things of several lengths
        arrays = []
    if not arrays or any(array.dtype.kind in "OUSMm" for array in arrays):
        raise ValueError(
            f"The data must be arrays of numbers. Received: {type(x).__name__}. Pass some hundred training samples as "
            "an array, or a list or dictionary of arrays, without labels."
        )
    if not all(array.ndim and len(array) and np.isfinite(array).all() for array in arrays):
        told = ", ".join(str(array.shape) for array in arrays)
        raise ValueError(
            f"The data must be finite numbers. Received: shape={told}"
            f"{', with NaN or infinite values' if all(array.size for array in arrays) else ''}. Pass some hundred "
            "training samples."
        )


def check_fixed_point(model: keras.Model) -> None:
    """Refuses a model without quantizers.

    Raises:
        ValueError: there are none.
    """
    if not is_fixed_point(model):
        raise ValueError(
            f"Model '{model.name}' has no quantizers. Received: a plain model. Train to_fixed_point(model, recipe) "
            "instead."
        )


def sample_signals(model: keras.Model, names: Sequence[str], x: Samples) -> dict[str, NDArray[np.float32]]:
    """A sample of the values of each signal, as the model computes them now.

    Args:
        model: the model.
        names: paths of the quantizers of the signals.
        x: samples.

    Returns:
        By name, what the quantizer reads, flat; up to `2**18` values or one an image, the same in each call.
    """
    rng = np.random.default_rng(0)
    share = max(1, _VALUES * _BATCH // max(len(x), _BATCH))
    found: dict[str, list[NDArray[np.float32]]] = {name: [] for name in names}
    for start in range(0, len(x), _BATCH):
        batch = x[start : start + _BATCH]
        for name, tensors in layer_inputs(model, names, list(batch.arrays)).items():
            for tensor in tensors:
                values = np.asarray(keras.ops.convert_to_numpy(tensor), np.float32).ravel()
                few = values if values.size <= share else rng.choice(values, share, replace=False)
                found[name].append(few)
    return {name: np.concatenate(parts) for name, parts in found.items()}
