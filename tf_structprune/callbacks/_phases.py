"""What callbacks that train in phases have in common: a rate of learning for each, and a judge of what each leaves."""

import math
from collections.abc import Callable

import keras

from tf_structprune.stages import Judge
from tf_structprune.task import Validation


def cosine(rate: float, place: int, count: int) -> float:
    """The rate of one of `count` epochs: a cosine that falls from `rate` to zero."""
    return rate / 2 * (1 + math.cos(math.pi * place / count))


def check_settable(set_rate: Callable[[int], None], told: str) -> None:
    """Refuse an optimizer whose rate cannot be set.

    Args:
        set_rate: sets that of an epoch.
        told: the setting that asks for it, with its value.

    Raises:
        ValueError: the optimizer has a schedule.
    """
    try:
        set_rate(0)
    except (TypeError, ValueError) as error:  # Keras says so of a schedule
        raise ValueError(
            f"The optimizer has a schedule of its own. Received: {told} too. Leave it out, or compile with a number."
        ) from error


def judge_of(model: keras.Model, validation: Validation | None, tolerance: float | None) -> Judge | None:
    """The judge of a run that begins with a model; None without validation data.

    Args:
        model: as it is now; without labels its outputs are the targets.
        validation: what it is scored on.
        tolerance: accepted loss of score; None accepts all.
    """
    if validation is None:
        return None
    return Judge.of(model, validation.for_model(model).with_outputs_of(model), tolerance or 0.0)


def judged(model: keras.Model, judge: Judge | None, tolerance: float | None) -> tuple[float | None, bool]:
    """The score of a model, None without a judge, and whether it is accepted."""
    if judge is None:
        return None, True
    found = judge.judge(model)
    return found.score, tolerance is None or found.accepted
