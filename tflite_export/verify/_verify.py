"""Runs the exported files beside the Keras model and holds them to stated bounds."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.task import Agreement, Reading, Samples, output_names, readings_of, relative_error
from tflite_export.file import TFLiteFile, TFLiteModel, open_file
from tflite_export.quantize import call_model, check_samples, float32_model
from tflite_export.runtime import Outputs, as_list, real_outputs, run_litert, run_tflm, tflm_available
from tflite_export.verify._steps import largest_steps

FLOAT_BOUND = 1e-4
TFLM_STEPS_BOUND = 1
WIDE_STEPS = 16  # steps of 16 bits where one of 8 bits is allowed: a sixteenth of it
INT8_ERROR_BOUND = 0.1
INT8_COMPONENT_ERROR_BOUND = 0.3  # an output that is always 0 has 0.6 and more
_KERAS_BATCH = 64

Number = TypeVar("Number", int, float)


class VerificationError(RuntimeError):
    """An exported file computes something else than the model it came from."""


@dataclass(frozen=True)
class OutputAgreement:
    """How well the integer file agrees with Keras in one output.

    Attributes:
        name: of the output.
        top1: as `Verification.int8_top1`; None where no decision is read from it.
        error: as `Verification.int8_error`.
        component_error: as `Verification.int8_component_error`.
    """

    name: str
    top1: float | None
    error: float
    component_error: float


@dataclass(frozen=True)
class Verification:
    """How well the exported files agree with Keras and the runtimes with each other.

    A figure is None when it was not measured: no int8 file, not a classifier, or TFLite Micro missing. Of several
    outputs each figure is that of the output for which it is worst.

    Attributes:
        samples: number of samples compared with Keras.
        runtime_samples: number of samples compared between runtimes.
        float_error: float file against Keras, largest difference relative to max(1, largest output).
        float_bound: largest `float_error` allowed.
        int8_top1: fraction of samples where int8 and Keras name the same class; of labels where they decide alike, for
            a model of several labels or one yes or no; of pixels, for maps of classes.
        int8_top1_bound: smallest `int8_top1` allowed.
        int8_error: int8 against Keras, root mean square difference as a fraction of the output range. With outputs of
            both kinds it is of those without a decision.
        int8_error_bound: largest `int8_error` allowed where there is no class to compare.
        xnnpack_steps: largest difference of XNNPACK from the reference kernels, in int8 steps (recorded).
        xnnpack_top1: fraction of samples where XNNPACK and reference kernels name the same class (recorded).
        tflm_steps: largest difference of TFLite Micro from the reference kernels, in int8 steps of the
            scores, that is before a last softmax or sigmoid: each dense layer may round one step apart (its
            kernels differ in the two), and the exponential makes many steps of the probability from one.
        tflm_steps_bound: largest `tflm_steps` allowed.
        tflm_output_steps: the same difference in the outputs themselves (recorded).
        tflm_float_error: without an int8 file, TFLite Micro against the reference kernels, as `float_error`.
        tflm_skipped: why TFLite Micro did not run; None when it ran.
        int8_component_error: as `int8_error`, of the component, one place of the last axis, for which that is worst, as
            a fraction of its own range; at most 0.3 where there is no class to compare.
        outputs: the integer file's figures, output by output.
    """

    samples: int
    runtime_samples: int
    float_error: float
    float_bound: float
    int8_top1: float | None
    int8_top1_bound: float
    int8_error: float | None
    int8_error_bound: float
    xnnpack_steps: int | None
    xnnpack_top1: float | None
    tflm_steps: int | None
    tflm_steps_bound: int
    tflm_output_steps: int | None
    tflm_float_error: float | None
    tflm_skipped: str | None
    int8_component_error: float | None = None
    outputs: tuple[OutputAgreement, ...] = ()


def verify(
    model: keras.Model,
    float32: TFLiteModel,
    int8: TFLiteModel | None = None,
    *,
    samples: Any,
    int8_model: keras.Model | None = None,
    top1_agreement: float = 0.9,
    int8_error: float = INT8_ERROR_BOUND,
    tflm_steps: int = TFLM_STEPS_BOUND,
    runtime_samples: int = 32,
    micro: bool = True,
) -> Verification:
    """Compares exported files with their Keras model and between runtimes, on real samples.

    Args:
        model: the Keras model; a mixed precision model is compared as its float32 copy.
        float32: float `.tflite` file made from it.
        int8: full-integer `.tflite` file made from it, or one with float16 or int8 weights that gives floats, or None.
        samples: real samples, see `quantize.check_samples`.
        int8_model: the Keras model that the integer file is held to; by default `model`.
        top1_agreement: smallest fraction of samples, in [0, 1], where int8 and Keras must name the same
            class, or decide alike. Holds for outputs from which a decision is read, see `task.Reading`.
        int8_error: largest root mean square error of int8, as a fraction of the range of Keras's outputs.
            Holds for all other outputs.
        tflm_steps: largest difference of TFLite Micro from the reference kernels, in steps of the scores. A
            chain of many dense layers may need 2. Of signals of 16 bits 16 times as many are allowed.
        runtime_samples: how many of the samples are run on each runtime; reference kernels are slow.
        micro: also run TFLite Micro, when it is installed.

    Returns:
        The figures, all within their bounds.

    Raises:
        VerificationError: a figure is beyond its bound.
        FileNotFoundError: a file is missing.
        ValueError: damaged file, samples of another shape, NaN, or a bound that is out of range.
    """
    check_top1_agreement(top1_agreement)
    if runtime_samples < 1:
        raise ValueError(f"runtime_samples must be at least 1. Received: runtime_samples={runtime_samples}.")
    float32 = open_file(float32)
    int8 = None if int8 is None else open_file(int8)
    checked = check_samples(samples, model, name="verification samples")
    reference = _keras_outputs(model, checked)
    few = checked[:runtime_samples]
    wanted = reference if int8_model is None else _keras_outputs(int8_model, checked)
    readings = readings_of(model, reference)
    found = () if int8 is None else _int8_against_keras(int8, checked, wanted, readings, output_names(model))
    integers = None if int8 is None or _gives_floats(int8) else int8
    xnnpack = _xnnpack_against_reference(integers, few) if integers is not None else (None, None)
    judged = [each for each in found if each.top1 is None] or found
    micro_figures = _tflm_against_reference(float32 if integers is None else integers, few, micro)
    result = Verification(
        samples=len(checked),
        runtime_samples=len(few),
        float_error=_largest(relative_error, run_litert(float32, checked), reference),
        float_bound=FLOAT_BOUND,
        int8_top1=min((each.top1 for each in found if each.top1 is not None), default=None),
        int8_top1_bound=top1_agreement,
        int8_error=max((each.error for each in judged), default=None),
        int8_component_error=max((each.component_error for each in judged), default=None),
        int8_error_bound=int8_error,
        xnnpack_steps=xnnpack[0],
        xnnpack_top1=xnnpack[1],
        tflm_steps_bound=tflm_steps * (WIDE_STEPS if integers is not None and _has_wide_signals(integers) else 1),
        outputs=found,
        **micro_figures,
    )
    check_verification(result)
    return result


def check_top1_agreement(fraction: float) -> float:
    """The fraction itself.

    Raises:
        ValueError: it is out of range.
    """
    if not 0 <= fraction <= 1:
        raise ValueError(
            f"top1_agreement must be in [0, 1]. Received: top1_agreement={fraction}. "
            "Use 0.9 to demand nine of ten samples."
        )
    return fraction


def check_verification(result: Verification) -> None:
    """Holds figures to their bounds.

    Args:
        result: the figures.

    Raises:
        VerificationError: one of them is beyond its bound; names all that are.
    """
    failures = list(_failures(result))
    if failures:
        raise VerificationError(
            f"The exported model disagrees, compared on {result.samples} samples: {' '.join(failures)}"
        )


def _failures(result: Verification) -> Iterator[str]:
    """One sentence for each figure that is beyond its bound (or not a number)."""
    if not result.float_error <= result.float_bound:
        yield (
            f"Float file against Keras: relative error must be at most {result.float_bound:g}. Received: "
            f"{result.float_error:.3g}. Check custom layers and report the model."
        )
    if result.int8_top1 is not None and not result.int8_top1 >= result.int8_top1_bound:
        yield (
            "Int8 file against Keras: top-1 agreement (of labels: where both decide alike) must be at least "
            f"{result.int8_top1_bound:g}. Received: {result.int8_top1:.3g}{_by_output(result, 'top1')}. "
            "Calibrate with more representative_data of the same "
            "preprocessing, give words more bits or train in fixed point, or lower top1_agreement."
        )
    # Class scores may differ as long as the class is the same.
    numbers = result.int8_top1 is None or any(each.top1 is None for each in result.outputs)
    judged = result.int8_error if numbers else None
    if judged is not None and not judged <= result.int8_error_bound:
        yield (
            f"Int8 file against Keras: error must be at most {result.int8_error_bound:g} of the output "
            f"range. Received: {judged:.3g}{_by_output(result, 'error')}. "
            "Calibrate with more representative_data of the same "
            "preprocessing, give words more bits or train in fixed point, or raise int8_error."
        )
    worst = result.int8_component_error if numbers else None
    if worst is not None and not worst <= INT8_COMPONENT_ERROR_BOUND:
        yield (
            f"Int8 file against Keras: the error of each component must be at most {INT8_COMPONENT_ERROR_BOUND:g} of "
            f"its own range. Received: {worst:.3g}{_by_output(result, 'component_error')}. "
            "Give components of other sizes an output of their own, or scale them."
        )
    if result.tflm_steps is not None and result.tflm_steps > result.tflm_steps_bound:
        yield (
            f"TFLite Micro against LiteRT's reference kernels: must differ by at most "
            f"{result.tflm_steps_bound} step in the scores. Received: {result.tflm_steps} steps. Raise "
            "tflm_steps for a chain of dense layers, or try another tflite-micro version."
        )
    if result.tflm_float_error is not None and not result.tflm_float_error <= result.float_bound:
        yield (
            f"TFLite Micro against LiteRT's reference kernels: relative error must be at most "
            f"{result.float_bound:g}. Received: {result.tflm_float_error:.3g}. "
            "Try another tflite-micro version."
        )


def _has_wide_signals(file: TFLiteFile) -> bool:
    return any(tensor.dtype == "int16" and not tensor.constant for tensor in file.description.tensors)


def _gives_floats(file: TFLiteFile) -> bool:
    return all(tensor.dtype == "float32" for tensor in file.description.outputs)


def _by_output(result: Verification, figure: str) -> str:
    """A figure of each of several outputs that has it, in words."""
    if len(result.outputs) < 2:
        return ""
    values = ((each.name, getattr(each, figure)) for each in result.outputs if figure == "top1" or each.top1 is None)
    return f" ({', '.join(f'{name}: {value:.3g}' for name, value in values if value is not None)})"


def _keras_outputs(model: keras.Model, samples: Samples) -> list[NDArray[np.float32]]:
    reference = float32_model(model)
    starts = range(0, len(samples), _KERAS_BATCH)
    batches = (call_model(reference, samples[start : start + _KERAS_BATCH].arrays) for start in starts)
    rows = [[keras.ops.convert_to_numpy(output) for output in outputs] for outputs in batches]
    return [np.concatenate(parts).astype(np.float32) for parts in zip(*rows, strict=True)]


def _largest(
    difference: Callable[[NDArray[Any], NDArray[Any]], Number], outputs: Outputs, reference: Outputs
) -> Number:
    """The difference of the output for which it is largest."""
    pairs = zip(as_list(outputs), as_list(reference), strict=True)
    return max(difference(found, wanted) for found, wanted in pairs)


def _int8_against_keras(
    int8: TFLiteFile,
    samples: Samples,
    reference: list[NDArray[np.float32]],
    readings: list[Reading],
    names: list[str],
) -> tuple[OutputAgreement, ...]:
    outputs = real_outputs(run_litert(int8, samples), int8.description)
    found = map(Agreement.between, outputs, reference, readings)
    return tuple(
        OutputAgreement(name, each.same_class, each.error, each.component_error)
        for name, each in zip(names, found, strict=True)
    )


def _xnnpack_against_reference(int8: TFLiteFile, samples: Samples) -> tuple[int, float | None]:
    xnnpack = run_litert(int8, samples)
    reference = run_litert(int8, samples, kernels="reference")
    return _largest(largest_steps, xnnpack, reference), least_top1(xnnpack, reference)


def least_top1(outputs: Outputs, reference: Outputs) -> float | None:
    """Fraction of samples with the same class in the output for which it is least; None where none has classes."""
    agreements = map(Agreement.between, as_list(outputs), as_list(reference))
    return min((each.same_class for each in agreements if each.same_class is not None), default=None)


def _tflm_against_reference(file: TFLiteFile, samples: Samples, micro: bool) -> dict[str, Any]:
    """The fields of `Verification` about TFLite Micro: figures, or the reason why there are none."""
    fields = dict.fromkeys(("tflm_steps", "tflm_output_steps", "tflm_float_error", "tflm_skipped"))
    if not micro:
        return fields | {"tflm_skipped": "not asked for, or it lacks an operator"}
    if not tflm_available():
        return fields | {"tflm_skipped": "tflite-micro is not installed (pip install 'tf-structprune[micro]')"}
    outputs, reference = run_tflm(file, samples), run_litert(file, samples, kernels="reference")
    if _gives_floats(file):
        return fields | {"tflm_float_error": _largest(relative_error, outputs, reference)}
    scores = run_tflm(file.scores, samples), run_litert(file.scores, samples, kernels="reference")
    return fields | {
        "tflm_steps": _largest(largest_steps, *scores),
        "tflm_output_steps": _largest(largest_steps, outputs, reference),
    }
