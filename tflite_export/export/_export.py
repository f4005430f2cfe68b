"""Converts, verifies and writes, all or nothing."""

import dataclasses
import json
import os
from functools import partial
from pathlib import Path
from typing import Any, Literal

import keras
from absl import logging
from numpy.typing import ArrayLike

from tf_structprune.fixed_point import FixedPoint
from tf_structprune.layers import recipe_of
from tf_structprune.shrink import ShrunkModel
from tflite_export.bench import HOST, Device, LayerMultiplications, check_accelerator, kernel_pruned_multiplications
from tflite_export.export._integer_files import IntegerFiles, for_micro, write_integer_files
from tflite_export.export._source import Source, keras_model_of, source_of
from tflite_export.export._summary import (
    ExportSummary,
    Written,
    runtime_versions,
    summarize_file,
    summarize_npu,
    written,
)
from tflite_export.file import TFLiteFile
from tflite_export.lower import LoweredModel, LowerPlan, Target
from tflite_export.lower import lower as lower_model
from tflite_export.quantize import Quantize, check_samples, convert, float_form
from tflite_export.verify import verify
from tflite_export.write import check_identifier, micro_bundle, staged_directory

Lower = Literal["auto", "none"]
"""Whether masked-out work is left out of the files where that is measured to pay."""


def export(
    model: keras.Model | ShrunkModel,
    directory: str | os.PathLike[str],
    *,
    representative_data: ArrayLike,
    quantize: Quantize | FixedPoint = "int8",
    verify_data: ArrayLike | None = None,
    overwrite: bool = False,
    name: str = "model",
    top1_agreement: float = 0.9,
    tflm_steps: int = 1,
    micro: bool = True,
    lower: Lower = "auto",
    target: Target = "cpu",
    device: Device = HOST,
    npu: str | None = "ethos-u55-128",
) -> ExportSummary:
    """Writes a Keras model as verified `.tflite` files and C++ sources.

    The directory receives `NAME.keras`, `NAME_float32.tflite`, `NAME_int8.tflite`, `summary.json` and, for
    a microcontroller, `micro/` with the int8 file (the float file without one) as an array, its operators, its
    shapes, scales and arena, a program that runs one inference and how to build it, see `write.micro_bundle`.
    It appears complete or, on any error, not at all.

    In fixed point the integer files are `NAME_fixed.tflite`, with every word in int8; where weights have 4 bits or
    fewer, `NAME_fixed_int4.tflite`, with two of them in a byte; and where they have 3 bits or fewer and one step a
    layer, `NAME_fixed_lut.tflite`, for TFLite Micro alone, if that gives the same integers. `micro/` holds the one that
    takes least flash and RAM together. `NAME_recipe.json` names every layer's word lengths. LiteRT's reference kernels,
    TFLite Micro and the NumPy reference compute these files bit for bit alike, or the export fails.

    Args:
        model: what `shrink` made, a Keras model, plain or from `to_fixed_point`, with one input and one output,
            or a masked model, which is shrunk first.
        directory: the directory to make.
        representative_data: `(n, *input shape)` real samples; they set the ranges of the int8 signals.
        quantize: "int8" for a full-integer file beside the float one, "none" for the float one alone, or a
            `FixedPoint` recipe: words of its lengths, on grids fitted to `representative_data`. A model from
            `to_fixed_point` is written on its own grids.
        verify_data: samples on which the files are compared with Keras; `representative_data` by default.
        overwrite: replace a directory that an earlier export wrote.
        name: stem of the file names and of the C++ names; a C++ identifier.
        top1_agreement: smallest fraction of samples where int8 and Keras must name the same class.
        tflm_steps: largest difference of TFLite Micro from LiteRT's reference kernels, see `verify`.
        micro: write `micro/` and run TFLite Micro, when it is installed.
        lower: "auto" turns what kernel and strided masks left out into less work in the `.tflite` files, layer
            by layer where that is measured to pay in that file's number format, see `lower.lower`; "none"
            leaves zeros, and so do dense layers in fixed point, and all layers with a weight step a channel. The
            `.keras` file is the model as given, either way.
        target: what the layers are lowered for, "cpu" or "micro".
        device: what times the forms of layers for target "cpu"; by default this machine with one thread.
        npu: Ethos-U for which Vela, when installed, estimates the int8 file, see `bench.ACCELERATORS`; None for
            no estimate. Vela's failures are no error: `npu_reason` of the summary has them.

    Returns:
        What was written and measured, as in `summary.json`.

    Raises:
        FileExistsError, NotADirectoryError, PermissionError: see `staged_directory`.
        RuntimeError: Keras runs on another backend than TensorFlow.
        TypeError: not a Keras model, or data that are not numbers.
        ValueError: wrong argument or data, a model that TFLite cannot express, or (with `micro`) an
            operator that TFLite Micro lacks.
        VerificationError: a file disagrees with Keras, or the runtimes with each other.
    """
    with staged_directory(directory, overwrite=overwrite) as staged:
        summary = write_artifacts(
            model,
            staged,
            representative_data=representative_data,
            quantize=quantize,
            verify_data=verify_data,
            name=name,
            top1_agreement=top1_agreement,
            tflm_steps=tflm_steps,
            micro=micro,
            lower=lower,
            target=target,
            device=device,
            npu=npu,
        )
        summary = dataclasses.replace(summary, directory=os.fspath(directory))
        (staged / "summary.json").write_text(json.dumps(summary.to_dict(), indent=2) + "\n")
    return summary


