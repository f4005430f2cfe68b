"""What a measurement depends on, as short texts that can be compared."""

import json
from typing import Any

import keras

from tf_structprune.resume import digest, wiring
from tf_structprune.task import Samples, Validation

_FORMAT = 1  # of the cache and of how scores come about; counted up when either changes


def fingerprint(
    model: keras.Model,
    validation: Validation,
    samples: Samples,
    *,
    score: Any,
    power_of_two: bool,
    per_channel: bool,
) -> dict[str, Any]:
    """By name, what the scores of a sweep depend on; equal for equal sweeps in any process.

    Args:
        model: the plain model.
        validation: what it is scored on.
        samples: what the signals are calibrated with.
        score: as the user gave it; a function counts by its name, not by what it does.
        power_of_two: kind of steps.
        per_channel: kind of steps.
    """
    weights = [keras.ops.convert_to_numpy(weight) for weight in model.weights]
    return {
        "format": _FORMAT,
        "model": wiring(model, *weights, names=True),
        "validation data": digest(validation.x, validation.y),
        "calibration data": digest(samples.arrays),
        "score": _score_identity(score),
        "power_of_two": power_of_two,
        "per_channel": per_channel,
    }


def _score_identity(score: Any) -> str:
    if isinstance(score, keras.losses.Loss | keras.metrics.Metric):
        return json.dumps(keras.saving.serialize_keras_object(score), sort_keys=True, default=str)
    if isinstance(score, str):
        return score
    return f"{getattr(score, '__module__', '')}.{getattr(score, '__qualname__', type(score).__qualname__)}"
