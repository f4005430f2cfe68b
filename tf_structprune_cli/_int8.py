"""The command `sensitivity --int8`: which layer loses what in the plain int8 file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
from rich.table import Table

from tf_structprune_cli._console import plain_console
from tflite_export.sensitivity import Int8Sensitivity, int8_sensitivity

FIXED_POINT_OPTIONS = {
    "weight_bits": "--weight-bits",
    "signal_bits": "--signal-bits",
    "power_of_two": "--power-of-two or --free-steps",
    "per_channel": "--per-channel",
    "size_bytes": "--size-bytes",
}
"""Options about the words of fixed point, which the int8 file has not, by their names in the namespace."""
_NAME = "sensitivity_int8"


@dataclass(frozen=True)
class Int8Result:
    """What a run found.

    Attributes:
        report: the layers.
    """

    report: Int8Sensitivity

    def write(self, folder: Path) -> None:
        """Write the files of a run."""
        (folder / f"{_NAME}.json").write_text(self.report.to_json())
        (folder / f"{_NAME}.md").write_text("\n\n".join([self.report.table(), *self.report.summary()]) + "\n")
        self.report.plot(folder / f"{_NAME}.png")

    def show(self) -> None:
        """Print the layers, those that lose most first, and the outcome in sentences."""
        table = Table(title="What each layer loses in int8")
        table.add_column("layer", overflow="fold")
        for column in ("alone", "all but it", "signal dB", "output dB", "widest channel, of the median"):
            table.add_column(column, justify="right")
        table.add_column("remedy")
        told, score = self.report.metric.signed, self.report.score
        for row in self.report.ranked:
            losses = (told(score - row.score_alone), told(score - row.score_without))
            noise = (f"{row.signal_db:.1f}", f"{row.output_db:.1f}")
            table.add_row(row.layer, *losses, *noise, f"{row.channel_spread:.1f}", row.remedy)
        console = plain_console()
        console.print(table)
        for line in self.report.summary():
            console.print(line)


def measured_int8(
    model: keras.Model, settings: dict[str, Any], *, tolerance: float, cache: Path, verbose: bool
) -> Int8Result:
    """Measure a model.

    Args:
        model: the plain model.
        settings: validation data, calibration data and score.
        tolerance: what the file may lose.
        cache: where the numbers are kept.
        verbose: show a progress bar.
    """
    return Int8Result(int8_sensitivity(model, **settings, tolerance=tolerance, cache=cache, verbose=verbose))
