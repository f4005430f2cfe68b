"""What the signals of a float file are on samples, a few samples at a time."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tf_structprune.task import Samples
from tflite_export.calibrate._grids import Grid, Seen
from tflite_export.file import TFLiteFile, giving
from tflite_export.runtime import as_list, run_litert

_BYTES = 2**26  # of the signals that are held at once


def count_values(in_float: TFLiteFile, samples: Samples, grids: Mapping[int, Grid]) -> dict[int, Seen]:
    """Counts the values of signals.

    Args:
        in_float: the file.
        samples: what its inputs are.
        grids: by index into `ModelDescription.tensors`, grids that hold all values.
    """
    seen = {index: Seen(grid) for index, grid in grids.items()}
    for signals in _runs(in_float, samples, list(grids)):
        for index, values in seen.items():
            values.add(signals[index])
    return seen


def mean_signals(in_float: TFLiteFile, samples: Samples, places: Sequence[int]) -> dict[int, NDArray[np.float64]]:
    """Averages signals over the samples.

    Args:
        in_float: the file.
        samples: what its inputs are.
        places: indices into `ModelDescription.tensors`.

    Returns:
        The averages by index, each of the signal's shape.
    """
    sums: dict[int, NDArray[np.float64]] = {}
    for signals in _runs(in_float, samples, list(dict.fromkeys(places))):
        for index, values in signals.items():
            sums[index] = sums.get(index, 0.0) + values.sum(axis=0, keepdims=True, dtype=np.float64)
    return {index: total / len(samples) for index, total in sums.items()}


def _runs(file: TFLiteFile, samples: Samples, places: Sequence[int]) -> Iterator[dict[int, NDArray[np.float32]]]:
    """The signals on all samples, of so many at once as there is room for."""
    if not places:
        return
    ends = [index for index in places if index in file.description.input_indices]
    made = [index for index in places if index not in ends]
    opened = giving(file, made) if made else None
    size = max(1, _BYTES // (4 * sum(file.description.tensors[index].elements for index in places)))
    for start in range(0, len(samples), size):
        some = samples[start : start + size]
        found = as_list(run_litert(opened, some)) if opened is not None else []
        given = [some.arrays[file.description.input_indices.index(index)].astype(np.float32) for index in ends]
        yield dict(zip([*made, *ends], [*found, *given], strict=True))
