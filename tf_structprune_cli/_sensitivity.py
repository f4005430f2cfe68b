"""The command `sensitivity`: sweep, recipe, measurement of the recipe, files; or the same of the int8 file."""

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from rich.table import Table

import tf_structprune as sp
from tf_structprune.fixed_point import weight_bytes
from tf_structprune.sensitivity import check_matplotlib
from tf_structprune.task import Task, count_of, take
from tf_structprune_cli._console import plain_console
from tf_structprune_cli._int8 import FIXED_POINT_OPTIONS, Int8Result, measured_int8
from tflite_export.compress import Data, check_data, load_data, load_model
from tflite_export.write import staged_directory

_WORDS = ("weight_bits", "signal_bits", "power_of_two", "per_channel")
_CALIBRATION = 512  # training samples that the grids are fitted to


@dataclass(frozen=True)
class _Result:
    """What a run found.

    Attributes:
        report: the sweep.
        recipe: the word lengths that follow from it.
        score: what the recipe scores as a whole.
        tolerance: largest loss that was asked for; None if a size was.
    """

    report: sp.SensitivityReport
    recipe: sp.FixedPoint
    score: float
    tolerance: float | None

    def summary(self) -> list[str]:
        """The outcome in sentences."""
        metric = self.report.metric
        expected, measured = self.report.expected_loss(self.recipe), self.report.score - self.score
        size = weight_bytes(self.report.weights, self.recipe)
        lines = [
            f"Weights: {size:,} bytes, of {weight_bytes(self.report.weights, sp.FixedPoint(None, None)):,} in float32.",
            f"{metric.name} in float: {metric.text(self.report.score)}. Loss expected, the sum of the layers': "
            f"{metric.difference(expected)}. Loss measured with the recipe as a whole: {metric.difference(measured)}.",
        ]
        if self.tolerance is not None and measured > self.tolerance + 1e-9:
            lines.append(
                f"Beyond the tolerance of {metric.difference(self.tolerance)}: the losses do not add up here. Retrain "
                "in fixed point with the recipe, or ask for a smaller tolerance."
            )
        return lines

    def write(self, folder: Path) -> None:
        """Write the files of a run."""
        (folder / "sensitivity.json").write_text(self.report.to_json())
        (folder / "sensitivity.md").write_text("\n\n".join([self.report.table(), *self.summary()]) + "\n")
        (folder / "recipe.json").write_text(self.recipe.to_json())
        self.report.plot(folder / "sensitivity.png")

    def show(self) -> None:
        """Print the recipe and the outcome in sentences."""
        table = Table(title="The recipe, and what each layer loses alone")
        table.add_column("layer", overflow="fold")
        for column in ("weights", "bits", "rise", "signal bits", "rise"):
            table.add_column(column, justify="right")
        told = self.report.metric.signed
        weights = self.report.chosen_losses(self.recipe, "weights")
        signals = self.report.chosen_losses(self.recipe, "signal")
        for layers in dict.fromkeys([*weights, *signals]):
            bits = self.recipe.bits_of(layers[0])
            row = ["", "", ""]
            if layers in weights:
                row = [f"{self.report.weights[layers[0]]:,}", str(bits.weight_bits), told(weights[layers])]
            row += [str(bits.signal_bits), told(signals[layers])] if layers in signals else ["", ""]
            table.add_row(", ".join(layers), *row)
        console = plain_console()
        console.print(table)
        for line in self.summary():
            console.print(line)


