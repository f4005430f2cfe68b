"""A test that firmware runs on itself: recorded samples, and the outputs that the model must give."""

import string
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tf_structprune.task import Samples
from tflite_export.bundle._model_settings import End, Ends, float_literal
from tflite_export.bundle._program import macro_of
from tflite_export.bundle._texts import filled
from tflite_export.file import TFLiteFile
from tflite_export.pack import decoded, stand_in
from tflite_export.runtime import as_list, model_inputs, run_litert, run_tflm, tflm_available

_SAMPLES = 3
_LOOKED_AT = 128  # samples of which they are chosen, for the reference kernels take their time
_FLOAT_SHARE = 1e-4  # as `verify` allows the float file: kernels sum in another order
_INTEGERS_PER_ROW, _FLOATS_PER_ROW = 16, 6  # lines of 100 letters at most


@dataclass(frozen=True)
class Recorded:
    """Samples and outputs of a file.

    Attributes:
        inputs: for each input an array `(samples, *shape)`, as the file takes it.
        outputs: for each output an array, as LiteRT's reference kernels gave it.
        tolerances: for each output how far a value may be off: of integers by none, unless TFLite Micro on this host
            was off on these samples; of floats by a ten-thousandth of the largest.
    """

    inputs: tuple[NDArray[Any], ...]
    outputs: tuple[NDArray[Any], ...]
    tolerances: tuple[float, ...]

    @property
    def samples(self) -> int:
        """How many there are."""
        return len(self.inputs[0])

    @property
    def size_bytes(self) -> int:
        """What they take of flash."""
        return sum(array.nbytes for array in (*self.inputs, *self.outputs))


def record(file: TFLiteFile, samples: Any) -> Recorded:
    """Runs a file on the three samples that tell most, or on as many as differ.

    An output at the end of its range stays there when a weight changes: a softmax that is sure still gives 0 and 1. So
    those are taken, of at most 128 that differ and are evenly spread, whose outputs are the furthest from the ends.

    Args:
        file: the file; of packed weights those are run that its operators decode.
        samples: real samples, as `runtime.model_inputs` takes them.

    Raises:
        ValueError: samples that do not fit the file, or a file that LiteRT cannot run.
    """
    plain = decoded(file) if file.description.packed else file
    given = _differing(model_inputs(samples, plain.description, real=True))
    found = as_list(run_litert(plain, given, kernels="reference"))
    telling = _telling(found)
    chosen, outputs = given[telling], [output[telling] for output in found]
    others = as_list(run_tflm(stand_in(file), chosen)) if tflm_available() else outputs
    tolerances = tuple(map(_tolerance, outputs, others))
    return Recorded(tuple(map(np.asarray, chosen.arrays)), tuple(outputs), tolerances)


def _differing(samples: Samples) -> Samples:
    """Some samples, evenly spread, and of those that are alike the first."""
    places: dict[bytes, int] = {}
    for place in np.unique(np.linspace(0, len(samples) - 1, _LOOKED_AT).astype(int)):
        places.setdefault(b"".join(array[place].tobytes() for array in samples.arrays), place)
    return samples[np.array(list(places.values()))]


def _telling(outputs: Sequence[NDArray[Any]]) -> NDArray[np.intp]:
    """Places of the samples whose outputs are the furthest from the ends of their range; of equal ones the first."""
    distances = np.sum([_from_ends(output.reshape(len(output), -1)) for output in outputs], axis=0)
    return np.sort(np.argsort(-distances, kind="stable")[:_SAMPLES])


def _from_ends(output: NDArray[Any]) -> NDArray[np.float64]:
    """How far the values of each sample are from the least and the largest of all samples, in the mean, as a share."""
    values = output.astype(np.float64)
    low, high = values.min(), values.max()
    near: NDArray[np.float64] = np.minimum(values - low, high - values).mean(axis=1)
    return near / (high - low) if high > low else near


def _tolerance(wanted: NDArray[Any], other: NDArray[Any]) -> float:
    if np.issubdtype(wanted.dtype, np.integer):
        return float(np.abs(wanted.astype(np.int64) - other.astype(np.int64)).max(initial=0))
    return float(max(_FLOAT_SHARE * np.abs(wanted).max(initial=0), np.finfo(np.float32).tiny))


