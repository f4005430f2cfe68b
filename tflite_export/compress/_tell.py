"""The report of a run as its renderers take it, from the figures, the models and the files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import keras
import numpy as np
from absl import logging
from numpy.typing import NDArray

from tf_structprune.graph import kernel_of, kernel_view, named_layers, trace
from tf_structprune.masks import MaskSet, masks_by_layer
from tflite_export.compress._command import commands_of
from tflite_export.compress._figures import figures_of
from tflite_export.compress._report import CompressReport, ModelFigures, PruningFigures
from tflite_export.compress._words import agreement_of, notes_of
from tflite_export.devices import HOST, Device, MeasuringDevice
from tflite_export.file import TFLiteFile
from tflite_export.report import (
    Curve,
    Fact,
    Kernels,
    MaskPicture,
    Report,
    Row,
    Score,
    Step,
    Verdict,
    layer_picture,
    profile_of,
    write_report,
)

_PLACES = ("stage", "granularity", "epoch")  # columns of `history.csv` that are no figures
_RUNS, _LEAST_RUNS = 50, 5  # of each operator
_MOST_US = 10e6  # that the operators may take, about
_MEMORY = {
    "weights_bytes": "flash: weights",
    "biases_bytes": "flash: biases",
    "other_bytes": "flash: other constants",
    "overhead_bytes": "flash: flatbuffer overhead",
    "tflm_arena_bytes": "RAM: TFLM arena, measured",
    "activation_peak_bytes": "RAM: live activations, computed",
}


def tell(report: CompressReport, folder: Path, **parts: Any) -> None:
    """Write the report of a run beside its files.

    A run that took hours is not lost because something in it cannot be shown: that is logged.

    Args:
        report: the figures.
        folder: the run's directory.
        **parts: as `report_of` takes them.
    """
    try:
        write_report(report_of(report, **parts), folder)
    except Exception as error:
        logging.warning(
            "No report. Received: %s: %s. The files and summary.json are whole.", type(error).__name__, error
        )
        logging.debug("Traceback:", exc_info=True)


def report_of(
    report: CompressReport,
    *,
    dense: keras.Model,
    small: keras.Model,
    masks: MaskSet,
    before: TFLiteFile,
    after: TFLiteFile,
    history: Sequence[Mapping[str, Any]],
    limit: float,
    device: Device | None = None,
) -> Report:
    """The report.

    Args:
        report: the figures.
        dense: the given model.
        small: the model that the handed-over file was made of, in float or with its grids.
        masks: what is left of the masks on its kernels.
        before: the given model's integer file.
        after: the handed-over one.
        history: one row an epoch.
        limit: validation score, as it is told, at which the tolerance ends.
        device: what times operators, if it can; None for no times.
    """
    told, (old, new) = _times(device, (before, after), (report.baseline, report.compressed))
    return Report(
        name=dense.name,
        task=report.task,
        removed=report.sparsity,
        figures=tuple(_row(figure, report) for figure in figures_of(report)),
        memory=_memory(report),
        verdict=_verdict(report, limit),
        stages=tuple(_stage(stage, report) for stage in report.stages),
        before=profile_of(before, "before", _kernels(dense), old),
        after=profile_of(after, "after", _kernels(small), new),
        masks=_masks(dense, small, masks),
        curves=_curves(history),
        steps=tuple(Step(**{name: getattr(step, name) for name in _STEP}) for step in report.steps),
        agreement=agreement_of(report),
        notes=notes_of(report),
        device=told,
        commands=commands_of(report.settings, device or HOST),
        versions=report.versions,
    )


_STEP = (
    "name",
    "sparsity",
    "macs",
    "parameters",
    "flash_bytes",
    "arena_bytes",
    "latency_us",
    "value",
    "accepted",
    "handed_over",
)


def _row(figure: Any, report: CompressReport) -> Row:
    sides = (getattr(side, figure.name) for side in (report.baseline, report.compressed))
    before, after = (None if value is None else figure.scale * value for value in sides)
    return Row(figure.title, before, after, figure.digits, figure.cost)


def _memory(report: CompressReport) -> tuple[Row, ...]:
    before, after = report.memory.baseline, report.memory.compressed
    if before is None or after is None:
        return ()
    return tuple(Row(title, getattr(before, name), getattr(after, name)) for name, title in _MEMORY.items())


def _verdict(report: CompressReport, limit: float) -> Verdict:
    found, metric, interval = report.validation, report.metric, report.validation.interval
    asked = report.tolerance
    scores = (
        Score("given model, float", found.dense_float),
        Score("given model, integer file", found.dense_int8),
        Score("compressed model, float", found.compressed_float),
        Score("compressed model, integer file", found.compressed_int8),
    )
    return Verdict(
        metric=metric,
        accepted=found.int8_within_tolerance,
        tolerance=asked if isinstance(asked, str) else metric.difference(asked),
        limit=limit,
        scores=scores,
        low=None if interval is None else interval.low,
        high=None if interval is None else interval.high,
        samples=None if interval is None else interval.samples,
        samples_to_tell=found.samples_to_tell,
        attempts=tuple(Score(each.name, each.value, each.reason) for each in found.attempts),
    )


def _stage(stage: PruningFigures, report: CompressReport) -> Fact:
    told = report.metric.told
    state = "accepted" if stage.accepted else "taken back"
    line = (
        f"{100 * stage.sparsity:.1f} % of the weights gone; validation {report.metric.name} {told(stage.before)} "
        f"before retraining, {told(stage.after)} after; {state}"
    )
    if stage.layers:
        line += f"; whole: {', '.join(stage.layers)}"
    return Fact(f"{stage.granularity}, {stage.search}", line)


def _times(
    device: Device | None, files: Sequence[TFLiteFile], figures: Sequence[ModelFigures]
) -> tuple[str, list[tuple[float, ...]]]:
    """What timed the operators, and the time of each one of each file; nothing where it cannot, or takes too long."""
    operators = sum(len(file.description.operators) for file in files)
    slowest = max(side.latency_us_int8 for side in figures)
    runs = int(min(_RUNS, _MOST_US / max(operators * slowest, 1.0)))
    if device is None or not hasattr(device, "measure") or runs < _LEAST_RUNS:
        return "", [()] * len(files)
    able = cast(MeasuringDevice, device)
    found = able.measure(files, runs=runs, operators=True)
    return able.description, [tuple(each.us for each in one.operators) for one in found]


def _kernels(model: keras.Model) -> Kernels:
    """The kernels of a model's layers, a row for each output."""
    layers, graph = named_layers(model), trace(model)
    names = [layer.name for layer in graph.layers if layer.name in layers]
    return {name: _rows(layers[name], graph.channels[name].positions) for name in names}


