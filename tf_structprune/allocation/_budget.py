"""What a network may cost."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

CostKind = Literal["macs", "parameters", "bytes", "latency"]
KINDS: tuple[CostKind, ...] = get_args(CostKind)
UNITS: dict[CostKind, str] = {"macs": "MACs", "parameters": "parameters", "bytes": "bytes", "latency": "us"}
"""What a cost of each kind is counted in."""


@dataclass(frozen=True)
class Budget:
    """The share of its cost that a network may keep.

    Attributes:
        kind: what is counted. "macs": multiply-accumulates of convolutions and dense layers for one sample.
            "parameters": all weights as Keras counts them, biases and normalizations included. "bytes": kernels
            of convolutions and dense layers in words of `weight_bits`, each kernel packed to whole bytes, and a
            bias of 32 bits for each of their output maps, into which a batch normalization is folded;
            normalizations that stay by themselves, slopes of a PReLU and the file's overhead are not counted.
            "latency": microseconds of one inference, as measured by a function of the caller's, such as
            `tflite_export.latency_cost`.
        fraction: largest cost, as a fraction of the cost of the model as it is without masks, in (0, 1].
        weight_bits: bits of a weight, 2 to 32, for "bytes".

    Raises:
        ValueError: an unknown kind, or a value out of its range.
    """

    kind: CostKind
    fraction: float
    weight_bits: int = 8

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"Unknown kind of budget. Received: kind={self.kind!r}. Use one of: {', '.join(KINDS)}.")
        number = isinstance(self.fraction, int | float) and not isinstance(self.fraction, bool)
        if not number or not 0 < self.fraction <= 1:  # also refuses NaN
            raise ValueError(
                f"Budget '{self.kind}': fraction must be in (0, 1]. Received: fraction={self.fraction!r}. "
                "It is the share of the cost that may stay, not a percentage."
            )
        if type(self.weight_bits) is not int or not 2 <= self.weight_bits <= 32:
            raise ValueError(
                f"Budget '{self.kind}': weight_bits must be a whole number from 2 to 32. Received: "
                f"weight_bits={self.weight_bits!r}. Use e.g. 8."
            )

    @classmethod
    def parse(cls, text: str) -> "Budget":
        """The budget of a text such as "macs=0.5".

        Raises:
            ValueError: another form, an unknown kind or a fraction out of range.
        """
        kind, equals, fraction = text.partition("=")
        try:
            value = float(fraction) if equals else math.nan
        except ValueError:
            value = math.nan
        if math.isnan(value):
            raise ValueError(
                f"A budget is a kind and a fraction. Received: {text!r}. Use e.g. macs=0.5; the kinds are "
                f"{', '.join(KINDS)}."
            )
        return cls(kind.strip(), value)  # type: ignore[arg-type]  # checked by __post_init__

    def text(self, cost: float) -> str:
        """A cost with its unit, for people."""
        return f"{cost:,.{1 if self.kind == 'latency' else 0}f} {UNITS[self.kind]}"
