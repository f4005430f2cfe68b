"""A backup of Keras's that cannot be what an epoch began with, refused in words before training goes on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

_METADATA = "training_metadata.json"  # as `keras.callbacks.BackupAndRestore` names it, beside the weights


class DamagedBackupError(ValueError, OSError):
    """A backup that was cut short, or belongs to another moment.

    Also an OSError: for those `BackupAndRestore(double_checkpoint=True)` takes the backup before.
    """


def guard_backup(model: keras.Model, check: Callable[[int], None]) -> None:
    """Until `release_backup`, see to it that what is loaded into the model is a whole backup.

    `BackupAndRestore` loads when training begins, after the callbacks before it, and no callback knows the others:
    the model's own `load_weights` is the one place that both know.

    Args:
        model: the model that is about to be trained.
        check: called with the epoch of the backup when its weights are loaded; raises ValueError if they do not fit.
    """
    load = model.load_weights

    def load_weights(filepath: Any, *arguments: Any, **settings: Any) -> None:
        try:
            load(filepath, *arguments, **settings)
            epoch = _epoch(Path(filepath).with_name(_METADATA))
        except Exception as error:  # h5py and Keras raise whatever half a file makes them raise
            told = " ".join(str(error).split()).partition(". ")[0].rstrip(".")
            raise DamagedBackupError(
                f"The backup {filepath} was cut short, or is damaged. Received: {type(error).__name__}: {told}. Delete "
                "its folder and state_dir to begin anew; BackupAndRestore(double_checkpoint=True) keeps the one before."
            ) from error
        try:
            check(epoch)
        except ValueError as error:
            raise DamagedBackupError(str(error)) from error

    model.load_weights = load_weights


def release_backup(model: keras.Model) -> None:
    """Give the model back its own `load_weights`."""
    if "load_weights" in vars(model):
        del model.load_weights


def _epoch(metadata: Path) -> int:
    """The epoch with which a backup goes on; 0 where the process died before it was written."""
    return int(json.loads(metadata.read_text())["epoch"]) if metadata.exists() else 0
