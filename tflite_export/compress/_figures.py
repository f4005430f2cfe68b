"""The figures of `summary.json` as rows of a table."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One figure of a model.

    Attributes:
        key: its key under `baseline` and `compressed`.
        title: what a person reads, with the unit.
        scale: factor from the stored value to that unit.
        digits: decimal places shown.
    """

    key: str
    title: str
    scale: int = 1
    digits: int = 0

    def text(self, value: float | None) -> str:
        """The value as shown."""
        return "not measured" if value is None else f"{self.scale * value:,.{self.digits}f}"

    def row(self, summary: dict[str, Any]) -> tuple[str, str, str, str]:
        """Title, value before, value after and their ratio, which accuracies lack."""
        before, after = (summary[side][self.key] for side in ("baseline", "compressed"))
        known = before and after and not self.key.startswith("accuracy")
        return self.title, self.text(before), self.text(after), f"{before / after:.2f}x" if known else ""


FIGURES = (
    Figure("accuracy_float", "top-1, float (%)", 100, 2),
    Figure("accuracy_int8", "top-1, int8 (%)", 100, 2),
    Figure("parameters", "parameters"),
    Figure("macs", "MACs"),
    Figure("float32_bytes", "float32 file (bytes)"),
    Figure("int8_bytes", "int8 file (bytes)"),
    Figure("latency_us_float32", "latency, float32 (us)", digits=1),
    Figure("latency_us_int8", "latency, int8 (us)", digits=1),
    Figure("arena_bytes", "TFLM arena (bytes)"),
)
