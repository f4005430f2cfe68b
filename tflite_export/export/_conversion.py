"""The files of an export before they are verified: lowered, converted, the integer ones written."""

from pathlib import Path

import keras

from tf_structprune.layers import recipe_of
from tf_structprune.task import Samples
from tflite_export.export._integer_files import IntegerFiles, write_fixed, write_plain
from tflite_export.export._settings import ExportSettings
from tflite_export.export._source import Source
from tflite_export.file import TFLiteFile
from tflite_export.lower import LoweredModel, LowerPlan
from tflite_export.lower import lower as lower_model
from tflite_export.quantize import CALIBRATED, Quantize, convert, convert_both, float_form


def lowered(source: Source, quantize: Quantize, settings: ExportSettings) -> LoweredModel:
    """The float model that the float or the integer file computes as."""
    fixed = None if quantize == "none" else source.fixed
    if quantize != "none" and source.quantize == "int16x8":  # of which no form was measured
        return LoweredModel(source.plain, LowerPlan(()))
    plain = source.plain if fixed is None else float_form(fixed)
    # Channels are reordered, steps of theirs are not.
    if settings.lower == "none" or (fixed is not None and recipe_of(fixed).per_channel):
        return LoweredModel(plain, LowerPlan(()))
    # In fixed point a lowered dense layer is a FULLY_CONNECTED, which runtimes round differently.
    return lower_model(plain, target=settings.target, quantize=quantize, dense=fixed is None, device=settings.device)


def converted(
    source: Source, in_float: keras.Model, in_other: keras.Model, *, settings: ExportSettings, samples: Samples
) -> tuple[TFLiteFile, TFLiteFile | None]:
    """The float file, and what TensorFlow's converter makes in the source's format, if it is that which makes it.

    Args:
        source: the models.
        in_float: what the float file computes as.
        in_other: what the other one does, mostly the same.
        settings: how to export.
        samples: what sets the ranges of integer signals.
    """
    if source.fixed is not None or source.quantize == "none":
        return TFLiteFile(convert(in_float)), None
    format_, ranges = source.number_format, settings.calibration
    if in_other is in_float:
        both = convert_both(in_float, quantize=format_, representative_data=samples, calibration=ranges)
    else:
        other = convert(in_other, quantize=format_, representative_data=samples, calibration=ranges)
        both = convert(in_float), other
    return TFLiteFile(both[0]), TFLiteFile(both[1])


def integers_of(
    source: Source,
    stem: Path,
    *,
    computing: keras.Model,
    plain: TFLiteFile | None,
    settings: ExportSettings,
    samples: Samples,
) -> IntegerFiles | None:
    """The integer files, written, with the integers of their signals at their ends; None in a format of floats.

    Args:
        source: the models.
        stem: what the paths of the files begin with.
        computing: the float model that says what is computed.
        plain: the second file of `converted`.
        settings: how to export.
        samples: real samples.
    """
    if source.fixed is not None:
        return write_fixed(stem, source.fixed, computing, samples, micro=settings.runs_micro, names=settings.names)
    if source.quantize in CALIBRATED and plain is not None:
        return write_plain(stem, plain, names=settings.names)
    return None
