"""Converts, verifies and writes, all or nothing."""

import dataclasses
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import keras
from absl import logging

from tf_structprune.layers import recipe_of
from tf_structprune.shrink import ShrunkModel
from tf_structprune.task import Samples
from tflite_export.bench import LayerMultiplications, kernel_pruned_multiplications
from tflite_export.export._conversion import converted, integers_of, lowered
from tflite_export.export._integer_files import (
    IntegerFiles,
    for_micro,
    integer_file,
    slim_file,
)
from tflite_export.export._micro import write_micro
from tflite_export.export._settings import ExportSettings
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
from tflite_export.quantize import CALIBRATED, check_samples
from tflite_export.runtime import tflm_available
from tflite_export.verify import verify
from tflite_export.write import staged_directory


def export(
    model: keras.Model | ShrunkModel,
    directory: str | os.PathLike[str],
    *,
    representative_data: Any,
    verify_data: Any = None,
    overwrite: bool = False,
    settings: ExportSettings | None = None,
    **options: Any,
) -> ExportSummary:
    """Writes a Keras model as verified `.tflite` files and C++ sources.

    The directory receives `NAME.keras`, `NAME_float32.tflite`, `NAME_int8.tflite`, `summary.json` and, for
    a microcontroller, `micro/` with the int8 file (the float file without one) as an array, its operators, its
    shapes, scales and arena, a program that runs one inference and how to build it, see `bundle.micro_bundle`.
    It appears complete or, on any error, not at all.

    In fixed point the integer files are `NAME_fixed.tflite`, with every word in int8; where weights have 4 bits or
    fewer, `NAME_fixed_int4.tflite`, with two of them in a byte; and where they have 3 bits or fewer,
    `NAME_fixed_lut.tflite`, for TFLite Micro alone, if that gives the same integers. `micro/` holds the one that takes
    least flash and RAM together, the code of what decodes it counted. `NAME_recipe.json` names every layer's word
    lengths. LiteRT's reference kernels, TFLite Micro and the NumPy reference compute these files bit for bit alike, or
    the export fails.

    With `bundle=("esp-idf", "zephyr")` there is a project in `micro/` for each of these ecosystems, which tests itself
    on the device with recorded samples; what their libraries lack is told in `bundle_notes`.

    With `pack=...` there is `NAME_int8_packed.tflite` (or `NAME_fixed_packed.tflite`) too, whose weights TFLite Micro
    decodes as it runs, if it gives the same numbers; LiteRT, on phones, does not run it and takes the other one.

    Args:
        model: what `shrink` made, a Keras model, plain or from `to_fixed_point`, or a masked model, which is shrunk
            first. It may have several inputs and outputs; in the files they stand in the model's order.
        directory: the directory to make.
        representative_data: real samples, which set the ranges of the int8 signals: `(n, *input shape)`, for several
            inputs a list or dictionary of such arrays, or a data set or generator of batches.
        verify_data: samples on which the files are compared with Keras; `representative_data` by default.
        overwrite: replace a directory that an earlier export wrote.
        settings: how to export.
        **options: instead of `settings`, fields of `ExportSettings` by name, e.g. `quantize="none"`, `micro="none"`.

    Returns:
        What was written and measured, as in `summary.json`.

    Raises:
        FileExistsError, NotADirectoryError, PermissionError: see `staged_directory`.
        RuntimeError: Keras runs on another backend than TensorFlow.
        TypeError: not a Keras model, data that are not numbers, an unknown option, or options beside `settings`.
        ValueError: wrong argument or data, a model that TFLite cannot express, or with `micro="require"` an
            operator that TFLite Micro lacks.
        VerificationError: a file disagrees with Keras, or the runtimes with each other.
    """
    if settings is not None and options:
        raise TypeError(
            f"Options come in settings or by name. Received: settings beside {', '.join(options)}. "
            "Use dataclasses.replace(settings, ...)."
        )
    settings = settings or ExportSettings.of(options)
    with staged_directory(directory, overwrite=overwrite) as staged:
        summary = write_artifacts(
            model, staged, settings, representative_data=representative_data, verify_data=verify_data
        )
        summary = dataclasses.replace(summary, directory=os.fspath(directory))
        (staged / "summary.json").write_text(summary.to_json())
    return summary


def write_artifacts(
    model: keras.Model | ShrunkModel,
    directory: str | os.PathLike[str],
    settings: ExportSettings,
    *,
    representative_data: Any,
    verify_data: Any = None,
) -> ExportSummary:
    """Writes what `export` writes, but `summary.json`, into a directory that exists.

    For callers that stage a directory of their own with more files in it.

    Args:
        model: see `export`.
        directory: an existing directory, usually a staged one; files in it are replaced.
        settings: how to export.
        representative_data: see `export`.
        verify_data: see `export`.

    Returns:
        What was written and measured.

    Raises:
        The errors of `export`, save those of the directory.
    """
    given = keras_model_of(model)
    samples = check_samples(representative_data, given, name="representative_data")
    checked = samples if verify_data is None else check_samples(verify_data, given, name="verify_data")
    return write_source(source_of(given, settings.quantize, samples), Path(directory), settings, samples, checked)


