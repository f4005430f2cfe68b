"""Runs the exported files beside the Keras model and holds them to stated bounds."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike, NDArray

from tf_structprune.task import Agreement, Reading, relative_error
from tflite_export.file import TFLiteFile, TFLiteModel, open_file
from tflite_export.quantize import call_model, check_samples, float32_model
from tflite_export.runtime import dequantize, run_litert, run_tflm, tflm_available
from tflite_export.verify._steps import largest_steps

FLOAT_BOUND = 1e-4
TFLM_STEPS_BOUND = 1
INT8_ERROR_BOUND = 0.1
INT8_COMPONENT_ERROR_BOUND = 0.3  # an output that is always 0 has 0.6 and more
_KERAS_BATCH = 64


class VerificationError(RuntimeError):
    """An exported file computes something else than the model it came from."""


@dataclass(frozen=True)
class Verification:
    """How well the exported files agree with Keras and the runtimes with each other.

    A figure is None when it was not measured: no int8 file, not a classifier, or TFLite Micro missing.

    Attributes:
        samples: number of samples compared with Keras.
        runtime_samples: number of samples compared between runtimes.
        float_error: float file against Keras, largest difference relative to max(1, largest output).
        float_bound: largest `float_error` allowed.
        int8_top1: fraction of samples where int8 and Keras name the same class; of labels where they decide alike, for
            a model of several labels or one yes or no.
        int8_top1_bound: smallest `int8_top1` allowed.
        int8_error: int8 against Keras, root mean square difference as a fraction of the output range.
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


def verify(
    model: keras.Model,
    float32: TFLiteModel,
    int8: TFLiteModel | None = None,
    *,
    samples: ArrayLike,
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
        int8: full-integer `.tflite` file made from it, or None.
        samples: `(n, *input shape)` real samples.
        int8_model: the Keras model that the integer file is held to; by default `model`.
        top1_agreement: smallest fraction of samples, in [0, 1], where int8 and Keras must name the same
            class. Holds for models with one vector of two or more outputs.
        int8_error: largest root mean square error of int8, as a fraction of the range of Keras's outputs.
            Holds for all other models.
        tflm_steps: largest difference of TFLite Micro from the reference kernels, in steps of the scores. A
            chain of many dense layers may need 2.
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
    array = check_samples(samples, model, name="verification samples")
    reference = _keras_outputs(model, array)
    few = array[:runtime_samples]
    wanted = reference if int8_model is None else _keras_outputs(int8_model, array)
    reading = Reading.of(model, reference)
    found = None if int8 is None else _int8_against_keras(int8, array, wanted, reading)
    xnnpack = _xnnpack_against_reference(int8, few) if int8 is not None else (None, None)
    micro_figures = _tflm_against_reference(float32 if int8 is None else int8, few, micro)
    result = Verification(
        samples=len(array),
        runtime_samples=len(few),
        float_error=relative_error(run_litert(float32, array), reference),
        float_bound=FLOAT_BOUND,
        int8_top1=None if found is None else found.same_class,
        int8_top1_bound=top1_agreement,
        int8_error=None if found is None else found.error,
        int8_component_error=None if found is None else found.component_error,
        int8_error_bound=int8_error,
        xnnpack_steps=xnnpack[0],
        xnnpack_top1=xnnpack[1],
        tflm_steps_bound=tflm_steps,
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
            f"{result.int8_top1_bound:g}. "
            f"Received: {result.int8_top1:.3g}. Calibrate with more representative_data of the same "
            "preprocessing, give words more bits or train in fixed point, or lower top1_agreement."
        )
    # Class scores may differ as long as the class is the same.
    judged = result.int8_error if result.int8_top1 is None else None
    if judged is not None and not judged <= result.int8_error_bound:
        yield (
            f"Int8 file against Keras: error must be at most {result.int8_error_bound:g} of the output "
            f"range. Received: {judged:.3g}. Calibrate with more representative_data of the same "
            "preprocessing, give words more bits or train in fixed point, or raise int8_error."
        )
    worst = result.int8_component_error if result.int8_top1 is None else None
    if worst is not None and not worst <= INT8_COMPONENT_ERROR_BOUND:
        yield (
            f"Int8 file against Keras: the error of each component must be at most {INT8_COMPONENT_ERROR_BOUND:g} of "
            f"its own range. Received: {worst:.3g}. Give components of other sizes an output of their own, or scale "
            "them."
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


def _keras_outputs(model: keras.Model, samples: NDArray[np.float32]) -> NDArray[np.float32]:
    reference = float32_model(model)
    batches = [samples[start : start + _KERAS_BATCH] for start in range(0, len(samples), _KERAS_BATCH)]
    outputs = [keras.ops.convert_to_numpy(call_model(reference, batch)) for batch in batches]
    return np.concatenate(outputs).astype(np.float32)


def _int8_against_keras(
    int8: TFLiteFile, samples: NDArray[np.float32], reference: NDArray[np.float32], reading: Reading
) -> Agreement:
    outputs = dequantize(run_litert(int8, samples), int8.description.outputs[0])
    return Agreement.between(outputs, reference, reading)


def _xnnpack_against_reference(int8: TFLiteFile, samples: NDArray[np.float32]) -> tuple[int, float | None]:
    xnnpack = run_litert(int8, samples)
    reference = run_litert(int8, samples, kernels="reference")
    return largest_steps(xnnpack, reference), Agreement.between(xnnpack, reference).same_class


def _tflm_against_reference(file: TFLiteFile, samples: NDArray[np.float32], micro: bool) -> dict[str, Any]:
    """The fields of `Verification` about TFLite Micro: figures, or the reason why there are none."""
    fields = dict.fromkeys(("tflm_steps", "tflm_output_steps", "tflm_float_error", "tflm_skipped"))
    if not micro:
        return fields | {"tflm_skipped": "not asked for, or it lacks an operator"}
    if not tflm_available():
        return fields | {"tflm_skipped": "tflite-micro is not installed (pip install 'tf-structprune[micro]')"}
    outputs, reference = run_tflm(file, samples), run_litert(file, samples, kernels="reference")
    if outputs.dtype.kind == "f":
        return fields | {"tflm_float_error": relative_error(outputs, reference)}
    score_steps = largest_steps(run_tflm(file.scores, samples), run_litert(file.scores, samples, kernels="reference"))
    return fields | {"tflm_steps": score_steps, "tflm_output_steps": largest_steps(outputs, reference)}
