"""The figures of a report as rows of a table."""

from dataclasses import dataclass

from tflite_export.compress._report import CompressReport


@dataclass(frozen=True)
class Figure:
    """One figure of a model.

    Attributes:
        name: its attribute in `ModelFigures`.
        title: what a person reads, with the unit.
        scale: factor from the stored value to that unit.
        digits: decimal places shown.
        cost: whether it is better when lower, so that before / after says what was gained.
    """

    name: str
    title: str
    scale: float = 1
    digits: int = 0
    cost: bool = True

    def text(self, value: float | None) -> str:
        """The value as shown."""
        return "not measured" if value is None else f"{self.scale * value:,.{self.digits}f}"

    def row(self, report: CompressReport) -> tuple[str, str, str, str]:
        """Title, value before, value after and their ratio, which accuracies lack."""
        before, after = (getattr(side, self.name) for side in (report.baseline, report.compressed))
        known = before and after and self.cost
        return self.title, self.text(before), self.text(after), f"{before / after:.2f}x" if known else ""


_COSTS = (
    Figure("parameters", "parameters"),
    Figure("macs", "MACs"),
    Figure("float32_bytes", "float32 file (bytes)"),
    Figure("int8_bytes", "int8 file (bytes)"),
    Figure("latency_us_float32", "latency, float32 (us)", digits=1),
    Figure("latency_us_int8", "latency, int8 (us)", digits=1),
    Figure("arena_bytes", "TFLM arena (bytes)"),
)


def figures_of(report: CompressReport) -> tuple[Figure, ...]:
    """The rows of a report: how good the models are, then what they cost."""
    figure = report.figure
    unit, digits = (" (%)", 2) if figure.percent else ("", 4)
    scores = (
        Figure(f"score_{kind}", f"{figure.name}, {kind}{unit}", figure.scale, digits, cost=False)
        for kind in ("float", "int8")
    )
    return (*scores, *_COSTS)
