"""The sweep: each layer and each word length, with the rest in float."""

import math
import os
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import keras
from numpy.typing import ArrayLike
from rich.progress import Progress

from tf_structprune.fixed_point import FixedPoint
from tf_structprune.layers import to_fixed_point
from tf_structprune.sensitivity._cache import MeasurementCache, open_cache
from tf_structprune.sensitivity._fingerprint import fingerprint
from tf_structprune.sensitivity._report import Measurement, SensitivityReport
from tf_structprune.sensitivity._rounding_scorer import RoundingScorer
from tf_structprune.sensitivity._roundings import Rounding, check_words, find_roundings
from tf_structprune.stages import calibrate, check_finite, check_samples
from tf_structprune.task import as_score, check_validation

_FLOAT = ("float", "", 32)


def measure_sensitivity(
    model: keras.Model,
    *,
    validation_data: tuple[ArrayLike, ArrayLike],
    calibration_data: Any,
    weight_bits: Sequence[int] = (2, 3, 4, 5, 6, 7, 8),
    signal_bits: Sequence[int] = (3, 4, 5, 6, 7, 8),
    power_of_two: bool = True,
    per_channel: bool = False,
    score: Any = "mcr",
    cache: str | os.PathLike[str] | None = None,
    batch_size: int = 256,
    verbose: bool = False,
) -> SensitivityReport:
    """Measure what each layer alone loses in fixed point, all the rest in float (Anwar, Hwang, Sung, ICASSP 2015).

    Batch normalizations are folded first, as `to_fixed_point` does. Steps are those with the least squared error;
    nothing is retrained. Signals that share a word length, tied by a concatenation or made by one layer, are
    rounded together. Signals that may be negative have 8 bits and nothing else.

    It has the arguments of a sweep, a calibration and a validation, more than eight, but each is one word.

    Args:
        model: a plain trained model that `to_fixed_point` takes; it is not changed.
        validation_data: held-out samples and labels.
        calibration_data: samples that the grids of the signals are fitted to, some hundred of the training data.
        weight_bits: word lengths of the weights, from 2 to 8; none leaves the weights out.
        signal_bits: word lengths of the rectified signals, from 3 to 8; none leaves the signals out.
        power_of_two: whether steps are powers of two.
        per_channel: whether each output channel has a weight step of its own.
        score: as of `StructuredPruning`: "mcr", a Keras loss or metric, or a function of (labels, outputs).
        cache: file in which every score is written down at once. A sweep with the same model, data, score and
            kind of steps goes on with it, also with other word lengths; a function as score counts by its name.
        batch_size: samples a prediction step.
        verbose: show a progress bar.

    Raises:
        TypeError: no model, or validation data that are no pair.
        ValueError: a model that has no fixed-point form, data or word lengths that cannot be used, a score that
            is not finite, or a cache of another sweep.
    """
    weight_words = check_words(weight_bits, signed=True, name="weight_bits")
    signal_words = check_words(signal_bits, signed=False, name="signal_bits")
    if not weight_words and not signal_words:
        raise ValueError("There is nothing to measure. Received: no weight_bits, no signal_bits. Give one of them.")
    validation = check_validation(validation_data, as_score(score), batch_size)
    check_finite(calibration_data)
    roundings = find_roundings(model, weight_words, signal_words)
    samples = check_samples(model, calibration_data)
    scorer = RoundingScorer(model, validation, samples, power_of_two=power_of_two, per_channel=per_channel)
    header = fingerprint(model, validation, samples, score=score, power_of_two=power_of_two, per_channel=per_channel)
    with open_cache(cache, header) as known:
        in_float = known.get(_FLOAT, lambda: _finite(scorer.float_score, "in float"))
        rows = _measure(roundings, scorer, known, verbose=verbose)
    weights = {rounding.layers[0]: rounding.weights for rounding in roundings if rounding.part == "weights"}
    return SensitivityReport(validation.score.metric, in_float, rows, weights, power_of_two, per_channel)


def score_recipe(
    model: keras.Model,
    recipe: FixedPoint,
    *,
    validation_data: tuple[ArrayLike, ArrayLike],
    calibration_data: Any,
    score: Any = "mcr",
    batch_size: int = 256,
) -> float:
    """Measure a recipe as a whole: the score with all its weights and signals rounded, without retraining.

    Args:
        model: the plain model; it is not changed.
        recipe: word lengths.
        validation_data: as of `measure_sensitivity`.
        calibration_data: as of `measure_sensitivity`.
        score: as of `measure_sensitivity`.
        batch_size: samples a prediction step.

    Returns:
        The score, higher is better.

    Raises:
        TypeError: as `measure_sensitivity`.
        ValueError: as `measure_sensitivity`, or a recipe that does not fit the model.
    """
    validation = check_validation(validation_data, as_score(score), batch_size)
    rounded = to_fixed_point(model, recipe)
    calibrate(rounded, calibration_data)
    return validation.of(rounded)


def _measure(
    roundings: Sequence[Rounding], scorer: RoundingScorer, known: MeasurementCache, *, verbose: bool
) -> tuple[Measurement, ...]:
    """All rows in the order of the roundings, measured word by word."""
    found = {}
    with Progress(transient=True, disable=not verbose) as progress:
        for rounding, bits in progress.track(_by_word(roundings), description="sensitivity"):
            key = (rounding.part, rounding.layers[0], bits)
            found[key] = known.get(key, partial(_score, scorer, rounding, bits))
    return tuple(
        Measurement(
            rounding.layers[0], rounding.part, bits, found[rounding.part, rounding.layers[0], bits], rounding.layers[1:]
        )
        for rounding in roundings
        for bits in rounding.words
    )


def _score(scorer: RoundingScorer, rounding: Rounding, bits: int) -> float:
    return _finite(
        scorer.score(rounding, bits), f"with the {rounding.part} of layer '{rounding.layers[0]}' in {bits} bits"
    )


def _by_word(roundings: Iterable[Rounding]) -> list[tuple[Rounding, int]]:
    """Each rounding with each of its words, ordered so that the copies of the model for a word are made once."""
    return sorted(
        ((rounding, bits) for rounding in roundings for bits in rounding.words),
        key=lambda pair: (pair[0].part, pair[1]),
    )


def _finite(score: float, where: str) -> float:
    if not math.isfinite(score):
        raise ValueError(f"The score {where} is not finite. Received: {score}. Use another score, such as 'mcr'.")
    return float(score) + 0.0  # no negative zero, which a perfect MCR gives
