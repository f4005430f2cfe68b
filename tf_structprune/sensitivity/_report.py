"""What a sweep found: rows of scores, as data, table and plot, and the recipe that follows from them."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Self, get_args

from tf_structprune.fixed_point import FixedPoint, allocate_bits
from tf_structprune.search import Metric
from tf_structprune.sensitivity._plot import plot_losses

Part = Literal["weights", "signal"]
PARTS: tuple[Part, ...] = get_args(Part)


@dataclass(frozen=True)
class Measurement:
    """The score with one thing in fixed point and all the rest in float.

    Attributes:
        layer: name of the layer in `to_fixed_point(model)`.
        part: "weights" for its weights, "signal" for the signal that it makes.
        bits: word length.
        score: higher is better.
        tied: further layers whose signals have the same word and were rounded with it.
    """

    layer: str
    part: Part
    bits: int
    score: float
    tied: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Checks the part and the kinds of the numbers."""
        if self.part not in PARTS or type(self.bits) is not int or not isinstance(self.score, float):
            raise ValueError(
                f"Layer '{self.layer}': a measurement has a part ({', '.join(PARTS)}), whole bits and a score. "
                f"Received: part={self.part!r}, bits={self.bits!r}, score={self.score!r}."
            )

    @property
    def layers(self) -> tuple[str, ...]:
        """All layers that it is about."""
        return (self.layer, *self.tied)


@dataclass(frozen=True)
class SensitivityReport:
    """The sensitivity of a model, layer by layer.

    Attributes:
        metric: how the scores are told.
        score: of the model in float, higher is better.
        rows: the measurements; weights in the order of the layers, then signals, each by growing word length.
        weights: number of weights, by layer; zeros count, biases do not.
        power_of_two: whether the steps were powers of two.
        per_channel: whether each output channel had a weight step of its own.
    """

    metric: Metric
    score: float
    rows: tuple[Measurement, ...]
    weights: Mapping[str, int]
    power_of_two: bool = True
    per_channel: bool = False

    def losses(self, part: Part) -> dict[tuple[str, ...], dict[int, float]]:
        """By layers that share a word, and by word length, how far the score is below that in float.

        Args:
            part: "weights" or "signal".
        """
        found: dict[tuple[str, ...], dict[int, float]] = {}
        for row in self.rows:
            if row.part == part:
                found.setdefault(row.layers, {})[row.bits] = self.score - row.score
        return found

    def allocate(self, *, tolerance: float | None = None, size_bytes: int | None = None) -> FixedPoint:
        """The recipe with the fewest bits within a tolerance, or the least loss within a size.

        See `fixed_point.allocate_bits`. Losses are taken to add up; `score_recipe` measures the result.

        Args:
            tolerance: largest sum of losses, in units of the score: 0.01 of the MCR is one point.
            size_bytes: largest size of the weights.

        Raises:
            ValueError: both or none of them, or a limit that no word lengths keep.
        """
        return allocate_bits(
            {layer: losses for (layer,), losses in self.losses("weights").items()},
            self.weights,
            self.losses("signal"),
            tolerance=tolerance,
            size_bytes=size_bytes,
            power_of_two=self.power_of_two,
            per_channel=self.per_channel,
        )

    def expected_loss(self, recipe: FixedPoint) -> float:
        """Sum of what the layers lose alone with the words of a recipe from `allocate`; gains count as none.

        Args:
            recipe: the recipe.

        Raises:
            ValueError: it has a word length that was not measured.
        """
        return sum(max(0.0, lost) for part in PARTS for lost in self.chosen_losses(recipe, part).values())

    def chosen_losses(self, recipe: FixedPoint, part: Part) -> dict[tuple[str, ...], float]:
        """What each layer loses alone with its word of a recipe.

        Args:
            recipe: the recipe.
            part: "weights" or "signal".

        Raises:
            ValueError: it has a word length that was not measured.
        """
        found = {}
        for layers, losses in self.losses(part).items():
            bits = recipe.bits_of(layers[0])
            word = bits.weight_bits if part == "weights" else bits.signal_bits
            if word not in losses:
                raise ValueError(
                    f"Layer '{layers[0]}': its {part} was not measured with that word. Received: {word} bits. Use one "
                    f"of: {', '.join(map(str, losses))}."
                )
            found[layers] = losses[word]
        return found

    def table(self) -> str:
        """The losses as Markdown, a row for each layer and a column for each word length."""
        tables = [self._part_table(part) for part in PARTS if self.losses(part)]
        told = f"{self.metric.name} {self.metric.text(self.score)}"
        return "\n\n".join([f"In float: {told}. One part of one layer rounded, the rest in float.", *tables])

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Draw the losses, a small plot for each layer, the same axes for all.

        Args:
            path: the image to write, in the format of its suffix; it appears complete or not at all, and
                replaces what is there.

        Raises:
            ModuleNotFoundError: matplotlib is not installed.
        """
        panels: dict[str, dict[str, dict[int, float]]] = {}
        for part in PARTS:
            for layers, losses in self.losses(part).items():
                scaled = {bits: self.metric.scale * lost for bits, lost in losses.items()}
                panels.setdefault(layers[0], {})[part] = scaled
        plot_losses(panels, path, unit=self.metric.loss)

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
            rows = tuple(replace(Measurement(**row), tied=tuple(row["tied"])) for row in values.pop("rows"))
            return cls(rows=rows, metric=Metric(**values.pop("metric")), **values)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(
                f"That is no sensitivity report. Received: {type(error).__name__}: {error}. Write it with "
                "SensitivityReport.to_json."
            ) from error

    def _part_table(self, part: Part) -> str:
        losses = self.losses(part)
        words = sorted({bits for row in losses.values() for bits in row})
        heads = ["layer", *(["weights"] if part == "weights" else []), *(f"{word} bits" for word in words)]
        lines = [f"{'Weights' if part == 'weights' else 'Signals'}, {self.metric.loss}:", "", _line(heads)]
        lines.append(_line(["---", *["---:"] * (len(heads) - 1)]))
        for layers, row in losses.items():
            count = [f"{self.weights[layers[0]]:,}"] if part == "weights" else []
            lines.append(_line([", ".join(layers), *count, *(self._cell(row.get(word)) for word in words)]))
        return "\n".join(lines)

    def _cell(self, loss: float | None) -> str:
        return "" if loss is None else self.metric.signed(loss)


def _line(cells: list[Any]) -> str:
    escaped = (str(cell).replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"
