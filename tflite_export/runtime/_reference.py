"""Runs an int8 model in NumPy, in the exact integers of LiteRT's reference kernels or of TFLite Micro."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tf_structprune.task import Samples
from tflite_export.file import ModelDescription, TFLiteModel, open_file
from tflite_export.kernels import Runtime
from tflite_export.runtime._reference_kernels import KERNELS, Arrays, Call, Int8
from tflite_export.runtime._samples import Outputs, as_outputs, model_inputs

_SAMPLES_AT_ONCE = 32  # bounds the memory that the patches of a convolution take


@dataclass(frozen=True)
class _Program:
    """What stays the same from sample to sample."""

    description: ModelDescription
    constants: Arrays
    runtime: Runtime


def run_reference(model: TFLiteModel, inputs: Any, *, runtime: Runtime = "litert") -> Outputs:
    """Runs an int8 model in NumPy, bit for bit as a runtime would.

    An independent witness for what a runtime computes, without its binary: every rounding is written out in
    `tflite_export.kernels`. `run_litert(kernels="reference")` and `run_tflm` give the same integers.

    Args:
        model: path of the file, or its bytes; int8 throughout, inputs of batch 1.
        inputs: samples, as for `run_litert`.
        runtime: "litert" for LiteRT's reference kernels, "tflm" for TFLite Micro's.

    Returns:
        `(n, *output shape)` integers; a list for several outputs.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: damaged file, wrong samples or runtime, a tensor of another type than int8, an operator
            without a kernel here.
    """
    if runtime not in ("litert", "tflm"):
        raise ValueError(f"runtime must be 'litert' or 'tflm'. Received: runtime={runtime!r}.")
    file = open_file(model)
    description = file.description
    _check(description, file.name)
    samples = model_inputs(inputs, description)
    program = _Program(description, file.constants, runtime)
    starts = range(0, len(samples), _SAMPLES_AT_ONCE)
    parts = [_run(program, samples[start : start + _SAMPLES_AT_ONCE]) for start in starts]
    return as_outputs([np.concatenate(rows) for rows in zip(*parts, strict=True)])


def reference_lacks(model: TFLiteModel) -> tuple[str, ...]:
    """Names of a model's operators for which there is no NumPy kernel, or that there are signals of 16 bits.

    Args:
        model: path of the file, or its bytes.

    Returns:
        The names, sorted; none if `run_reference` can run it.
    """
    description = open_file(model).description
    wide = any(tensor.dtype == "int16" for tensor in description.tensors)
    return tuple([name for name in description.operator_names if name not in KERNELS] + ["int16 signals"] * wide)


def _run(program: _Program, samples: Samples) -> list[Int8]:
    given = zip(program.description.input_indices, samples.arrays, strict=True)
    values: Arrays = {index: array[:, None] for index, array in given}  # the model's own batch axis has length 1
    for operator in program.description.operators:
        call = Call(operator, program.description.tensors, values, program.constants, program.runtime)
        (output,) = operator.outputs
        values[output] = KERNELS[operator.name](call).reshape(len(samples), *call.output.shape)
    return [values[index][:, 0] for index in program.description.output_indices]


def _check(description: ModelDescription, name: str) -> None:
    """Refuses, by name, what the kernels would get wrong."""
    for operator in description.operators:
        if operator.name not in KERNELS:
            raise ValueError(
                f"{name}: the NumPy reference has no kernel for operator {operator.name}. "
                f"Received: operators {', '.join(description.operator_names)}. It has {', '.join(sorted(KERNELS))}."
            )
        for index in (*operator.inputs, *operator.outputs):
            tensor = description.tensors[index]
            if index >= 0 and not tensor.constant and (tensor.dtype != "int8" or len(tensor.scales) != 1):
                raise ValueError(
                    f"{name}: tensor '{tensor.name}' of {operator.name} must be int8 with one scale. "
                    f"Received: dtype={tensor.dtype}, {len(tensor.scales)} scales. "
                    "Convert the model with quantize='int8'."
                )
