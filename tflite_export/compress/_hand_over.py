"""The integer file that is handed over: judged against the model that was given, and mended where it loses too much."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
from absl import logging
from numpy.typing import NDArray

from tf_structprune.fixed_point import FixedPoint
from tf_structprune.layers import is_fixed_point, to_fixed_point
from tf_structprune.stages import Judgement, calibrate
from tf_structprune.task import Samples, as_score, count_of, take
from tflite_export.compress._epochs import epoch_rows
from tflite_export.compress._fixed_point_stage import FixedPointStage
from tflite_export.compress._job import Job
from tflite_export.compress._prune_stage import Present
from tflite_export.compress._work import Reached, RefusedError
from tflite_export.export import ExportSummary, Source, converted_integers, source_of, write_source
from tflite_export.file import TFLiteFile, TFLiteModel, open_file
from tflite_export.quantize import check_samples, equalize, float_form
from tflite_export.runtime import real_outputs, run_litert
from tflite_export.verify import VerificationError

_CALIBRATION = 200
_MORE_CALIBRATION = 1000
_VERIFIED = 1000


@dataclass(frozen=True)
class Attempt:
    """One way to make the integer file.

    Attributes:
        name: what is done.
        judgement: of the file; None where it could not be made or verified.
        reason: why not; "" with a judgement.
    """

    name: str
    judgement: Judgement | None
    reason: str = ""


@dataclass(frozen=True)
class HandedOver:
    """The files of one model.

    Attributes:
        model: the Keras model that they compute.
        summary: what was written.
        judgement: of the integer file.
        attempts: how it was tried to make it, in order; more than one where it had to be mended.
        figures: of `fit` by name, one an epoch, where it was trained for that.
    """

    model: keras.Model
    summary: ExportSummary
    judgement: Judgement
    attempts: tuple[Attempt, ...]
    figures: Mapping[str, list[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Made:
    """What an integer file is made from, and the samples on which it is calibrated."""

    source: Source
    samples: Samples
    figures: Mapping[str, list[float]] = field(default_factory=dict)


_Way = tuple[str, Callable[[], _Made]]


def hand_over(model: keras.Model, folder: Path, job: Job, *, given: bool = False, lowered: bool = False) -> HandedOver:
    """Write and verify the files of a model, the integer file mended until it is within the tolerance.

    A file that loses more is made again in other ways, cheap ones first, until one is accepted: calibrated on more
    samples; on ranges of least squared error in place of the smallest and the largest value, with a weight step for
    each channel; with equalized channels, see `quantize.equalize`; with weights trained in 8 bits on such grids
    (quantization-aware training).

    Args:
        model: the float model, or one in fixed point, whose grids are kept.
        folder: an existing directory.
        job: the run.
        given: whether it is the model that was given: it is not trained, and its best file is written in any case.
        lowered: whether masks are left on kernels: lowered layers have one weight step, not one for each channel.

    Raises:
        ValueError: a model that TFLite cannot express.
        RefusedError: no file is within the tolerance; names what was tried.
        VerificationError: a file disagrees with the model that it was made from, or the runtimes with each other, and
            no other way to make it is left.
    """
    what = "given model" if given else "pruned model"
    mending = _Mending(folder, job, _drawn(model, job.data.x_val, _VERIFIED, job, "x_val"), what)
    for name, make in _ways(model, job, lowered=lowered, train=not given):
        if (done := mending.tried(name, make)) is not None:
            return done
    if not mending.judged:
        raise mending.errors[0]
    if not given:
        told = loss_told(mending.attempts, job, "integer file")
        raise RefusedError(f"{told} {job.settings.remedy}", mending.reached())
    return mending.best()


@dataclass
class _Mending:
    """Makes, judges and writes files, and remembers what became of them."""

    folder: Path
    job: Job
    checked: Samples  # samples to verify on
    what: str  # the model, in words
    attempts: list[Attempt] = field(default_factory=list)
    judged: list[tuple[_Made, Judgement]] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)

    def tried(self, name: str, make: Callable[[], _Made]) -> HandedOver | None:
        """The files that a way leads to, if they are within the tolerance and verified.

        The first way, which is nearly always good, is verified at once; of the others only files that lose little,
        for to verify takes longest.
        """
        self.job.progress.doing(f"files of the {self.what}: {name}")
        try:
            made = make()
            files = None if self.attempts else self._written(made)
            judged = [self._converted(made)] if files is None else integer_files(self.folder, files)
            found = min((judge_file(file, self.job) for file in judged), key=lambda each: each.score)
            if found.accepted and files is None:
                files = self._written(made)
        except (ValueError, VerificationError) as error:
            if not self.attempts and isinstance(error, ValueError):
                raise  # what TFLite cannot express in one way it cannot in another
            self.attempts.append(Attempt(name, None, str(error)))
            self.errors.append(error)
            return None
        metric = self.job.judge.metric
        told = f"Integer file of the {self.what}, {name}: validation {metric.name} {metric.text(found.score)}"
        logging.info(told)
        self.job.progress.line(told)
        self.attempts.append(Attempt(name, found))
        self.judged.append((made, found))
        return self._handed_over(made, files, found) if found.accepted and files is not None else None

    def best(self) -> HandedOver:
        """The files of the way that loses least."""
        made, found = max(self.judged, key=lambda each: each[1].score)
        return self._handed_over(made, self._written(made), found)

    def reached(self) -> Reached:
        """What came nearest."""
        made, found = max(self.judged, key=lambda each: each[1].score)
        epochs = len(next(iter(made.figures.values()), ()))
        rows = tuple(epoch_rows(1, "int8", made.figures))
        return Reached(made.source.keras_model, "int8", found.score, epochs, rows)

    def _handed_over(self, made: _Made, files: ExportSummary, found: Judgement) -> HandedOver:
        return HandedOver(made.source.keras_model, files, found, tuple(self.attempts), made.figures)

    def _written(self, made: _Made) -> ExportSummary:
        return write_source(made.source, self.folder, self.job.export, made.samples, self.checked)

    def _converted(self, made: _Made) -> TFLiteFile:
        return converted_integers(made.source, self.job.export, made.samples)


def loss_told(attempts: Sequence[Attempt], job: Job, what: str) -> str:
    """That a file loses too much, and what was tried, in words."""
    metric = job.judge.metric
    scores = {each.name: metric.text(each.judgement.score) for each in attempts if each.judgement is not None}
    tried = "; ".join(f"{each.name}: {scores.get(each.name) or each.reason.rstrip('.')}" for each in attempts)
    return (
        f"The {what} is not within the tolerance of {metric.difference(job.judge.tolerance)} of the given model's "
        f"validation {metric.name} of {metric.text(job.judge.given)}. Received: {tried}."
    )


def _ways(model: keras.Model, job: Job, *, lowered: bool, train: bool) -> Iterator[_Way]:
    """Ways to make the integer file, the usual one first, then one after the other as long as it has to be mended."""
    few, more = (_drawn(model, job.data.x_train, count, job, "x_train") for count in (_CALIBRATION, _MORE_CALIBRATION))
    yield "int8", lambda: _Made(source_of(model, "int8", few), few)
    if is_fixed_point(model):
        return
    grids = FixedPoint(8, 8, power_of_two=False, per_channel=not lowered)
    told = "least-squares ranges" + ("" if lowered else " and a weight step for each channel")
    if len(more) > len(few):
        yield f"calibrated on {len(more)} samples", lambda: _Made(source_of(model, "int8", more), more)
    yield told, lambda: _on_grids(model, grids, more)
    equal = equalize(model, more)
    if equal is not model:
        yield "channels equalized", lambda: _Made(source_of(equal, "int8", more), more)
        yield f"channels equalized, {told}", lambda: _on_grids(equal, grids, more)
    if train:
        yield f"quantization-aware training on {told}", lambda: _trained(equal, grids, more, job)


def _drawn(model: keras.Model, x: Any, count: int, job: Job, name: str) -> Samples:
    """Some samples, drawn by the seed."""
    rng = np.random.default_rng(job.settings.seed)
    size = count_of(x)
    return check_samples(take(x, rng.choice(size, min(count, size), replace=False)), model, name=name)


def _on_grids(model: keras.Model, grids: FixedPoint, samples: Samples) -> _Made:
    fixed = to_fixed_point(model, grids)
    calibrate(fixed, samples)
    return _Made(Source(model, fixed, "int8", model), samples)


def _trained(model: keras.Model, grids: FixedPoint, samples: Samples, job: Job) -> _Made:
    stage = FixedPointStage(job, grids, name="mending")
    fixed = stage.begin(Present.of(model)).model
    figures = job.retrain(fixed, stage.callbacks(), name=stage.name)
    return _Made(Source(float_form(fixed), fixed, "int8", fixed), samples, figures)


def integer_files(folder: Path, summary: ExportSummary) -> list[TFLiteFile]:
    """The integer files of a folder that every runtime takes; the float file where there are none.

    A file with tables, for TFLite Micro alone, was verified to give the integers of the first.
    """
    integers = [file for file in (summary.int8, summary.int4) if file is not None]
    return [open_file(folder / file.file) for file in integers or [summary.float32]]


def judge_file(file: TFLiteModel, job: Job) -> Judgement:
    """The judgement of a `.tflite` file in LiteRT on the validation data."""
    validation = job.judge.validation
    return job.judge.judge_outputs(file_outputs(file, Samples.of(job.dense, validation.x), validation.y))


def file_outputs(file: TFLiteModel, x: Any, y: Any) -> Any:
    """Outputs of a `.tflite` file in LiteRT as real numbers, an array or a list for several, as their targets are.

    Args:
        file: the file.
        x: samples, as `run_litert` takes them.
        y: their targets.
    """
    parsed = open_file(file)
    outputs = real_outputs(run_litert(parsed, x, real=True), parsed.description)
    shaped = [_shaped(*pair) for pair in zip(outputs, keras.tree.flatten(y), strict=True)]
    return shaped[0] if len(shaped) == 1 else shaped


def file_score(file: TFLiteModel, x: Any, y: Any, score: Any = "mcr") -> float:
    """Score of a `.tflite` file in LiteRT, higher is better.

    Args:
        file: the file.
        x: samples, as `run_litert` takes them.
        y: their targets, an array or a list in the order of the outputs.
        score: as `task.as_score` takes it.
    """
    return as_score(score)(y, file_outputs(file, x, y))


def int8_accuracy(file: TFLiteModel, x: NDArray[Any], y: NDArray[Any]) -> float:
    """Accuracy of a `.tflite` classifier in LiteRT.

    Args:
        file: the file.
        x: samples.
        y: class indices or one-hot rows.
    """
    return 1 + file_score(file, x, y)


def _shaped(outputs: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
    """Outputs as targets of classes and labels want them."""
    return outputs.reshape(len(outputs), -1) if y.ndim < 3 else outputs