def write_artifacts(
    model: keras.Model | ShrunkModel,
    directory: str | os.PathLike[str],
    *,
    representative_data: ArrayLike,
    quantize: Quantize | FixedPoint = "int8",
    verify_data: ArrayLike | None = None,
    name: str = "model",
    top1_agreement: float = 0.9,
    tflm_steps: int = 1,
    micro: bool = True,
    lower: Lower = "auto",
    target: Target = "cpu",
    device: Device = HOST,
    npu: str | None = "ethos-u55-128",
) -> ExportSummary:
    """Writes what `export` writes, but `summary.json`, into a directory that exists.

    For callers that stage a directory of their own with more files in it.

    Args:
        directory: an existing directory, usually a staged one; files in it are replaced. All else as for `export`.

    Returns:
        What was written and measured.

    Raises:
        The errors of `export`, save those of the directory.
    """
    check_identifier(name)
    if npu is not None:
        check_accelerator(npu)
    given = keras_model_of(model)
    samples = check_samples(representative_data, given, name="representative_data")
    checked = samples if verify_data is None else check_samples(verify_data, given, name="verify_data")
    source = source_of(given, quantize, samples)
    plain, folder = source.plain, Path(directory)
    lowered = partial(_lowered, source, how=lower, target=target, device=device)
    in_float = lowered("none")
    lines = [f"float32: {choice}" for choice in in_float.plan.choices]
    float_file = written(folder / f"{name}_float32.tflite", TFLiteFile(convert(in_float.model)))
    files = None
    if source.quantize != "none":
        in_int8 = lowered("int8")
        lines += [f"{source.quantize}: {choice}" for choice in in_int8.plan.choices]
        files = write_integer_files(folder, name, in_int8.model, samples, fixed=source.fixed, micro=micro)
    if source.fixed is not None:
        (folder / f"{name}_recipe.json").write_text(recipe_of(source.fixed).to_json())
    verification = verify(
        plain,
        float_file.file,
        None if files is None else files.int8.file,
        samples=checked,
        int8_model=source.fixed,
        top1_agreement=top1_agreement,
        tflm_steps=tflm_steps if source.fixed is None else 0,
        micro=micro,
    )
    exact = {} if files is None else files.verified(checked, micro=micro)
    source.keras_model.save(folder / f"{name}.keras")
    return ExportSummary(
        directory=os.fspath(directory),
        quantize=source.quantize,
        representative_samples=0 if files is None else len(samples),
        **_figures(float_file, files, name, micro=micro, npu=npu),
        lowered=tuple(lines),
        multiplications=_multiplications(plain),
        verification=verification,
        exact=exact,
        versions=runtime_versions(),
    )


def _figures(
    float_file: Written, files: IntegerFiles | None, name: str, *, micro: bool, npu: str | None
) -> dict[str, Any]:
    """The fields of the summary about each file; the microcontroller's is chosen by them, and its bundle written."""
    float32 = summarize_file(float_file, micro=micro)
    given = (None, None, None) if files is None else (files.int8, files.int4, files.lut)
    int8, int4, lut = (None if each is None else summarize_file(each, micro=micro) for each in given)
    if micro:
        chosen = float32 if int8 is None else for_micro(int8, int4, lut)
        file = next(each.file for each in (float_file, *given) if each is not None and each.path.name == chosen.file)
        _write_micro(float_file.path.parent / "micro", file, name, chosen.arena_bytes)
    estimate, reason = summarize_npu(None if files is None else files.int8.file, npu)
    return {
        "float32": float32,
        "int8": int8,
        "int4": int4,
        "lut": lut,
        "lut_reason": "There is no integer file." if files is None else files.lut_reason,
        "npu": estimate,
        "npu_reason": reason,
    }


def _lowered(source: Source, quantize: Quantize, *, how: Lower, target: Target, device: Device) -> LoweredModel:
    """The float model that the float or the integer file computes as."""
    if how not in ("auto", "none"):
        raise ValueError(f"lower must be 'auto' or 'none'. Received: lower={how!r}.")
    fixed = None if quantize == "none" else source.fixed
    plain = source.plain if fixed is None else float_form(fixed)
    # Channels are reordered, steps of theirs are not.
    if how == "none" or (fixed is not None and recipe_of(fixed).per_channel):
        return LoweredModel(plain, LowerPlan(()))
    # In fixed point a lowered dense layer is a FULLY_CONNECTED, which runtimes round differently.
    return lower_model(plain, target=target, quantize=quantize, dense=fixed is None, device=device)


def _multiplications(plain: keras.Model) -> tuple[LayerMultiplications, ...]:
    """Rows for the report; none of a model that `list_calls` refuses, for `lower="none"` exports such a one too."""
    try:
        return kernel_pruned_multiplications(plain)
    except ValueError as error:
        logging.info("The report has no multiplications of kernel-pruned layers: %s", error)
        return ()


def _write_micro(folder: Path, file: TFLiteFile, name: str, arena_bytes: int | None) -> None:
    folder.mkdir(exist_ok=True)
    version = runtime_versions()["tflite_micro"]
    for entry, text in micro_bundle(file, name, arena_bytes=arena_bytes, tflm_version=version).items():
        (folder / entry).write_text(text)
