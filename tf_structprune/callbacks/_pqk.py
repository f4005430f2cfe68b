"""The callback that prunes, quantizes and lets a model teach itself inside `model.fit`."""

from typing import Any

import keras
from absl import logging

from tf_structprune.callbacks._self_taught import SelfTaught
from tf_structprune.layers import MaskedModel, agree_on_weights
from tf_structprune.masks import Granularity, as_granularity, check_sparsity
from tf_structprune.schedule import Gradual, as_schedule
from tf_structprune.stages import check_whole, magnitude_masks


class PQK(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is untyped
    """Prune a `SelfTaught` model in steps while it trains, then let it learn from itself with the pruned weights back.

    Pruning, quantization and knowledge distillation (Kim, Chang, Kwak, Interspeech 2021). Phase 1: at the beginning of
    each of the first `prune_epochs` epochs the sparsity grows, and masks are chosen anew by the weights' magnitude, so
    that a weight may come back. Phase 2: masks stay, and the same network with its pruned weights back is the teacher;
    no other one is needed. With a model from `to_fixed_point` all of this happens through rounded weights: put
    `FixedPointTraining(calibration_data=..., refit_epochs=prune_epochs)` behind this callback.

    The paper's text was not to be had. From its abstract are both phases, the shared important weights and the
    teacher's unimportant ones; the reading here is magnitude, the cubic ramp of Zhu and Gupta (arXiv 1710.01878), a
    teacher in float, and the losses of `SelfTaught`.

    All that it needs to go on is in variables of the model: with `BackupAndRestore` a killed run ends as the whole one.

    Figures in `logs`: `pqk_sparsity` of the masks, `pqk_phase` 1 or 2.

    Args:
        sparsity: fraction in [0, 1) of the prunable weights that is removed in the end.
        granularity: as `StructuredPruning` takes it, one.
        prune_epochs: epochs of phase 1; the others of `fit` are phase 2, at least one.
        schedule: how the sparsity grows; it must be reached with the last epoch of phase 1. By default
            `schedule.Gradual(prune_epochs)`; `schedule.OneShot()` for masks that leave no sparsity in between, as 2:4.

    Raises:
        ValueError: a setting out of range, or a schedule that does not get there; in `fit`, another model than a
            `SelfTaught`, too few epochs, a sparsity out of reach, or a later epoch without the masks of those before.
        TypeError: what is no schedule.
    """

    def __init__(
        self, sparsity: float, *, granularity: Granularity = "weight", prune_epochs: int = 10, schedule: Any = None
    ) -> None:
        super().__init__()
        self.sparsity = check_sparsity(sparsity, "PQK: ")
        self.granularity = as_granularity(granularity)
        self.prune_epochs = check_whole("prune_epochs", prune_epochs, 1)
        self.schedule = Gradual(self.prune_epochs) if schedule is None else as_schedule(schedule)
        if (last := self._wanted(self.prune_epochs - 1)) != self.sparsity:
            raise ValueError(
                f"The sparsity must be reached within prune_epochs={self.prune_epochs}. Received: {last} instead of "
                f"{self.sparsity}, by schedule={self.schedule}. Use schedule.Gradual({self.prune_epochs})."
            )
        self._masked: MaskedModel | None = None
        self._joined = False

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Refuse what cannot be trained so."""
        if not isinstance(self.model, SelfTaught):
            raise ValueError(
                f"PQK trains a model that can teach itself. Received: fit of '{self.model.name}', a "
                f"{type(self.model).__name__}. Use model = SelfTaught(masked), compile and fit that, and model.student "
                "afterwards."
            )
        epochs = int((self.params or {}).get("epochs") or 0)
        if epochs <= self.prune_epochs:
            raise ValueError(
                f"Phase 2 begins after {self.prune_epochs} epochs. Received: fit(epochs={epochs}). Use more epochs, or "
                "a smaller prune_epochs."
            )
        self._masked, self._joined = MaskedModel(self.model.student), False

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Choose masks in phase 1; bring the teacher in when phase 2 begins."""
        if not self._joined:
            self._check_joined(epoch)
        self.model.teaches = epoch >= self.prune_epochs
        if epoch == self.prune_epochs:
            self.model.take_statistics()
            logging.info("PQK: the teacher joins at sparsity %.3f.", self._handle.sparsity)
        wanted = self._wanted(epoch) if epoch < self.prune_epochs else None
        if wanted is not None and wanted > self._handle.sparsity_with(self.model.given):
            masks = magnitude_masks(self._handle, self.granularity, wanted, given=self.model.given)
            self._handle.set_masks(masks)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Put the figures in `logs`."""
        agree_on_weights(self.model)
        if logs is not None:
            logs |= {"pqk_sparsity": self._handle.sparsity, "pqk_phase": 1.0 + (epoch >= self.prune_epochs)}

    def _wanted(self, epoch: int) -> float | None:
        return self.schedule.sparsity_at(epoch, 1, self.sparsity)

    def _check_joined(self, epoch: int) -> None:
        """Refuse to go on with an epoch without the masks of the one before."""
        self._joined = True
        wanted = self._wanted(min(epoch, self.prune_epochs) - 1) if epoch else None
        before, now = self._handle.sparsity_with(self.model.given), self._handle.sparsity
        if wanted is not None and wanted > before and now == before:
            raise ValueError(
                f"Epoch {epoch} of PQK goes on with the masks of the one before. Received: sparsity {now:.3f} instead "
                f"of {wanted:.3f}. Put BackupAndRestore in the list of callbacks, or begin with epoch 0."
            )

    @property
    def _handle(self) -> MaskedModel:
        if self._masked is None:
            raise RuntimeError("PQK was called outside of fit. Pass it in fit(callbacks=[...]).")
        return self._masked
