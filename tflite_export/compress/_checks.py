"""What settings of a run may be; each refuses others with a ValueError."""

import math
import re
from typing import Any

from tf_structprune.masks import COLUMNS, IntraKernelStrided, Weight


def check_count(name: str, value: int | str, *, least: int) -> None:
    """A count, or one of the words that leave it open."""
    if value not in ("auto", "any") and (not isinstance(value, int) or value < least):
        raise ValueError(
            f"{name} must be at least {least}. Received: {name}={value!r}. Use a count, 'auto', or 'any' for no limit."
        )


def check_strides(strides: tuple[int, ...] | str) -> None:
    """Strides, or a word that stands for some."""
    if isinstance(strides, tuple):
        IntraKernelStrided(strides)  # checks them
    elif strides not in ("auto", "any", COLUMNS):
        raise ValueError(f"Unknown strides. Received: strides={strides!r}. Use e.g. 1,3, or auto, columns or any.")


def weight_demands(weights: str) -> Weight:
    """Which single weights go: "layer", "model", or "N:M" for N of M that stay.

    Raises:
        ValueError: another word.
    """
    found = re.fullmatch(r"(\d+):(\d+)", weights)
    if found:
        return Weight(int(found[1]), int(found[2]))
    if weights not in ("layer", "model"):
        raise ValueError(f"Unknown weights. Received: weights={weights!r}. Use layer, model, or e.g. 2:4.")
    return Weight(across="model" if weights == "model" else "layer")


def check_workers(executor: str, workers: int | None) -> None:
    """A number of processes beside the executor that has some."""
    if workers is not None and (executor != "ray" or workers < 1):
        raise ValueError(
            f"workers must be at least 1, and are Ray's. Received: workers={workers} with executor={executor!r}. "
            "Use executor='ray' with a count."
        )


def check_choice(name: str, values: tuple[str, ...], choices: tuple[str, ...]) -> None:
    """Words that must be among some."""
    for value in values:
        if value not in choices:
            raise ValueError(f"Unknown {name}. Received: {name}={value!r}. Use one of: {', '.join(choices)}.")


def check_method_only(name: str, value: Any, default: Any, method: str, methods: tuple[str, ...]) -> None:
    """A setting that some methods read, and no other; its default may stand beside any."""
    if value != default and method not in methods:
        told = " or ".join(f"method={each!r}" for each in methods)
        raise ValueError(
            f"{name} is read by {told} alone. Received: {name}={value} with method={method!r}. Use {told}, or leave "
            f"{name} out."
        )


def check_range(name: str, value: float, low: float, high: float) -> None:
    """A number between two, both included."""
    if not low <= value <= high:
        raise ValueError(
            f"{name} must be in [{low}, {high}]. Received: {name}={value}. It is a fraction, not a percentage."
        )


def check_rate(name: str, value: float | str) -> None:
    """A learning rate, or the word that leaves it open."""
    if value != "auto" and (isinstance(value, str) or not 0 < value < math.inf):
        raise ValueError(
            f"{name} must be positive and finite. Received: {name}={value}. Use e.g. 0.001, or auto for a range test."
        )
