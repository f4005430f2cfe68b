"""What a network may cost."""

import math
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

CostKind = Literal["macs", "parameters", "bytes", "latency", "flash", "arena"]
KINDS: tuple[CostKind, ...] = get_args(CostKind)
MEASURED: tuple[CostKind, ...] = ("latency", "flash", "arena")
"""Kinds that a function of the caller's measures, see `allocation.Limit`; the others are counted."""
UNITS: dict[CostKind, str] = {
    "macs": "MACs",
    "parameters": "parameters",
    "bytes": "bytes",
    "latency": "us",
    "flash": "bytes",
    "arena": "bytes",
}
"""What a cost of each kind is counted in."""

_COUNTS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}
_BYTES = {"B": 1.0, "kB": 1e3, "KB": 1e3, "MB": 1e6, "KiB": 2.0**10, "MiB": 2.0**20}
_TIMES = {"us": 1.0, "ms": 1e3, "s": 1e6}
_UNITS_OF: dict[CostKind, dict[str, float]] = {
    "macs": _COUNTS,
    "parameters": _COUNTS,
    "bytes": {**_COUNTS, **_BYTES},
    "latency": _TIMES,
    "flash": {**_COUNTS, **_BYTES},
    "arena": {**_COUNTS, **_BYTES},
}
_AMOUNT = re.compile(r"\s*([0-9.]+(?:[eE][+-]?[0-9]+)?)\s*([a-zA-Z%]*)\s*")
_LEAST_COUNT = 100  # what is larger, without a unit, is no percentage that was written without its sign


@dataclass(frozen=True)
class Budget:
    """What a network may cost: a share of what it costs, or an amount.

    Attributes:
        kind: what is counted. "macs": multiply-accumulates of convolutions and dense layers for one sample.
            "parameters": all weights as Keras counts them, biases and normalizations included. "bytes": kernels
            of convolutions and dense layers in words of `weight_bits`, each kernel packed to whole bytes, and a
            bias of 32 bits for each of their output maps, into which a batch normalization is folded;
            normalizations that stay by themselves, slopes of a PReLU and the file's overhead are not counted.
            "latency": microseconds of one inference; "flash": bytes of the integer file; "arena": bytes of the tensor
            arena that TFLite Micro uses: as measured by a function of the caller's, such as
            `tflite_export.latency_cost` or `tflite_export.file_costs`.
        fraction: largest cost, as a fraction of the cost of the model as it is without masks, in (0, 1]; None with a
            `limit`.
        weight_bits: bits of a weight, 2 to 32, for "bytes".
        limit: largest cost as an amount in what the kind counts, above 0; None with a `fraction`.

    Raises:
        ValueError: an unknown kind, or a value out of its range.
    """

    kind: CostKind
    fraction: float | None = None
    weight_bits: int = 8
    limit: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"Unknown kind of budget. Received: kind={self.kind!r}. Use one of: {', '.join(KINDS)}.")
        if self.limit is None and not _is_within(self.fraction, 1):
            raise ValueError(
                f"Budget '{self.kind}': fraction must be in (0, 1]. Received: fraction={self.fraction!r}. "
                "It is the share of the cost that may stay, not a percentage; an amount has a unit, e.g. "
                f"{_example(self.kind)}."
            )
        if self.limit is not None and not _is_within(self.limit, sys.float_info.max):
            raise ValueError(
                f"Budget '{self.kind}': limit must be a positive number. Received: limit={self.limit!r}. Use e.g. "
                f"{_example(self.kind)}."
            )
        if self.limit is not None and self.fraction is not None:
            raise ValueError(
                f"Budget '{self.kind}': has a fraction or a limit. Received: fraction={self.fraction!r} and "
                f"limit={self.limit!r}. Leave one of them out."
            )
        if type(self.weight_bits) is not int or not 2 <= self.weight_bits <= 32:
            raise ValueError(
                f"Budget '{self.kind}': weight_bits must be a whole number from 2 to 32. Received: "
                f"weight_bits={self.weight_bits!r}. Use e.g. 8."
            )

    @classmethod
    def parse(cls, text: str) -> "Budget":
        """The budget of a text: a share such as "macs=0.5" or "macs=50%", or an amount such as "macs=6M",
        "flash=20KiB" or "latency=3ms"; a number without a unit is a share up to 100 and an amount above.

        Raises:
            ValueError: another form, an unknown kind or unit, or a value out of range.
        """
        name, equals, amount = text.partition("=")
        kind: Any = name.strip()
        found = _AMOUNT.fullmatch(amount) if equals else None
        if found is None or not _is_float(found[1]):
            raise ValueError(
                f"A budget is a kind and a share or an amount. Received: {text!r}. Use e.g. macs=0.5 or "
                f"flash=20KiB; the kinds are {', '.join(KINDS)}."
            )
        value, unit = float(found[1]), found[2]
        if unit == "%":
            return cls(kind, value / 100)
        if not unit and value <= _LEAST_COUNT or kind not in KINDS:
            return cls(kind, value)
        units = _UNITS_OF[kind]
        if unit not in units:
            known = ", ".join(each for each in units if each)
            raise ValueError(
                f"Budget '{kind}': unknown unit. Received: {amount.strip()!r}. Use one of {known}, or a share, e.g. "
                f"{kind}=0.5."
            )
        return cls(kind, limit=value * units[unit])

    def most(self, whole: float) -> float:
        """The largest cost, where the whole model costs so much."""
        return self.limit if self.limit is not None else (self.fraction or 0.0) * whole

    @property
    def asked(self) -> str:
        """What was asked for, for people: "50 %" or "20,480 bytes"."""
        return self.text(self.limit) if self.limit is not None else f"{100 * (self.fraction or 0.0):g} %"

    def text(self, cost: float) -> str:
        """A cost with its unit, for people."""
        return f"{cost:,.{1 if self.kind == 'latency' else 0}f} {UNITS[self.kind]}"


def as_budgets(given: "Budget | str | Sequence[Budget | str]") -> tuple[Budget, ...]:
    """One or several budgets, each a `Budget` or a text, as a tuple.

    Raises:
        TypeError: something else.
        ValueError: none, or two of a kind.
    """
    several = tuple(given) if isinstance(given, Iterable) and not isinstance(given, str) else (given,)
    budgets = tuple(Budget.parse(each) if isinstance(each, str) else each for each in several)
    for each in budgets:
        if not isinstance(each, Budget):
            raise TypeError(f"A budget is a Budget or a text. Received: {each!r}. Use e.g. Budget('macs', 0.5).")
    kinds = [each.kind for each in budgets]
    twice = next((kind for kind in kinds if kinds.count(kind) > 1), None)
    if twice is not None:
        asked = " and ".join(each.asked for each in budgets if each.kind == twice)
        raise ValueError(
            f"Budgets contradict: each kind is named once. Received: {twice} of at most {asked}. Leave one of them out."
        )
    if not budgets:
        raise ValueError("There must be a budget. Received: none. Use e.g. Budget('macs', 0.5).")
    return budgets


def _is_within(value: Any, most: float) -> bool:
    """Whether something is a number above 0 and of at most so much."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= most  # also refuses NaN


def _is_float(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _example(kind: CostKind) -> str:
    return {"latency": "latency=3ms", "macs": "macs=6M", "parameters": "parameters=20k"}.get(kind, f"{kind}=20KiB")