def write_source(
    source: Source, folder: Path, settings: ExportSettings, samples: Samples, checked: Samples
) -> ExportSummary:
    """`write_artifacts` of models that are made.

    Args:
        source: the models.
        folder: an existing directory.
        settings: how to export, but for the number format, which the source tells.
        samples: real samples for calibration, from `check_samples`.
        checked: samples on which the files are compared with Keras.
    """
    plain, name, micro = source.plain, settings.name, settings.runs_micro
    in_float = in_other = lowered(source, "none", settings)
    lines = [f"float32: {choice}" for choice in in_float.plan.choices]
    if source.fixed is not None or source.quantize in CALIBRATED:
        in_other = lowered(source, "int8", settings)
        lines += [f"{source.quantize}: {choice}" for choice in in_other.plan.choices]
    floats, other = converted(source, in_float.model, in_other.model, settings=settings, samples=samples)
    float_file = written(folder / f"{name}_float32.tflite", floats)
    files, reduced, stem = None, None, folder / f"{name}_{source.quantize}"
    core = integers_of(source, stem, computing=in_other.model, plain=other, settings=settings, samples=samples)
    if core is not None:
        files = core.with_ends(settings.io, checked)
        if settings.pack != "none":
            files = files.with_packed(settings.pack, checked, micro=micro, names=settings.names)
    elif other is not None:
        reduced = written(stem.with_suffix(".tflite"), slim_file(other, names=settings.names))
    if source.fixed is not None and source.quantize == "fixed":
        (folder / f"{name}_recipe.json").write_text(recipe_of(source.fixed).to_json())
    bundle = partial(write_micro, folder / "micro", model=plain, settings=settings, samples=samples)
    figures, reason = _figures(float_file, files, settings, bundle)
    second = reduced if core is None else core.int8
    micro = micro and reason is None
    if core is not None and files is not None and micro and tflm_available():
        files.alike_in_tflm(core, checked)
    verification = verify(
        plain,
        float_file.file,
        None if second is None else second.file,
        samples=checked,
        int8_model=source.given,
        top1_agreement=settings.top1_agreement,
        tflm_steps=settings.tflm_steps if source.fixed is None else 0,
        micro=micro,
    )
    exact = {} if core is None else core.verified(checked, micro=micro)
    source.keras_model.save(folder / f"{name}.keras")
    return ExportSummary(
        directory=os.fspath(folder),
        quantize=source.quantize,
        representative_samples=0 if files is None else len(samples),
        **figures,
        reduced=None if reduced is None else summarize_file(reduced, micro=False),
        io="float32" if files is None else settings.io,
        micro_reason=reason,
        lowered=tuple(lines),
        multiplications=_multiplications(plain),
        verification=verification,
        exact=exact,
        versions=runtime_versions(),
    )


def converted_integers(source: Source, settings: ExportSettings, samples: Samples) -> TFLiteFile:
    """The int8 file that `write_source` writes, not verified and not written.

    Args:
        source: the models, not for a float file alone.
        settings: how to export.
        samples: real samples for calibration, from `check_samples`.

    Raises:
        ValueError: a model that TFLite cannot express.
    """
    model = lowered(source, "int8", settings).model
    return integer_file(
        model,
        samples,
        fixed=source.fixed,
        quantize=source.number_format,
        calibration=settings.calibration,
        names=settings.names,
    )


def _figures(
    float_file: Written, files: IntegerFiles | None, settings: ExportSettings, bundle: Callable[..., tuple[str, ...]]
) -> tuple[dict[str, Any], str | None]:
    """The fields of the summary about each file, with the microcontroller's bundle written; and why there is none."""
    if not settings.runs_micro:
        return _measured(float_file, files, settings, None), "It was not asked for."
    try:
        return _measured(float_file, files, settings, bundle), None
    except ValueError as error:
        if settings.micro != "auto":
            raise
        logging.info("There is no bundle for microcontrollers: %s", error)
        return _measured(float_file, files, settings, None), str(error)


def _measured(
    float_file: Written,
    files: IntegerFiles | None,
    settings: ExportSettings,
    bundle: Callable[..., tuple[str, ...]] | None,
) -> dict[str, Any]:
    """The figures, and with `bundle`, which writes it, that of the file that suits a microcontroller best.

    Raises:
        ValueError: with `bundle`, TFLite Micro cannot run a file.
    """
    micro = bundle is not None
    float32 = summarize_file(float_file, micro=micro)
    given = (None,) * 4 if files is None else (files.int8, files.int4, files.lut, files.packed)
    int8, int4, lut, packed = (None if each is None else summarize_file(each, micro=micro) for each in given)
    notes: tuple[str, ...] = ()
    if bundle is not None:
        asked = packed if settings.pack != "auto" else None
        chosen = float32 if int8 is None else asked or for_micro(int8, int4, lut, packed)
        file = next(each.file for each in (float_file, *given) if each is not None and each.path.name == chosen.file)
        notes = bundle(file, arena_bytes=chosen.arena_bytes)
    estimate, reason = summarize_npu(None if files is None else files.int8.file, settings.npu)
    return {
        "float32": float32,
        "int8": int8,
        "int4": int4,
        "lut": lut,
        "lut_reason": "There is no integer file." if files is None else files.lut_reason,
        "packed": packed,
        "packing": None if files is None else files.packing,
        "bundle_notes": notes,
        "npu": estimate,
        "npu_reason": reason,
    }


def _multiplications(plain: keras.Model) -> tuple[LayerMultiplications, ...]:
    """Rows for the report; none of a model that `list_calls` refuses, for `lower="none"` exports such a one too."""
    try:
        return kernel_pruned_multiplications(plain)
    except ValueError as error:
        logging.info("The report has no multiplications of kernel-pruned layers: %s", error)
        return ()
