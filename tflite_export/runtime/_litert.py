"""Runs a model in LiteRT, with XNNPACK or with the reference kernels."""

import itertools
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tflite_export.child import CrashError, NativeError, native, refusal
from tflite_export.file import TFLiteFile, TFLiteModel, open_file, operator_that
from tflite_export.runtime._samples import Outputs, as_outputs, batches_of_inputs

Kernels = Literal["xnnpack", "reference"]
"""Which kernels LiteRT uses: XNNPACK's, as phones do, or the plain C++ ones that define the result."""

_BATCH = 64  # samples that are converted at once
_NO_RANGE = 1e-8  # of a scale: TensorFlow's converter makes 2e-6 / 255 of a signal that is always zero
_RESOLVERS = {
    "xnnpack": "BUILTIN",
    "reference": "BUILTIN_REF",
}


def run_litert(
    model: TFLiteModel, inputs: Any, *, kernels: Kernels = "xnnpack", threads: int = 1, real: bool = False
) -> Outputs:
    """Runs a model in LiteRT, one sample after the other.

    Args:
        model: path of the file, or its bytes; inputs of batch 1.
        inputs: `(n, *shape)` real numbers, quantized as the QUANTIZE operator does when the model takes
            integers; an array of the model's integer dtype is taken as already quantized. For several inputs a list
            of such arrays in their order, or a dictionary by the names in the file.
        kernels: "xnnpack" or "reference".
        threads: number of CPU threads.
        real: whether integers of the model's dtype are real numbers too, such as the bytes of images.

    Returns:
        `(n, *output shape)` raw outputs, integers for a quantized model (see `dequantize`); a list for several outputs.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: damaged file, other inputs than the model's, samples of another shape, wrong argument.
    """
    if kernels not in _RESOLVERS:
        raise ValueError(f"kernels must be one of {sorted(_RESOLVERS)}. Received: kernels={kernels!r}.")
    if threads < 1:
        raise ValueError(f"threads must be at least 1. Received: threads={threads}. Use 1 for one core.")
    file = open_file(model)
    batches = batches_of_inputs(inputs, file.description, _BATCH, real=real)
    first = next(batches)  # refuses what does not fit
    parts: list[list[NDArray[Any]]] = []
    try:
        with native() as ask:
            ask("load", file.data, _RESOLVERS[kernels], threads)
            parts.extend(ask("run", samples.arrays) for samples in itertools.chain([first], batches))
    except NativeError as error:
        raise ValueError(_told(error, file, kernels, first.arrays)) from error
    return as_outputs([np.concatenate(rows) for rows in zip(*parts, strict=True)])


def litert_latencies_us(files: Sequence[TFLiteFile], *, threads: int, warmup: int, runs: int) -> NDArray[np.float64]:
    """Times files in turns, with XNNPACK and random inputs.

    Args:
        files: what to run.
        threads: number of CPU threads, 1 or more.
        warmup: number of untimed rounds before the timed ones.
        runs: number of timed rounds.

    Returns:
        Microseconds, shape (files, runs).

    Raises:
        ValueError: a file that LiteRT cannot run.
    """
    try:
        with native() as ask:
            found: NDArray[np.float64] = ask("latencies_us", [file.data for file in files], threads, warmup, runs)
    except NativeError as error:
        for file in files:
            zeros = [np.zeros(tensor.shape, tensor.dtype) for tensor in file.description.inputs]
            if (alone := _refusal(file, "BUILTIN", zeros)) is not None:
                raise ValueError(_told(alone, file, "xnnpack", zeros)) from error
        raise ValueError(f"LiteRT cannot time {len(files)} models in turns: {error}. Time fewer at once.") from error
    return found


def _refusal(file: TFLiteFile, resolver: str, arrays: Sequence[NDArray[Any]]) -> NativeError | None:
    """What keeps LiteRT from running one sample, or ends its process; None if it runs."""
    return refusal(("load", file.data, resolver, 1), ("run", [array[:1] for array in arrays]))


def _told(error: NativeError, file: TFLiteFile, kernels: Kernels, arrays: Sequence[NDArray[Any]]) -> str:
    """A message that says what went wrong, and what to do; of a crash, at which operator."""
    where = f"{file.name}: LiteRT cannot run the model with {kernels} kernels"
    if not isinstance(error, CrashError):
        return f"{where}: {str(error).strip()}. {_remedy(file)}"
    resolver = _RESOLVERS[kernels]
    operator = operator_that(lambda part: isinstance(_refusal(part, resolver, arrays), CrashError), file)
    return f"{where}: it {error}{f', at {operator}' if operator else ''}. Replace the layer that makes this operator."


def dead_signals(file: TFLiteFile) -> tuple[str, ...]:
    """Signals that were zero for all representative samples: int8 has no scale for them, and XNNPACK refuses the file.

    Args:
        file: any file.

    Returns:
        Their names, or the operators that make them.
    """
    makers = {index: operator.name for operator in file.description.operators for index in operator.outputs}
    signals = [(index, each) for index, each in enumerate(file.description.tensors) if each.dtype == "int8"]
    dead = [(index, each) for index, each in signals if not each.constant and each.scales]
    return tuple(each.name or makers.get(index, "input") for index, each in dead if max(each.scales) <= _NO_RANGE)


def _remedy(file: TFLiteFile) -> str:
    """What to do about a file that LiteRT does not take."""
    if dead := dead_signals(file):
        return (
            f"The signal '{dead[0]}' is zero for all representative samples, for which int8 has no scale: "
            "give samples as the model will see them, take the dead layer out, or export with "
            "quantize=FixedPoint(8, 8)."
        )
    return "Use only TFLite builtin operators."
