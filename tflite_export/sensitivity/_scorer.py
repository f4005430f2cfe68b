"""Scores a model whose parts are rounded as in its int8 file, or not."""

from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tf_structprune.task import Samples, Validation
from tflite_export.file import TFLiteFile
from tflite_export.runtime import as_list, real_outputs, run_litert
from tflite_export.sensitivity._mixed import mixed
from tflite_export.sensitivity._pair import FilePair
from tflite_export.sensitivity._parts import Part
from tflite_export.sensitivity._usage import Usage, UsageMeter

_LOOKED_AT = 64  # samples on which signals inside the model are measured
_BATCH = 8  # of them at a time
_MOST_DB = 200.0  # of a signal without noise

Arrays = list[NDArray[np.float32]]


class Int8Scorer:
    """Runs the files in which parts are rounded; the outputs of the last one are kept.

    Args:
        pair: the files of the model.
        parts: what can be rounded.
        samples: inputs, as the model takes them.
        validation: their targets and score.
    """

    def __init__(self, pair: FilePair, parts: Sequence[Part], samples: Samples, validation: Validation) -> None:
        self.pair, self.parts, self.samples, self.validation = pair, tuple(parts), samples, validation
        self._last: tuple[frozenset[Part], Arrays] | None = None

    @cached_property
    def in_float(self) -> Arrays:
        """Outputs with nothing rounded."""
        return self._run(mixed(self.pair, self.parts, ()), self.samples)

    @cached_property
    def in_int8(self) -> Arrays:
        """Outputs of the int8 file itself."""
        return self._run(self.pair.int8, self.samples)

    def outputs(self, rounded: Collection[Part]) -> Arrays:
        """Outputs with some parts rounded."""
        wanted = frozenset(rounded)
        if self._last is None or self._last[0] != wanted:
            self._last = wanted, self._run(mixed(self.pair, self.parts, wanted), self.samples)
        return self._last[1]

    def score(self, outputs: Arrays) -> float:
        """Score of outputs."""
        return self.validation.score_of(outputs[0] if len(outputs) == 1 else outputs)

    def output_db(self, part: Part) -> float:
        """Signal to noise of the outputs with one part rounded, of several the lowest."""
        return min(decibels(*both) for both in zip(self.in_float, self.outputs([part]), strict=True))

    def signal_db(self, part: Part) -> float:
        """Signal to noise of what a part makes with its own rounding alone, on some samples."""
        files = [mixed(self.pair, self.parts, rounded, shown=[part.signal]) for rounded in ((), (part,))]
        real, rounded = (np.concatenate([arrays[0] for arrays in self._looked_at(file)]) for file in files)
        return decibels(real, rounded)

    def usages(self) -> dict[Part, Usage]:
        """How each signal uses its steps, in float on some samples."""
        tensors = self.pair.int8.description.tensors
        meters = [UsageMeter(tensors[part.signal]) for part in self.parts]
        for arrays in self._looked_at(mixed(self.pair, self.parts, (), shown=[part.signal for part in self.parts])):
            for meter, array in zip(meters, arrays, strict=True):
                meter.see(array)
        return {part: meter.usage() for part, meter in zip(self.parts, meters, strict=True)}

    def _looked_at(self, file: TFLiteFile) -> Iterator[Arrays]:
        """Outputs of a file on samples from all over the data, some at a time."""
        places = np.unique(np.linspace(0, len(self.samples) - 1, _LOOKED_AT).astype(int))
        for begin in range(0, len(places), _BATCH):
            chosen = places[begin : begin + _BATCH]
            yield self._run(file, Samples(tuple(array[chosen] for array in self.samples.arrays)))

    def _run(self, file: TFLiteFile, samples: Samples) -> Arrays:
        return real_outputs(as_list(run_litert(file, samples, real=True)), file.description)


def decibels(real: NDArray[Any], rounded: NDArray[Any]) -> float:
    """Power of a signal over that of its difference to another one, in decibels, 200 at most."""
    signal = float(np.sum(np.square(real, dtype=np.float64)))
    noise = float(np.sum(np.square(np.subtract(rounded, real, dtype=np.float64))))
    if noise == 0:
        return _MOST_DB
    return float(np.clip(10 * np.log10(max(signal, 1e-300) / noise), -_MOST_DB, _MOST_DB))
