"""How a score is told to people."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """What a score is called and how it is written; a score itself is always better when higher.

    Attributes:
        name: what people call it, e.g. "MCR".
        falls: whether it is told as a number that is better when lower: minus the score.
        percent: whether it is a fraction that is told in percent, and differences of it in points.
        best: number that is told of the score 0.
    """

    name: str
    falls: bool = False
    percent: bool = False
    best: float = 0.0

    def value(self, score: float) -> float:
        """The number that is told: a fraction where it is in percent."""
        return self.best + (-score if self.falls else score)

    def text(self, score: float) -> str:
        """A score with its unit, e.g. "12.81 %"."""
        return self.told(self.value(score))

    def told(self, value: float) -> str:
        """The number that is told, with its unit."""
        value += 0.0  # no minus in front of zero
        return f"{100 * value:.2f} %" if self.percent else f"{value:.4g}"

    def difference(self, loss: float) -> str:
        """A difference of two scores with its unit, e.g. "1.00 points"."""
        return f"{self.scale * loss:.2f} points" if self.percent else f"{loss:.4g}"

    def signed(self, loss: float) -> str:
        """A loss of score as a number with its sign, e.g. "+1.00"."""
        return f"{100 * loss:+.2f}" if self.percent else f"{loss:+.4g}"

    @property
    def key(self) -> str:
        """The name as it is in files."""
        return "_".join(self.name.lower().split())

    @property
    def scale(self) -> float:
        """Factor from a difference of scores to the unit in which it is told."""
        return 100.0 if self.percent else 1.0

    @property
    def loss(self) -> str:
        """What a falling score is called, with its unit, e.g. "MCR rise in points"."""
        return f"{self.name} {'rise' if self.falls else 'loss'}" + (" in points" if self.percent else "")
