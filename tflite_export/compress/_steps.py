"""The steps to the smallest model: their models, figures, table and plot."""

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from absl import logging

from tf_structprune.graph import trace
from tf_structprune.search import Metric
from tf_structprune.task import take
from tflite_export.compress._allocate import integer_file
from tflite_export.compress._job import Job
from tflite_export.compress._smallest import Step
from tflite_export.runtime import arena_bytes, tflm_available

FOLDER = "steps"
_GIVEN = "given"
_RUNS = 200
_SAMPLES = 200  # for calibration
# Okabe and Ito's blue and vermilion, told apart with every kind of colour blindness; shapes differ too.
_STYLES = {True: {"color": "#0072B2", "marker": "o"}, False: {"color": "#D55E00", "marker": "x"}}
_PANEL_INCHES = (3.2, 2.8)


@dataclass(frozen=True)
class StepFigures:
    """What one step led to; the first row is the given model.

    Attributes:
        name: of the stage, "given" for the given model; its model is `steps/NAME.keras`.
        sparsity: fraction of the prunable weights that is gone.
        macs: multiply-accumulates of one inference.
        parameters: weights and biases.
        flash_bytes: size of the int8 file.
        arena_bytes: tensor arena of it in TFLite Micro; None when that did not run.
        latency_us: median latency of it.
        value: validation score in float, told as the report's `metric`.
        accepted: whether that is within the tolerance; if not, the step was taken back.
        handed_over: whether it is the model that the run handed over.
    """

    name: str
    sparsity: float
    macs: int
    parameters: int
    flash_bytes: int
    arena_bytes: int | None
    latency_us: float
    value: float = field(metadata={"key": "{metric}"})
    accepted: bool
    handed_over: bool

    @property
    def outcome(self) -> str:
        """What became of it, in words; "" for a step that others followed."""
        return "handed over" if self.handed_over else "" if self.accepted else "taken back"


def step_figures(steps: Sequence[Step], chosen: str, folder: Path, job: Job) -> tuple[StepFigures, ...]:
    """Save the model of each step, and measure the int8 file of each.

    Args:
        steps: in order.
        chosen: name of the step that was handed over.
        folder: the run's directory; it gets `steps/`.
        job: the run.
    """
    few = take(job.data.x_train, slice(_SAMPLES))
    models = {_GIVEN: job.dense, **{step.name: step.reached.small.model for step in steps}}
    job.progress.doing("files of all steps")
    files = [integer_file(model, few, job) for model in models.values()]
    times = np.median(job.device.latencies_us(files, runs=_RUNS), axis=1).tolist()
    arenas = [arena_bytes(file) if job.export.runs_micro and tflm_available() else None for file in files]
    scores = {_GIVEN: job.judge.given, **{step.name: step.report.score_after for step in steps}}
    sparsities = {_GIVEN: 0.0, **{step.name: step.reached.sparsity for step in steps}}
    refused = {step.name for step in steps if not step.report.accepted}
    (folder / FOLDER).mkdir()
    for step in steps:
        step.reached.small.model.save(folder / FOLDER / f"{step.name}.keras")
    return tuple(
        StepFigures(
            name=name,
            sparsity=sparsities[name],
            macs=trace(model).macs,
            parameters=int(model.count_params()),
            flash_bytes=len(file.data),
            arena_bytes=arena,
            latency_us=time,
            value=job.judge.metric.value(scores[name]),
            accepted=name not in refused,
            handed_over=name == chosen,
        )
        for (name, model), file, time, arena in zip(models.items(), files, times, arenas, strict=True)
    )


def steps_table(steps: Sequence[StepFigures], metric: Metric) -> str:
    """The steps as Markdown."""
    lines = [
        "| step | sparsity | MACs | parameters | int8 bytes | TFLM arena | latency (us) | "
        f"validation {metric.name} | |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for step in steps:
        arena = "" if step.arena_bytes is None else f"{step.arena_bytes:,}"
        lines.append(
            f"| {step.name} | {100 * step.sparsity:.1f} % | {step.macs:,} | {step.parameters:,} | "
            f"{step.flash_bytes:,} | {arena} | {step.latency_us:,.1f} | {metric.told(step.value)} | {step.outcome} |"
        )
    return "\n".join(lines) + "\n"


_COSTS: dict[str, Callable[[StepFigures], float]] = {
    "MACs (millions)": lambda step: step.macs / 1e6,
    "int8 file (KiB)": lambda step: step.flash_bytes / 1024,
    "latency (us)": lambda step: step.latency_us,
}


def write_steps(steps: Sequence[StepFigures], metric: Metric, folder: Path, *, limit: float) -> None:
    """`steps/steps.md` and, where matplotlib is installed, `steps/steps.png`: the front of cost and score.

    Args:
        steps: the figures.
        metric: how their scores are told.
        folder: the run's directory.
        limit: the value at which the tolerance ends.
    """
    (folder / FOLDER / "steps.md").write_text(steps_table(steps, metric))
    if importlib.util.find_spec("matplotlib") is None:
        logging.warning("No plot of the steps: matplotlib is not installed. Install tf-structprune[plot].")
        return
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    figure = Figure(figsize=(len(_COSTS) * _PANEL_INCHES[0], _PANEL_INCHES[1]), layout="constrained")
    axes = figure.subplots(1, len(_COSTS), sharey=True)
    scale = 100 if metric.percent else 1
    low, high = _shown_range([scale * step.value for step in steps if step.accepted] + [scale * limit])
    for place, (title, cost) in zip(axes, _COSTS.items(), strict=True):
        for accepted, style in _STYLES.items():
            shown = [step for step in steps if step.accepted is accepted]
            label = "accepted" if accepted else "taken back"
            values = [min(max(scale * step.value, low), high) for step in shown]  # far ones lie on the edge
            place.plot([cost(s) for s in shown], values, linestyle="", label=label, clip_on=False, **style)
        best = next(step for step in steps if step.handed_over)
        place.plot([cost(best)], [scale * best.value], "o", mfc="none", ms=12, color="black", label="handed over")
        place.axhline(scale * limit, color="grey", linestyle=":", label="tolerance")
        place.set_xlabel(title)
        place.set_xscale("log")
        place.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        place.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        place.xaxis.set_minor_locator(NullLocator())
        place.set_ylim(low, high)
    axes[0].set_ylabel(f"validation {metric.name}{' (%)' if metric.percent else ''}")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False, fontsize=9)
    figure.savefig(folder / FOLDER / "steps.png", dpi=120)


def _shown_range(values: Sequence[float]) -> tuple[float, float]:
    """A range with room around some values."""
    room = 0.25 * (max(values) - min(values)) or 0.1 * abs(values[0]) or 1.0
    return min(values) - room, max(values) + room