def _rows(layer: Any, positions: int) -> NDArray[np.floating]:
    view = kernel_view(layer, positions)
    kernel = view.view(np.asarray(keras.ops.convert_to_numpy(kernel_of(layer)), np.float64), np)
    return np.reshape(np.transpose(kernel, (2, 0, 1)), (view.outputs, -1))


def _masks(dense: keras.Model, small: keras.Model, masks: MaskSet) -> tuple[MaskPicture, ...]:
    """What is left of the layers that lost something."""
    graph = trace(small)
    given = {layer.name: layer for layer in trace(dense).layers}
    left = masks_by_layer(graph, masks)
    pictures = [
        layer_picture(given[layer.name], layer, left[layer.name]) for layer in graph.layers if layer.name in given
    ]
    return tuple(each for each in pictures if each is not None and each.kept < 1)


def _curves(history: Sequence[Mapping[str, Any]]) -> tuple[Curve, ...]:
    """The figures of each retraining; those that are no finite numbers throughout are left out."""
    stages = dict.fromkeys((int(row["stage"]), str(row["granularity"])) for row in history)
    curves = []
    for stage, what in stages:
        rows = [row for row in history if (int(row["stage"]), str(row["granularity"])) == (stage, what)]
        names = [name for name in rows[0] if name not in _PLACES]
        found = {name: tuple(float(row.get(name, np.nan)) for row in rows) for name in names}
        curves.append(Curve(stage, what, {name: each for name, each in found.items() if np.isfinite(each).all()}))
    return tuple(curve for curve in curves if curve.figures)
