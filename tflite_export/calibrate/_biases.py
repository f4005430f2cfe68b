"""Biases that undo the mean error that rounding leaves in each channel."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tf_structprune.task import Samples
from tflite_export.calibrate._edits import with_biases, within
from tflite_export.calibrate._observe import mean_signals
from tflite_export.calibrate._weighted import Weighted, makers_of, weighted
from tflite_export.file import TensorDescription, TFLiteFile, alone, real_constant
from tflite_export.runtime import as_list, model_inputs, run_litert


def can_correct(int8: TFLiteFile) -> bool:
    """Whether the file can be run operator by operator, each on one sample after the other."""
    tensors = int8.description.tensors
    operators = int8.description.operators
    signals = [[at for at in each.inputs if at >= 0 and not tensors[at].constant] for each in operators]
    made = [at for each in operators for at in each.outputs]
    one = all(tensors[at].shape[:1] == (1,) for at in (*made, *int8.description.input_indices))
    return one and all(signals)


def correct_biases(int8: TFLiteFile, in_float: TFLiteFile, samples: Samples, known: Mapping[int, int]) -> TFLiteFile:
    """The file with biases that bring every channel's mean back to what it is in floats.

    Rounded weights, rounded signals and cut off values shift the mean of what a layer sums up, and the shift of one
    layer goes on into the next. Where a layer sums W x + b in floats and W' x' + b here, b + E[W x] - E[W' x'] has the
    mean of the former; both are linear in the signal, so its mean over the samples is enough (Nagel et al., ICCV 2019,
    arXiv 1906.04721, section 4.2; empirically, from what the layers in front really give). Layer by layer, each behind
    the corrected ones.

    Args:
        int8: a file for which `can_correct` holds.
        in_float: the float file of the same model.
        samples: real samples.
        known: signals of the float file by those of the int8 file, see `twins`.

    Returns:
        A file with other biases where weights and signals are known in floats.
    """
    layers = {each.place: each for each in weighted(int8.description) if each.bias >= 0}
    makers = makers_of(in_float.description, known)
    means = mean_signals(in_float, samples, [maker.signal for maker in makers.values()])
    last = {index: place for place, each in enumerate(int8.description.operators) for index in each.inputs}
    signals = dict(zip(int8.description.input_indices, model_inputs(samples, int8.description).arrays, strict=True))
    biases = {}
    for place, operator in enumerate(int8.description.operators):
        layer, maker, constants = layers.get(place), makers.get(operator.outputs[0]), {}
        if layer is not None and maker is not None:
            shift = _shift(int8, in_float, layer, maker, mean=means[maker.signal], signal=signals[layer.signal])
            if shift is not None:
                biases[place] = constants[layer.bias] = _shifted(int8, layer.bias, shift)
        read = [signals[at] for at in dict.fromkeys(operator.inputs) if at in signals]
        found = run_litert(alone(int8, place, constants=constants), read)
        signals |= dict(zip(operator.outputs, as_list(found), strict=True))
        signals = {at: values for at, values in signals.items() if last.get(at, -1) > place}
    return with_biases(int8, biases) if biases else int8


def _shift(
    int8: TFLiteFile,
    in_float: TFLiteFile,
    layer: Weighted,
    maker: Weighted,
    *,
    mean: NDArray[np.float64],
    signal: NDArray[np.integer],
) -> NDArray[np.float64] | None:
    """What the mean of each channel lacks; None where the float layer has weights of another shape."""
    weights = int8.description.tensors[layer.weights]
    if weights.shape != in_float.description.tensors[maker.weights].shape:
        return None
    rounded, _ = real_constant(int8, layer.weights)
    found = _mean(signal, int8.description.tensors[layer.signal])
    wanted, here = _summed(in_float, maker, mean), _summed(in_float, maker, found, rounded)
    return np.asarray(np.mean(wanted - here, axis=tuple(range(wanted.ndim - 1))))


def _mean(signal: NDArray[np.integer], tensor: TensorDescription) -> NDArray[np.float64]:
    """What a signal is in the mean of its samples."""
    whole: NDArray[np.float64] = signal.mean(axis=0, keepdims=True, dtype=np.float64)
    return (whole - tensor.zero_points[0]) * tensor.scales[0]


def _summed(
    in_float: TFLiteFile, maker: Weighted, signal: NDArray[np.float64], weights: NDArray[np.float32] | None = None
) -> NDArray[np.float64]:
    """What a float layer sums up for a signal, perhaps with other weights, in front of its activation."""
    constants = {} if weights is None else {maker.weights: weights}
    (found,) = as_list(run_litert(alone(in_float, maker.place, constants=constants, activation=False), signal))
    return found.astype(np.float64)


def _shifted(int8: TFLiteFile, bias: int, shift: NDArray[np.float64]) -> NDArray[np.integer]:
    steps = np.asarray(int8.description.tensors[bias].scales, np.float64)
    old = int8.constants[bias]
    return within(old + shift / steps, old)
