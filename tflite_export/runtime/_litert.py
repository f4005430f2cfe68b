"""Runs a model in LiteRT, with XNNPACK or with the reference kernels."""

import itertools
from typing import Any, Literal

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from tflite_export.file import TFLiteFile, TFLiteModel, open_file
from tflite_export.runtime._samples import Outputs, as_outputs, batches_of_inputs

Kernels = Literal["xnnpack", "reference"]
"""Which kernels LiteRT uses: XNNPACK's, as phones do, or the plain C++ ones that define the result."""

_BATCH = 64  # samples that are converted at once
_NO_RANGE = 1e-8  # of a scale: TensorFlow's converter makes 2e-6 / 255 of a signal that is always zero
_RESOLVERS = {
    "xnnpack": OpResolverType.BUILTIN,
    "reference": OpResolverType.BUILTIN_REF,
}


def make_interpreter(model: TFLiteModel, *, kernels: Kernels = "xnnpack", threads: int = 1) -> Interpreter:
    """Makes a LiteRT interpreter with its tensors allocated.

    Args:
        model: path of the file, or its bytes.
        kernels: "xnnpack" or "reference".
        threads: number of CPU threads, 1 or more.

    Returns:
        The interpreter, ready for `set_tensor` and `invoke`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a wrong argument, a damaged file, or a model that LiteRT cannot run.
    """
    if kernels not in _RESOLVERS:
        raise ValueError(f"kernels must be one of {sorted(_RESOLVERS)}. Received: kernels={kernels!r}.")
    if threads < 1:
        raise ValueError(f"threads must be at least 1. Received: threads={threads}. Use 1 for one core.")
    file = open_file(model)
    try:
        interpreter = Interpreter(
            model_content=file.data, num_threads=threads, experimental_op_resolver_type=_RESOLVERS[kernels]
        )
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ValueError(
            f"{file.name}: LiteRT cannot run the model with {kernels} kernels: {str(error).strip()}. {_remedy(file)}"
        ) from error
    return interpreter


def _remedy(file: TFLiteFile) -> str:
    """What to do about a file that LiteRT does not take."""
    makers = {index: operator.name for operator in file.description.operators for index in operator.outputs}
    for index, signal in enumerate(file.description.tensors):
        is_signal = signal.dtype == "int8" and not signal.constant and signal.scales
        if is_signal and max(signal.scales) <= _NO_RANGE:
            told = signal.name or makers.get(index, "input")
            return (
                f"The signal '{told}' is zero for all representative samples, for which int8 has no scale: "
                "give samples as the model will see them, take the dead layer out, or export with "
                "quantize=FixedPoint(8, 8)."
            )
    return "Use only TFLite builtin operators."


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
    file = open_file(model)
    batches = batches_of_inputs(inputs, file.description, _BATCH, real=real)
    first = next(batches)  # refuses what does not fit
    interpreter = make_interpreter(file, kernels=kernels, threads=threads)
    sources = [each["index"] for each in interpreter.get_input_details()]
    targets = [each["index"] for each in interpreter.get_output_details()]
    outputs: list[list[Any]] = [[] for _ in targets]
    for samples in itertools.chain([first], batches):
        for index in range(len(samples)):
            for source, array in zip(sources, samples.arrays, strict=True):
                interpreter.set_tensor(source, array[index : index + 1])
            interpreter.invoke()
            for rows, target in zip(outputs, targets, strict=True):
                rows.append(interpreter.get_tensor(target)[0])
    return as_outputs([np.stack(rows) for rows in outputs])
