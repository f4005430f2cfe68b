"""The sweep over the layers of an int8 file."""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike
from rich.progress import Progress

from tf_structprune.graph import input_names
from tf_structprune.layers import is_fixed_point
from tf_structprune.sensitivity import MeasurementCache, fingerprint, open_cache
from tf_structprune.task import Agreement, Samples, as_score, check_validation, output_names, readings_of
from tflite_export.calibrate import calibrate
from tflite_export.file import TFLiteFile
from tflite_export.quantize import check_samples, convert
from tflite_export.sensitivity._diagnose import with_remedies
from tflite_export.sensitivity._marks import marked
from tflite_export.sensitivity._pair import FilePair, pair
from tflite_export.sensitivity._parts import Part, channel_ranges, parts_of
from tflite_export.sensitivity._report import Int8Layer, Int8Sensitivity
from tflite_export.sensitivity._scorer import Int8Scorer
from tflite_export.sensitivity._usage import Usage

_BITS = 8


def int8_sensitivity(
    model: keras.Model,
    *,
    validation_data: tuple[ArrayLike, ArrayLike],
    calibration_data: Any,
    tolerance: float = 0.01,
    score: Any = "mcr",
    cache: str | os.PathLike[str] | None = None,
    verbose: bool = False,
) -> Int8Sensitivity:
    """Measure which layers lose what in the int8 file of a model.

    The file is made as `export` makes it, but for the biases that take back what rounding adds: they make up for other
    layers. Each of its operators, with its weights and the signal that it makes, is rounded alone, all the rest in
    float, and left in float alone, all the rest rounded (AIMET's QuantAnalyzer asks the same of PyTorch models).
    Grids, weights and the order of the operators are those of the file, which is rewritten in floats and run in LiteRT;
    the report says how far all layers rounded that way agree with the file itself.

    Args:
        model: a plain trained model; it is not changed.
        validation_data: held-out samples and targets.
        calibration_data: samples that set the ranges of the signals, some hundred of the training data.
        tolerance: what the file may lose, in units of the score: 0.01 of the MCR is one point. Layers of a file that
            loses more get a remedy, the worst first, until what the others lose alone adds up to that at most.
        score: as of `StructuredPruning`: "mcr", a Keras loss or metric, or a function of (targets, outputs).
        cache: file in which every number is written down at once; a sweep of the same file, data and score goes on
            with it.
        verbose: show a progress bar.

    Raises:
        TypeError: no model, or validation data that are no pair.
        ValueError: a model in fixed point, one that TFLite cannot express, data that cannot be used, a score that is
            not finite, or a cache of another sweep.
    """
    if not tolerance >= 0:
        raise ValueError(f"tolerance must be 0 or more. Received: tolerance={tolerance}. Use e.g. 0.01 for a point.")
    samples = _calibration(model, calibration_data)
    validation = check_validation(validation_data, as_score(score), 256, model)
    inputs = check_samples(validation.x, model, name="validation_data")
    copy, marks = marked(model)
    in_float = TFLiteFile(convert(copy))
    int8 = TFLiteFile(convert(copy, quantize="int8", representative_data=samples))
    ranged = calibrate(int8, in_float, samples, biases=False).file  # biases make up for what other layers lose
    files = pair(replace(ranged, name=f"Model '{model.name}'"), in_float)
    parts = parts_of(files, marks, inputs=input_names(model), outputs=output_names(model))
    scorer = Int8Scorer(files, parts, inputs, validation)
    header = fingerprint(model, validation, samples, score=score, power_of_two=False, per_channel=True)
    with open_cache(cache, header | {"kind": "int8 file"}) as known:
        score_in_float = _known(known, ("float", ""), lambda: scorer.score(scorer.in_float))
        rows = _rows(scorer, known, verbose=verbose)
    return _report(model, scorer, score_in_float, rows, tolerance)


