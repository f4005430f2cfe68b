"""The states of one `fit` in a folder, beside the backups of Keras's that they go with."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from tf_structprune.callbacks._backup import guard_backup, release_backup
from tf_structprune.layers import MaskedModel
from tf_structprune.resume import State, StateFolder, digest


class Resuming:
    """Writes a state for each epoch, and gives back that with which a later `fit` begins.

    Until the first epoch, what `BackupAndRestore` loads into the model is held against the states.

    Args:
        folder: of the states.
        fingerprint: what the run depends on, by name.
        masked: the model, as it was given.
        trained: the model whose `fit` trains it, itself or what it is in.
        from_first: whether the first epoch of all has a state as well.

    Attributes:
        joined: whether the first epoch of this `fit` has begun.

    Raises:
        ValueError: states of another run.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        fingerprint: Mapping[str, Any],
        masked: MaskedModel,
        trained: keras.Model,
        *,
        from_first: bool = False,
    ) -> None:
        self._states, self._masked, self._trained = StateFolder(Path(folder), dict(fingerprint)), masked, trained
        if self.epochs:
            self._states.read(self.epochs[-1])  # another run's is refused before anything is done
        self._given, self._from_first, self.joined = _held(masked, trained), from_first, False
        guard_backup(trained, self._check)

    @property
    def epochs(self) -> list[int]:
        """Those that have a state, in order."""
        return self._states.epochs()

    def join(self, epoch: int) -> State | None:
        """The state with which the first epoch of this `fit` begins; None where nothing was done yet.

        Raises:
            ValueError: the model is not as it was then, or there is no state.
        """
        self.joined = True
        release_backup(self._trained)
        self._check(epoch)
        return self._states.read(epoch) if epoch else None

    def write(self, epoch: int, state: State) -> None:
        """Keep the state with which an epoch begins."""
        told = {**state.values, "model": _held(self._masked, self._trained)}
        self._states.write(epoch, State(told, state.arrays))

    def clear(self) -> None:
        """Leave no states."""
        self._states.clear()

    @property
    def path(self) -> Path:
        """Where the states are."""
        return self._states.path

    def _check(self, epoch: int) -> None:
        """Refuse a model that is not the one with which an epoch began."""
        told = self._given  # at epoch 0 nothing may have been brought back
        if epoch or (self._from_first and self.epochs):
            state = _state_for(self._states, epoch)
            told = state.values["model"] if epoch else told
        _check_held(told, self._masked, self._trained, epoch)


def _state_for(states: StateFolder, epoch: int) -> State:
    """The state with which an epoch begins.

    Raises:
        ValueError: there is none, or it is damaged or belongs to another run.
    """
    epochs = states.epochs()
    if epoch not in epochs:
        told = f"states for the epochs {', '.join(map(str, epochs))}" if epochs else "no state at all"
        raise ValueError(
            f"{states.path} has no state for epoch {epoch}, with which training begins. Received: {told}. Put "
            "the pruning callback before BackupAndRestore in the list of callbacks, or delete both folders to begin "
            "anew."
        )
    return states.read(epoch)


def _check_held(told: dict[str, Any], masked: MaskedModel, trained: keras.Model, epoch: int) -> None:
    """Refuse a model that is not the one with which the epoch began.

    Args:
        told: what `_held` gave then.
        model: as it is now.
        epoch: the epoch.

    Raises:
        ValueError: it has other masks, or was trained for more or fewer steps.
    """
    found = _held(masked, trained)
    if told == found:
        return
    masks = "other masks" if told["masks"] != found["masks"] else "the same masks"
    raise ValueError(
        f"Model '{masked.model.name}' is not as it was when epoch {epoch} began. Received: {masks}, {found['steps']} "
        f"training steps instead of {told['steps']}. Put BackupAndRestore behind the pruning callback and leave its "
        "save_freq at 'epoch'; if the process was killed while the backup was written, delete both to begin anew."
    )


def _held(masked: MaskedModel, trained: keras.Model) -> dict[str, Any]:
    """What tells the model of one epoch from that of another."""
    optimizer = getattr(trained, "optimizer", None)
    steps = 0 if optimizer is None else int(keras.ops.convert_to_numpy(optimizer.iterations))
    masks = masked.masks.to_arrays()
    return {"masks": digest([masks[name] for name in sorted(masks)]), "steps": steps}