def run_sensitivity(arguments: argparse.Namespace) -> None:
    """Measure, choose and write.

    Scores are kept in a file beside the directory until that is complete, so that the same command goes on where
    an earlier one was stopped.

    Raises:
        KeyboardInterrupt: interrupted; the message says where the scores are.
    """
    check_matplotlib()
    _check(arguments)
    cache = _cache_path(arguments.out)
    with staged_directory(arguments.out, overwrite=arguments.overwrite) as folder:
        model = load_model(arguments.model)
        data, task = check_data(
            load_data(arguments.data, seed=arguments.seed, model=model, skip_corrupt=arguments.skip_corrupt), model
        )
        try:
            result = _measured(model, data, task, arguments, cache)
            result.write(folder)
        except KeyboardInterrupt as error:
            raise KeyboardInterrupt(
                f"interrupted. The scores so far are in {cache}; the same command goes on from there."
            ) from error
    cache.unlink(missing_ok=True)
    result.show()
    plain_console().print(f"Written to {arguments.out}")


def _measured(
    model: keras.Model, data: Data, task: Task, arguments: argparse.Namespace, cache: Path
) -> _Result | Int8Result:
    rng = np.random.default_rng(arguments.seed)
    shown, calibration = (
        _drawn(rng, count_of(x), count) for x, count in ((data.x_val, arguments.samples), (data.x_train, _CALIBRATION))
    )
    settings: dict[str, Any] = {
        "validation_data": (take(data.x_val, shown), take(data.y_val, shown)),
        "calibration_data": take(data.x_train, calibration),
        "score": task.score,
    }
    tolerance, size_bytes = _limits(arguments)
    if arguments.int8:
        return measured_int8(
            model, settings, tolerance=arguments.tolerance, cache=cache, verbose=_shows_progress(arguments)
        )
    report = sp.measure_sensitivity(
        model,
        **settings,
        **{name: value for name, value in vars(arguments).items() if name in _WORDS},
        cache=cache,
        verbose=_shows_progress(arguments),
    )
    try:
        recipe = report.allocate(tolerance=tolerance, size_bytes=size_bytes)
    except ValueError as error:
        raise ValueError(f"{error} The scores are kept in {cache}, so that another limit takes seconds.") from error
    return _Result(report, recipe, sp.score_recipe(model, recipe, **settings), tolerance)


def _check(arguments: argparse.Namespace) -> None:
    """Refuses what would be found only after the sweep."""
    if not 0 <= arguments.seed < 2**32:
        raise ValueError(f"seed must be in [0, 2**32). Received: seed={arguments.seed}. Use e.g. 0.")
    if arguments.samples < 1:
        raise ValueError(f"samples must be at least 1. Received: samples={arguments.samples}. Use e.g. 2000.")
    if arguments.int8 and (given := [flag for name, flag in FIXED_POINT_OPTIONS.items() if name in arguments]):
        raise ValueError(
            f"--int8 measures the file as TensorFlow makes it, without words of fixed point. Received: "
            f"{', '.join(given)} beside it. Leave out one or the other."
        )
    tolerance, size_bytes = _limits(arguments)
    if size_bytes is not None and size_bytes < 1:
        raise ValueError(f"size_bytes must be positive. Received: size_bytes={size_bytes}. Use a number of bytes.")
    if tolerance is not None and not 0 <= tolerance <= 1:
        raise ValueError(f"tolerance must be in [0, 1]. Received: tolerance={tolerance}. Use e.g. 0.01 for a point.")


def _shows_progress(arguments: argparse.Namespace) -> bool:
    return bool(arguments.verbose or (sys.stdout.isatty() and not arguments.quiet))


def _limits(arguments: argparse.Namespace) -> tuple[float | None, int | None]:
    """Tolerance and size, one of them None: a size that was given takes the place of the tolerance."""
    size_bytes: int | None = getattr(arguments, "size_bytes", None)
    return (arguments.tolerance if size_bytes is None else None), size_bytes


def _cache_path(out: str) -> Path:
    """Where scores are kept: beside the directory, through a link as `staged_directory` does."""
    target = Path(os.path.realpath(out))
    return target.with_name(f"{target.name}.cache.jsonl")


def _drawn(rng: np.random.Generator, count: int, most: int) -> Any:
    """Which of so many samples are used, in their order."""
    return np.sort(rng.permutation(count)[:most])