def _calibration(model: keras.Model, calibration_data: Any) -> Samples:
    """Samples that set the ranges of a plain model."""
    if not isinstance(model, keras.Model):
        raise TypeError(f"model must be a keras.Model. Received: {type(model).__name__}. Load a file first.")
    if calibration_data is None:
        raise ValueError(
            "The ranges of signals in int8 are measured on samples. Received: calibration_data=None. Pass some hundred "
            "training samples."
        )
    if is_fixed_point(model):
        raise ValueError(
            f"Model '{model.name}' is in fixed point already: its file has its own grids. Received: a model with "
            "quantizers. Give the plain model, or measure word lengths with measure_sensitivity."
        )
    return check_samples(calibration_data, model, name="calibration_data")


def _rows(scorer: Int8Scorer, known: MeasurementCache, *, verbose: bool) -> list[Int8Layer]:
    """All layers, without remedies."""
    usages = scorer.usages()
    rows = []
    with Progress(transient=True, disable=not verbose) as progress:
        for part in progress.track(scorer.parts, description="sensitivity"):
            rows.append(_row(part, usages[part], scorer.pair, _measured(part, scorer, known)))
    return rows


def _measured(part: Part, scorer: Int8Scorer, known: MeasurementCache) -> dict[str, float]:
    """What is found by running files, by the name of the figure."""
    others = [each for each in scorer.parts if each is not part]
    figures: dict[str, Callable[[], float]] = {
        "score_alone": lambda: scorer.score(scorer.outputs([part])),
        "output_db": lambda: scorer.output_db(part),
        "score_without": lambda: scorer.score(scorer.outputs(others)),
        "signal_db": lambda: scorer.signal_db(part),
    }
    return {name: _known(known, (name, part.name), measure) for name, measure in figures.items()}


def _known(known: MeasurementCache, key: tuple[str, str], measure: Callable[[], float]) -> float:
    return known.get((*key, _BITS), partial(_finite, measure, key[1]))


def _finite(measure: Callable[[], float], layer: str) -> float:
    found = float(measure()) + 0.0  # no negative zero, which a perfect MCR gives
    if not math.isfinite(found):
        where = f"with layer '{layer}' in int8" if layer else "in float"
        raise ValueError(f"The score {where} is not finite. Received: {found}. Use another score, such as 'mcr'.")
    return found


def _row(part: Part, usage: Usage, files: FilePair, measured: Mapping[str, float]) -> Int8Layer:
    tensors = files.int8.description.tensors
    signal = tensors[part.signal]
    scale, point = signal.scales[0], signal.zero_points[0]
    weights = [index for index in part.constants if index in files.int8.description.weights]
    values = [files.real[index] for index in weights]
    return Int8Layer(
        layer=part.name,
        kind=part.kind,
        weights=sum(each.size for each in values),
        weight_scales=tensors[weights[0]].scales if weights else (),
        weight_spread=_spread(values[0]) if values and values[0].ndim > 1 else 1.0,
        low=scale * (-128 - point),
        high=scale * (127 - point),
        scale=scale,
        zero_point=point,
        largest_channel=usage.largest_channel,
        median_channel=usage.median_channel,
        most_values=usage.most_values,
        clipped=usage.clipped,
        score_alone=measured["score_alone"],
        score_without=measured["score_without"],
        signal_db=measured["signal_db"],
        output_db=measured["output_db"],
    )


def _spread(weights: Any) -> float:
    ranges = channel_ranges(weights)
    median = float(np.median(ranges[ranges > 0])) if ranges.any() else 0.0
    return float(ranges.max()) / median if median else 1.0


def _report(
    model: keras.Model, scorer: Int8Scorer, in_float: float, rows: Sequence[Int8Layer], tolerance: float
) -> Int8Sensitivity:
    int8, simulated = scorer.in_int8, scorer.outputs(scorer.parts)
    score = _finite(lambda: scorer.score(int8), "")
    agreements = [Agreement.between(*each) for each in zip(simulated, int8, readings_of(model, int8), strict=True)]
    decided = [each.same_class for each in agreements if each.same_class is not None]
    return Int8Sensitivity(
        metric=scorer.validation.score.metric,
        score=in_float,
        int8_score=score,
        simulated_score=scorer.score(simulated),
        agreement=min(decided, default=None),
        error=max(each.error for each in agreements),
        tolerance=tolerance,
        layers=with_remedies(rows, score=in_float, int8_score=score, tolerance=tolerance),
    )
