"""What one run of `compress` works on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, cast

import keras

from tf_structprune.stages import Judge
from tf_structprune.task import NO_OBJECTIVE, Objective, Task, Validation
from tflite_export.bundle import Bundle
from tflite_export.compress._data import Data, check_data
from tflite_export.compress._epochs import EpochFiles
from tflite_export.compress._progress import SILENT, EpochLines, Progress
from tflite_export.compress._settings import CompressSettings
from tflite_export.compress._train import retrain
from tflite_export.compress._work import NO_WORK, Work
from tflite_export.devices import HOST, Device
from tflite_export.export import ExportSettings

_BATCH = 512


@dataclass(frozen=True)
class Job:
    """A model, its data and task, what is asked for, and who judges it.

    Attributes:
        dense: the model that was given; it is not changed.
        data: training, validation and test data, targets in the form that the task takes.
        task: what the model is for.
        judge: holds validation scores to the tolerance.
        settings: what is asked for.
        work: where finished parts are kept.
        verbose: 2 shows what `fit` shows.
        progress: is told what the run does.
        device: what times files.
    """

    dense: keras.Model
    data: Data
    task: Task
    judge: Judge
    settings: CompressSettings
    work: Work = NO_WORK
    verbose: int = 0
    device: Device = HOST
    progress: Progress = SILENT

    @classmethod
    def of(
        cls,
        dense: keras.Model,
        data: Data,
        settings: CompressSettings,
        *,
        work: Work = NO_WORK,
        verbose: int = 0,
        device: Device = HOST,
        progress: Progress = SILENT,
        objective: Objective = NO_OBJECTIVE,
    ) -> Self:
        """A job from data as they were loaded.

        Raises:
            ValueError: data and model do not fit each other.
        """
        data, task = check_data(data, dense, settings, objective)
        validation = Validation(data.x_val, data.y_val, task.score, _BATCH)
        judge = Judge.of(dense, validation, settings.tolerance)
        return cls(dense, data, task, judge, settings, work, verbose, device, progress)

    @property
    def export(self) -> ExportSettings:
        """How files are made."""
        asked = self.settings
        return ExportSettings(
            lower=asked.lower,
            target=asked.target,
            device=self.device,
            names=asked.names,
            micro=asked.micro,
            calibration=asked.calibration,
            io=asked.io,
            pack=asked.pack,
            bundle=cast(tuple[Bundle, ...], asked.bundle),
        )

    def retrain(
        self, model: keras.Model, callbacks: Sequence[keras.callbacks.Callback], *, name: str
    ) -> dict[str, list[float]]:
        """Train a model of a stage; figures by name, one an epoch.

        Args:
            model: the model; it is changed.
            callbacks: of the stage.
            name: of the stage, under which its epochs are kept.
        """
        return retrain(
            model,
            self.dense,
            self.data,
            self.settings,
            task=self.task,
            callbacks=[*callbacks, EpochLines(self.progress, name)] if self.progress.shown else callbacks,
            verbose=int(self.verbose > 1),
            files=EpochFiles.of_run(model, self.work, f"{name}_epochs"),
        )
