"""What becomes of each layer: data that prints."""

from dataclasses import dataclass

from tflite_export.lower._forms import DENSE
from tflite_export.lower._structure import Block


@dataclass(frozen=True)
class LayerChoice:
    """How one layer is computed.

    Attributes:
        name: path of the layer.
        form: "dense", "gather", "shift", "grouped" or "sum", the number of blocks behind it.
        blocks: the blocks of output maps; empty for "dense".
        macs_share: multiply-accumulates that the masks keep, as a fraction of the dense layer's.
        predicted_gain: speedup over the dense layer by the cost model, of the form or, for "dense", of the
            best form that there was.
        latency_us: measured latency by form, in microseconds; empty where nothing was measured.
        reason: why this form.
    """

    name: str
    form: str
    blocks: tuple[Block, ...]
    macs_share: float
    predicted_gain: float
    latency_us: dict[str, float]
    reason: str

    @property
    def measured_gain(self) -> float | None:
        """Speedup over the dense layer in the measurement; None without one."""
        if self.form not in self.latency_us:
            return None
        return self.latency_us[DENSE] / self.latency_us[self.form]

    def __str__(self) -> str:
        measured = "" if self.measured_gain is None else f", measured {self.measured_gain:.2f}x"
        work = f"{self.macs_share:.0%} of the work"
        return f"{self.name}: {self.form}, {work}, predicted {self.predicted_gain:.2f}x{measured} ({self.reason})"


@dataclass(frozen=True)
class LowerPlan:
    """The choice for every layer that has weights to leave out.

    Attributes:
        choices: one a layer.
        note: what the whole model measured, where that decided against the layers' choices.
    """

    choices: tuple[LayerChoice, ...]
    note: str = ""

    def __str__(self) -> str:
        lines = [str(choice) for choice in self.choices] + ([self.note] if self.note else [])
        return "\n".join(lines) or "nothing to lower: no layer has weights to leave out"
