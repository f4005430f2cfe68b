"""Holds runtimes to bit-exact agreement with the NumPy reference and, where they can, with each other."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tflite_export.file import TFLiteModel, open_file
from tflite_export.runtime import (
    Outputs,
    as_list,
    model_inputs,
    reference_lacks,
    run_litert,
    run_reference,
    run_tflm,
    tflm_available,
)
from tflite_export.verify._steps import largest_steps
from tflite_export.verify._verify import VerificationError, least_top1

_SAMPLES = 1000
_MACS = 2e10  # some ten seconds of the NumPy reference
_LEAST_SAMPLES = 16


@dataclass(frozen=True)
class ExactAgreement:
    """On how many outputs the runtimes differ for one integer file; a figure is None when it was not measured.

    All figures but `output_mismatches` are of the scores, before a last softmax or sigmoid.

    Attributes:
        samples: number of samples compared.
        values: number of scores compared.
        numpy_litert: scores where LiteRT's reference kernels differ from the NumPy reference.
        numpy_tflm: scores where TFLite Micro differs from the NumPy reference of its arithmetic.
        litert_tflm: scores where LiteRT's reference kernels and TFLite Micro differ.
        output_mismatches: outputs where these two differ.
        xnnpack_steps: largest difference of XNNPACK from LiteRT's reference kernels, in steps of the scores.
        xnnpack_top1: fraction of samples where these two name the same class.
        skipped: why a comparison is missing; None when all were made.
    """

    samples: int
    values: int
    numpy_litert: int | None
    numpy_tflm: int | None
    litert_tflm: int | None
    output_mismatches: int | None
    xnnpack_steps: int
    xnnpack_top1: float | None
    skipped: str | None


def verify_exact(model: TFLiteModel, samples: Any, *, alike: bool = True, micro: bool = True) -> ExactAgreement:
    """Compares an int8 file on LiteRT's reference kernels, TFLite Micro and the NumPy reference, value by value.

    Args:
        model: the file or its bytes; full integer.
        samples: real samples, as for `run_litert`; up to 1,000 are used, fewer of a large model.
        alike: whether LiteRT and TFLite Micro have to agree too, as they do without FULLY_CONNECTED; and whether
            an operator that the NumPy reference lacks is an error.
        micro: also run TFLite Micro, when it is installed.

    Returns:
        The figures, 0 mismatches in each comparison that has to agree.

    Raises:
        VerificationError: a mismatch, or with `alike` an operator without a reference.
        ValueError: damaged file or wrong samples.
    """
    file = open_file(model)
    scores, description = file.scores, file.description
    macs = max(1, description.macs)
    count = int(min(_SAMPLES, max(_LEAST_SAMPLES, _MACS // macs)))
    inputs = model_inputs(samples, description)[:count]
    litert = run_litert(scores, inputs, kernels="reference")
    xnnpack = run_litert(scores, inputs)
    lacking = reference_lacks(scores)
    with_tflm = micro and tflm_available()
    tflm = run_tflm(scores, inputs) if with_tflm else None
    whole = (run_litert(file, inputs, kernels="reference"), run_tflm(file, inputs)) if with_tflm else (None, None)
    in_numpy = None if lacking else run_reference(scores, inputs)
    as_tflm = None if lacking or tflm is None else run_reference(scores, inputs, runtime="tflm")
    reasons = [f"the NumPy reference has no {', '.join(lacking)}"] * bool(lacking)
    reasons += ["TFLite Micro did not run"] * (not with_tflm)
    result = ExactAgreement(
        samples=len(inputs),
        values=sum(output.size for output in as_list(litert)),
        numpy_litert=_mismatches(in_numpy, litert),
        numpy_tflm=_mismatches(as_tflm, tflm),
        litert_tflm=_mismatches(litert, tflm),
        output_mismatches=_mismatches(*whole),
        xnnpack_steps=max(map(largest_steps, as_list(xnnpack), as_list(litert))),
        xnnpack_top1=least_top1(xnnpack, litert),
        skipped="; ".join(reasons) or None,
    )
    _check(result, lacking, alike=alike)
    return result


def _check(result: ExactAgreement, lacking: tuple[str, ...], *, alike: bool) -> None:
    found = {
        "LiteRT's reference kernels and the NumPy reference": result.numpy_litert,
        "TFLite Micro and the NumPy reference": result.numpy_tflm,
        "LiteRT's reference kernels and TFLite Micro": result.litert_tflm if alike else 0,
    }
    failures = [f"{pair} differ on {count} of {result.values} scores" for pair, count in found.items() if count]
    if failures:
        raise VerificationError(
            f"The integer file is not computed bit for bit alike on {result.samples} samples: {'; '.join(failures)}. "
            "Report the model; an int8 export with lower='none' may do."
        )
    if alike and lacking:
        raise VerificationError(
            f"The fixed-point file cannot be checked: {result.skipped}. Use quantize='int8' for this model."
        )


def _mismatches(first: Outputs | None, second: Outputs | None) -> int | None:
    if first is None or second is None:
        return None
    pairs = zip(as_list(first), as_list(second), strict=True)
    return sum(int(np.count_nonzero(one != other)) for one, other in pairs)
