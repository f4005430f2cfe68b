"""What the int8 file of a model loses, layer by layer, as data, table and plot."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from tf_structprune.search import Metric
from tflite_export.sensitivity._plot import plot_bars
from tflite_export.sensitivity._remedies import REMEDIES, REMEDY_NAMES, Remedy

_MOST_DRAWN_DB = 100.0  # what has no noise at all would leave no room for the others


@dataclass(frozen=True)
class Int8Layer:
    """One operator of the int8 file: its weights and the signal that it makes, or an input.

    Attributes:
        layer: name of the layer, with the operator where a layer has several of them.
        kind: name of the operator in the file, "INPUT" for an input of the model.
        weights: number of weights; 0 without any.
        weight_scales: step of the weights of each output channel, or a single one; none without weights.
        weight_spread: range of the weights of the widest output channel over that of the median one; 1 without weights.
        low, high: smallest and largest number that the signal can be.
        scale: step of the signal.
        zero_point: integer that stands for zero in it.
        largest_channel: how many of the 255 steps the channel with the widest range takes.
        median_channel: the same of the median channel.
        most_values: how many of the steps 99.9 % of all values take.
        clipped: share of the values that lie outside the range by more than a step.
        score_alone: score with this one rounded and all the rest in float.
        score_without: score with this one in float and all the rest rounded.
        signal_db: signal to quantization noise of what it makes, with its own rounding alone, in decibels.
        output_db: the same of what the model gives, of several outputs the lowest.
        remedy: what mends it, "" where nothing is needed, see `remedy_for`.
    """

    layer: str
    kind: str
    weights: int
    weight_scales: tuple[float, ...]
    weight_spread: float
    low: float
    high: float
    scale: float
    zero_point: int
    largest_channel: float
    median_channel: float
    most_values: int
    clipped: float
    score_alone: float
    score_without: float
    signal_db: float
    output_db: float
    remedy: Remedy = ""

    @property
    def channel_spread(self) -> float:
        """How many times the steps of the median channel the widest one takes; 1 for a signal that never changes."""
        return self.largest_channel / self.median_channel if self.median_channel else 1.0

    def __post_init__(self) -> None:
        """Checks the remedy and the kinds of the scores."""
        if self.remedy not in REMEDY_NAMES or not all(
            isinstance(score, float) for score in (self.score_alone, self.score_without)
        ):
            raise ValueError(
                f"Layer '{self.layer}': a layer has scores and one of the remedies "
                f"{', '.join(map(repr, REMEDY_NAMES))}. Received: {self.score_alone!r}, {self.score_without!r}, "
                f"{self.remedy!r}."
            )


@dataclass(frozen=True)
class Int8Sensitivity:
    """What the int8 file of a model loses, and where.

    Attributes:
        metric: how the scores are told.
        score: of the model in float, higher is better.
        int8_score: of its int8 file, run in LiteRT.
        simulated_score: with all layers rounded as the int8 file has them, sums in float.
        agreement: share of the samples on which that decides as the int8 file does; None where no decision is read from
            the outputs.
        error: root mean square difference of the two, as a share of the range of the file's outputs.
        tolerance: what the file may lose.
        layers: in the order in which they run.
    """

    metric: Metric
    score: float
    int8_score: float
    simulated_score: float
    agreement: float | None
    error: float
    tolerance: float
    layers: tuple[Int8Layer, ...]

    @property
    def loss(self) -> float:
        """What the int8 file loses."""
        return self.score - self.int8_score

    @property
    def ranked(self) -> tuple[Int8Layer, ...]:
        """The layers, those that lose most alone first; of equal losses the one with more noise in the output."""
        return ranked(self.layers)

    def summary(self) -> list[str]:
        """The outcome in sentences."""
        metric = self.metric
        same = "" if self.agreement is None else f" names the same on {100 * self.agreement:.2f} % of the samples and"
        lines = [
            f"{metric.name} in float: {metric.text(self.score)}; of the int8 file in LiteRT: "
            f"{metric.text(self.int8_score)}, a loss of {metric.difference(self.loss)}.",
            f"All layers rounded as in the file:{same} differs from it by {100 * self.error:.2f} % of the range of the "
            f"outputs, {metric.name} {metric.text(self.simulated_score)}.",
        ]
        needy = [row for row in self.ranked if row.remedy]
        if not needy:
            return [*lines, f"Within the tolerance of {metric.difference(self.tolerance)}: no layer needs a remedy."]
        return [*lines, *(f"{row.layer}: {REMEDIES[row.remedy]}." for row in needy)]

    def table(self) -> str:
        """The layers as Markdown, those that lose most first."""
        heads = (
            *("layer", "operator", "weights", "signal", f"alone, {self.metric.loss}", "all but this", "signal dB"),
            *("output dB", "steps of 255: widest / median channel", "99.9 % of the values", "outside", "remedy"),
        )
        lines = [_line(heads), _line(["---", "---", *["---:"] * (len(heads) - 3), "---"])]
        return "\n".join([*lines, *(_line(self._cells(row)) for row in self.ranked)])

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Draw what each layer loses alone, what is won when it alone stays in float, and the noise that it makes.

        Args:
            path: the image to write, in the format of its suffix; it appears complete or not at all, and
                replaces what is there.

        Raises:
            ModuleNotFoundError: matplotlib is not installed.
        """
        scale = self.metric.scale
        losses = {
            "only this layer in int8": [scale * (self.score - row.score_alone) for row in self.layers],
            "all but this layer in int8": [scale * (self.score - row.score_without) for row in self.layers],
        }
        noise = {
            "of the layer's signal": [min(row.signal_db, _MOST_DRAWN_DB) for row in self.layers],
            "of the model's output": [min(row.output_db, _MOST_DRAWN_DB) for row in self.layers],
        }
        names = [row.layer for row in self.layers]
        plot_bars(names, losses, noise, path, unit=self.metric.loss, whole=scale * self.loss)

    def to_json(self) -> str:
        """The report as JSON text; `from_json` reads it."""
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The report of a JSON text.

        Raises:
            ValueError: not such a text.
        """
        try:
            values = json.loads(text)
            rows = [row | {"weight_scales": tuple(row["weight_scales"])} for row in values.pop("layers")]
            metric = Metric(**values.pop("metric"))
            return cls(layers=tuple(Int8Layer(**row) for row in rows), metric=metric, **values)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(
                f"That is no report of an int8 file. Received: {type(error).__name__}: {error}. Write it with "
                "Int8Sensitivity.to_json."
            ) from error

    def _cells(self, row: Int8Layer) -> list[str]:
        told = self.metric.signed
        return [
            row.layer,
            row.kind,
            f"{row.weights:,}" if row.weights else "",
            f"{row.low:.4g} to {row.high:.4g}",
            told(self.score - row.score_alone),
            told(self.score - row.score_without),
            f"{row.signal_db:.1f}",
            f"{row.output_db:.1f}",
            f"{row.largest_channel:.0f} / {row.median_channel:.1f}",
            str(row.most_values),
            f"{100 * row.clipped:.2f} %",
            row.remedy,
        ]


def ranked(layers: Sequence[Int8Layer]) -> tuple[Int8Layer, ...]:
    """Layers, those that lose most alone first; of equal losses the one with more noise in the output."""
    return tuple(sorted(layers, key=lambda row: (row.score_alone, row.output_db)))


def _line(cells: Sequence[Any]) -> str:
    escaped = (str(cell).replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"
