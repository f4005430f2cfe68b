"""What becomes of each layer: data that prints."""

from dataclasses import dataclass

from tflite_export.lower._structure import Block

DENSE = "dense"


@dataclass(frozen=True)
class LayerChoice:
    """How one convolution is computed.

    Attributes:
        name: path of the layer.
        form: "dense", "gather" or "sum".
        blocks: the blocks of output maps; empty for "dense".
        macs_share: multiply-accumulates left, as a fraction of the dense layer's.
        latency_us: measured latency by form, in microseconds; empty where the form was given.
        reason: why this form.
    """

    name: str
    form: str
    blocks: tuple[Block, ...]
    macs_share: float
    latency_us: dict[str, float]
    reason: str

    @property
    def predicted_gain(self) -> float:
        """Speedup if time fell as the multiplications do."""
        return 1 / self.macs_share

    @property
    def measured_gain(self) -> float | None:
        """Speedup over the dense layer in the measurement; None without one."""
        if self.form not in self.latency_us:
            return None
        return self.latency_us[DENSE] / self.latency_us[self.form]

    def __str__(self) -> str:
        measured = "" if self.measured_gain is None else f", measured {self.measured_gain:.2f}x"
        return f"{self.name}: {self.form}, predicted {self.predicted_gain:.2f}x{measured} ({self.reason})"


@dataclass(frozen=True)
class LowerPlan:
    """The choice for every convolution that has weights to leave out."""

    choices: tuple[LayerChoice, ...]

    def __str__(self) -> str:
        return "\n".join(map(str, self.choices)) or "nothing to lower: no convolution has weights to leave out"
