"""The callback that prunes by Taylor scores at the sparse network inside `model.fit`."""

from typing import Any

import keras
import numpy as np

from tf_structprune.callbacks._student import student_of
from tf_structprune.layers import MaskedModel, agree_on_weights, build_optimizer, let_pruned_learn
from tf_structprune.masks import Granularity, MaskSet, Weight, check_sparsity, masks_by_layer
from tf_structprune.schedule import Gradual, OneShot, as_schedule
from tf_structprune.stages import RankedBy, RankedMasks, check_ranking, check_whole


class TaylorPruning(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is untyped
    """Prune a model from `wrap` in steps while it trains, by what each weight is worth to the loss; weights may return.

    After Yu, Wu, Klopp, Chen, Chien 2020, "Joint Pruning & Quantization for Extremely Sparse Neural Networks" (arXiv
    2010.01892). At the beginning of each of the first `prune_epochs` epochs the sparsity grows, and those single
    weights stay whose |weight * gradient of the loss|, summed over batches, is largest; all layers are ranked together.
    With `again`, masks are chosen anew each time out of all weights: pruned ones keep their gradients and are trained
    behind their masks, so that one that would help comes back. Afterwards masks stay, and nothing behind them is
    trained. Any loss will do that the model is compiled with: classes, maps of depth, several outputs.

    With a model from `to_fixed_point` gradients are those at the rounded weights. Prune, then quantize: fit the masked
    float model with this, then `unwrap`, `to_fixed_point` and `FixedPointTraining`. Quantize, then prune: the other way
    round, and `wrap` the trained fixed-point model, whose grids are held. Both together: `wrap(to_fixed_point(model))`
    with `FixedPointTraining(calibration_data=..., refit_epochs=prune_epochs)` behind this callback.

    The paper's text was not to be had. From its abstract are two stages, the Taylor score, a fine-tuning mode of its
    own and that pruning and quantization belong together; the reading here is the score of Molchanov et al. (arXiv
    1906.10771) for single weights with its absolute value, the global ranking, the cubic ramp of Zhu and Gupta (arXiv
    1710.01878), and, for the mode, the gradients of pruned weights of Lin et al. (arXiv 2006.07253).

    All that it needs to go on is in variables of the model: with `BackupAndRestore` behind it a killed run ends as the
    whole one.

    Figures in `logs`: `taylor_sparsity` of the masks; `taylor_returned`, the share of the prunable weights that the
    epoch's masks brought back.

    Args:
        sparsity: fraction in [0, 1) of the prunable weights that is removed in the end.
        samples: (x, y) that "taylor" takes gradients on, as `fit` takes them; a thousand of them are used.
        prune_epochs: epochs at whose beginnings masks are chosen, 1 or more; in the others of `fit` they stay.
        again: whether removed weights keep their gradients and may return; False for masks that only lose more.
        score: "taylor"; or, to compare with, "magnitude", or "random", one draw for all steps. Both need no samples.
        granularity: None for single weights, all layers ranked together; else as `StructuredPruning` takes it, one, no
            feature maps.
        schedule: what share of the way to the sparsity is done when; it must be all with the last of `prune_epochs`. By
            default `schedule.Gradual(prune_epochs)`; for masks of n:m `schedule.OneShot()`.
        given: masks that hold throughout; None for those that the model has when training begins, which is before
            `BackupAndRestore` brings others back if that is behind this in the list of callbacks.
        seed: of "random".

    Raises:
        ValueError: a setting out of range, no labels for "taylor", or a schedule that does not get there; in `fit`, a
            model without masks, too few epochs, a sparsity out of reach, or a later epoch without the masks of those
            before.
        TypeError: what is no schedule.
    """

    def __init__(
        self,
        sparsity: float,
        *,
        samples: tuple[Any, Any] | None = None,
        prune_epochs: int = 10,
        again: bool = True,
        score: RankedBy = "taylor",
        granularity: Granularity | None = None,
        schedule: Any = None,
        given: MaskSet | None = None,
        seed: int = 0,
    ) -> None:
        # Nine names: a Keras callback is its settings, and scripts give them by keyword.
        super().__init__()
        self.sparsity = check_sparsity(sparsity, "TaylorPruning: ")
        self.granularity = check_ranking(score, granularity, samples)
        self.samples, self.again, self.score, self.seed = samples, again, score, seed
        self.prune_epochs = check_whole("prune_epochs", prune_epochs, 1)
        at_once = isinstance(self.granularity, Weight) and self.granularity.n is not None
        usual = OneShot() if at_once else Gradual(self.prune_epochs)
        self.schedule = usual if schedule is None else as_schedule(schedule)
        if (last := self._way(self.prune_epochs - 1)) != 1:
            raise ValueError(
                f"The sparsity must be reached within prune_epochs={self.prune_epochs}. Received: {last} of the way, "
                f"by schedule={self.schedule}. Use schedule.Gradual({self.prune_epochs})."
            )
        self._kept_open = given
        self._given = MaskSet()
        self._ranked: RankedMasks | None = None
        self._joined, self._returned = False, 0.0

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Refuse what cannot be trained so; nothing is pruned yet."""
        build_optimizer(self.model)
        masked = MaskedModel(student_of(self.model))
        epochs = int((self.params or {}).get("epochs") or 0)
        if epochs < self.prune_epochs:
            raise ValueError(
                f"Masks are chosen for {self.prune_epochs} epochs. Received: fit(epochs={epochs}). Use more epochs, or "
                "a smaller prune_epochs."
            )
        self._given = masked.masks if self._kept_open is None else self._kept_open
        self._ranked = RankedMasks(masked, self.score, self.granularity, self.seed, self.samples)
        RankedMasks(masked, "random", self.granularity).masks(self.sparsity, self._given)  # out of reach is told now
        self._joined = False
        self._let_learn(False)  # a `fit` that was interrupted may have left it on

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Choose masks while it is time for that, and let pruned weights learn so long."""
        if not self._joined:
            self._check_joined(epoch)
        self._returned = 0.0
        choosing = epoch < self.prune_epochs
        if choosing and self._way(epoch) is not None:
            self._choose(self._wanted(epoch))
        self._let_learn(choosing and self.again)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Put the figures in `logs`."""
        agree_on_weights(self.model)
        if logs is not None:
            logs |= {"taylor_sparsity": self._masked.sparsity, "taylor_returned": self._returned}

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Leave masks behind which nothing is trained."""
        self._let_learn(False)
        self._ranked = None

    def _choose(self, sparsity: float) -> None:
        masked, before = self._masked, self._masked.masks
        masks = self._chooser.masks(sparsity, self._given if self.again else before)
        masked.set_masks(masks)
        old, new = (masks_by_layer(masked.graph, each, masked.polarity) for each in (before, masks))
        back = sum(int(np.sum(new[name].kept & ~old[name].kept)) for name in new)
        self._returned = back / masked.graph.prunable_weights

    def _let_learn(self, on: bool) -> None:
        if let_pruned_learn(self._masked.model, on=on):
            self.model.make_train_function(force=True)  # the one that was made before knows nothing of it

    def _way(self, epoch: int) -> float | None:
        """What share of the way to the sparsity is done when an epoch begins; None for what it was before."""
        return self.schedule.sparsity_at(epoch, 1, 1.0)

    def _wanted(self, epoch: int) -> float:
        begun = self._masked.sparsity_with(self._given)
        return begun + (self.sparsity - begun) * (self._way(epoch) or 0.0)

    def _check_joined(self, epoch: int) -> None:
        """Refuse to go on with an epoch without the masks of the one before, or with those as given ones."""
        self._joined = True
        wanted = self._wanted(min(epoch, self.prune_epochs) - 1) if epoch else 0.0
        before, now = self._masked.sparsity_with(self._given), self._masked.sparsity
        if wanted > before and now == before:
            raise ValueError(
                f"Epoch {epoch} of TaylorPruning goes on with the masks of the one before. Received: sparsity "
                f"{now:.3f} as given, instead of {wanted:.3f}. Put BackupAndRestore behind TaylorPruning in the list "
                "of callbacks, or begin with epoch 0."
            )

    @property
    def _masked(self) -> MaskedModel:
        return self._chooser.masked

    @property
    def _chooser(self) -> RankedMasks:
        if self._ranked is None:
            raise RuntimeError("TaylorPruning was called outside of fit. Pass it in fit(callbacks=[...]).")
        return self._ranked