def self_test(recorded: Recorded, name: str, ends: Ends, *, data: bytes) -> dict[str, str]:
    """`NAME_self_test.cc` and `NAME_self_test.h`, C++11.

    `bool NAME_data_is_whole()` compares the CRC-32 of the model's bytes: a program calls it before anything reads them.
    `int NAME_self_test(tflite::MicroInterpreter&)` does so too, runs each sample, prints PASS or FAIL and the largest
    difference of each output, and returns how many samples failed.

    Args:
        recorded: of the bundle's file.
        name: of the bundle.
        ends: the inputs and outputs of the file.
        data: the bytes of the file.

    Returns:
        Texts by file name.
    """
    inputs = list(zip(ends.inputs, recorded.inputs, strict=True))
    outputs = list(zip(ends.outputs, recorded.outputs, recorded.tolerances, strict=True))
    names = {
        "name": name,
        "macro": macro_of(name),
        "samples": recorded.samples,
        "crc32": f"{zlib.crc32(data):#010x}",
        "bytes": f"{recorded.size_bytes:,}",
        "inputs": "\n".join(_array(end, values) for end, values in inputs),
        "outputs": "\n".join(_array(end, values) + _limit(end, allowed) for end, values, allowed in outputs),
        "takes": "".join(_filled(_TAKE, end) for end in ends.inputs),
        "missing": " || ".join(f"{end.variable} == nullptr" for end in (*ends.inputs, *ends.outputs)),
        "gives": "".join(_filled(_GIVE, end) for end in ends.outputs),
        "fills": "".join(_filled(_FILL, end) for end in ends.inputs),
        "checks": "".join(_filled(_CHECK, end) for end in ends.outputs),
        "allowed": _allowed(recorded),
    }
    return {f"{name}_self_test{ending}": filled(f"self_test{ending}", names) for ending in (".cc", ".h")}


def _allowed(recorded: Recorded) -> str:
    """In words how far outputs may be off."""
    if any(not np.issubdtype(array.dtype, np.integer) for array in recorded.outputs):
        return "by a ten-thousandth of the largest output, for sums of floats depend on their order"
    steps = int(max(recorded.tolerances))
    return "by nothing" if not steps else f"by {steps}, as TFLite Micro was on the host that wrote this"


def _array(end: End, values: NDArray[Any]) -> str:
    rows = "\n".join(f"    {{\n{_rows(sample.ravel())}\n    }}," for sample in values)
    return f"{_filled(_ARRAY, end)}{rows}\n}};\n"


def _rows(values: NDArray[Any]) -> str:
    real = np.issubdtype(values.dtype, np.floating)
    words = [float_literal(value) if real else str(int(value)) for value in values]
    width = _FLOATS_PER_ROW if real else _INTEGERS_PER_ROW
    lines = (words[start : start + width] for start in range(0, len(words), width))
    return "\n".join(f"        {', '.join(line)}," for line in lines)


def _limit(end: End, allowed: float) -> str:
    return f"constexpr float k{end.name}Allowed = {float_literal(allowed)};\n"


def _filled(part: str, end: End) -> str:
    """A part of the test for one input or output."""
    return string.Template(part).substitute(
        type=f"{end.name}Type", elements=f"k{end.name}Elements", end=end.name, variable=end.variable, place=end.place
    )


_ARRAY = """\
const settings::${type} k${end}[kSamples][settings::${elements}] = {
"""
_TAKE = """\
  settings::${type}* ${variable} = interpreter.typed_input_tensor<settings::${type}>(${place});
"""
_GIVE = """\
  const settings::${type}* ${variable} = interpreter.typed_output_tensor<settings::${type}>(${place});
"""
_FILL = """\
    for (std::size_t i = 0; i < settings::${elements}; ++i) ${variable}[i] = k${end}[sample][i];
"""
_CHECK = """\
    if (!Check("${variable}", sample, ${variable}, k${end}[sample], settings::${elements}, k${end}Allowed)) {
      passed = false;
    }
"""
