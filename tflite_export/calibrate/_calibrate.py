"""An int8 file brought nearer to the floats that it was made of, with the same operators and bytes."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tf_structprune.task import Samples
from tflite_export.calibrate._biases import can_correct, correct_biases
from tflite_export.calibrate._edits import with_grids
from tflite_export.calibrate._grids import Grid, least_error
from tflite_export.calibrate._observe import count_values
from tflite_export.calibrate._signals import shared_grids, twins
from tflite_export.calibrate._weighted import makers_of, weighted
from tflite_export.file import TFLiteFile
from tflite_export.runtime import dead_signals, real_outputs, run_litert

_SAMPLES = 256  # that are enough for means, as both files are given the same
_FEWEST = 16
_VALUES = 2**27  # of a signal that are held at once


@dataclass(frozen=True)
class Calibrated:
    """A file and what it gained.

    Attributes:
        file: the file that errs least of those that were tried, the given one among them.
        errors: mean square difference of the scores from those in floats over their variance, on the samples, added
            over the outputs: of the file as given, with other ranges, and with other biases too.
    """

    file: TFLiteFile
    errors: Mapping[str, float]


def calibrate(int8: TFLiteFile, in_float: TFLiteFile, samples: Samples, *, biases: bool = True) -> Calibrated:
    """Gives signals the ranges, and layers the biases, with which a file errs least.

    TensorFlow's converter makes the range of a signal wide enough for the largest value in any sample, and rounds
    without regard to the mean error that this leaves. Here a range is the one of least squared error, see
    `least_error`, and each bias takes the mean error of its layer back, see `correct_biases`. Operators, shapes and
    bytes stay, and no label is needed.

    Args:
        int8: the file, with signals of 8 bits; of one with 16, ranges stay.
        in_float: the float file that the converter makes of the same model.
        samples: real samples, in the order of the inputs; all for ranges, the first 256 for biases and errors, of
            large signals fewer.
        biases: whether biases are corrected too.

    Returns:
        The file; the given one where it errs least, and without errors where it cannot be run, as with a signal that
        is zero on all samples.
    """
    if dead_signals(int8):
        return Calibrated(int8, {})
    known = twins(int8.description, in_float.description)
    ranged = with_grids(int8, _ranges(int8, in_float, samples, known), _exact_biases(int8, in_float, known))
    files = {"as given": int8, "ranges": ranged}
    largest = max(tensor.elements for tensor in int8.description.tensors)
    some = samples[: min(_SAMPLES, max(_FEWEST, _VALUES // largest))]
    if biases and can_correct(ranged):
        files["biases"] = correct_biases(ranged, in_float, some, known)
    errors = _errors(files, in_float, some)
    return Calibrated(files[min(errors, key=errors.__getitem__)], errors)


def _ranges(int8: TFLiteFile, in_float: TFLiteFile, samples: Samples, known: Mapping[int, int]) -> dict[int, Grid]:
    """The grids of least error that are not the file's own."""
    groups = shared_grids(int8.description, known)
    held = {index: _grid(int8, index) for group in groups for index in group}
    seen = count_values(in_float, samples, {known[index]: grid for index, grid in held.items()})
    found: dict[int, Grid] = {}
    for group in groups:
        values = [seen[known[index]] for index in group if seen[known[index]].variance > 0]
        if values and (best := least_error(values, held[group[0]])) != held[group[0]]:
            found |= dict.fromkeys(group, best)
    return found


def _exact_biases(int8: TFLiteFile, in_float: TFLiteFile, known: Mapping[int, int]) -> dict[int, NDArray[np.floating]]:
    """Biases before rounding by the place of the operator that adds them."""
    makers, tensors = makers_of(in_float.description, known), int8.description.tensors
    pairs = [(each, makers[each.made]) for each in weighted(int8.description) if each.made in makers]
    both = [(layer, maker) for layer, maker in pairs if layer.bias >= 0 and maker.bias >= 0]
    found = {layer.place: in_float.constants[maker.bias] for layer, maker in both}
    shapes = {layer.place: tensors[layer.bias].shape for layer, _ in both}
    return {place: values for place, values in found.items() if values.shape == shapes[place]}


def _grid(int8: TFLiteFile, index: int) -> Grid:
    tensor = int8.description.tensors[index]
    return Grid(tensor.scales[0], tensor.zero_points[0])


def _errors(files: Mapping[str, TFLiteFile], in_float: TFLiteFile, samples: Samples) -> dict[str, float]:
    """Errors of files against the floats, in the scores in front of a last softmax."""
    wanted = _scores(in_float, samples)
    return {name: _error(_scores(file, samples), wanted) for name, file in files.items()}


def _scores(file: TFLiteFile, samples: Samples) -> list[np.ndarray]:
    return list(real_outputs(run_litert(file.scores, samples), file.scores.description))


def _error(found: list[np.ndarray], wanted: list[np.ndarray]) -> float:
    pairs = zip(found, wanted, strict=True)
    return float(sum(np.square(a - b).mean() / max(float(b.var()), np.finfo(np.float32).tiny) for a, b in pairs))
