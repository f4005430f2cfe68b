"""The callback that prunes by magnitude in rounds inside `model.fit`."""

import math
import os
from typing import Any, Literal, get_args

import keras
from absl import logging

from tf_structprune.callbacks._partial import Model
from tf_structprune.callbacks._phases import check_settable, cosine, judge_of, judged
from tf_structprune.callbacks._resuming import Resuming
from tf_structprune.callbacks._rounds import RoundReport, Rounds, Weights, sparsities_of
from tf_structprune.callbacks._run import data_digest
from tf_structprune.callbacks._student import student_of
from tf_structprune.layers import (
    MaskedModel,
    agree_on_weights,
    build_optimizer,
    fresh_weights,
    renew_copies,
    reset_optimizer,
)
from tf_structprune.masks import Granularity, Weight, as_granularity, check_sparsity
from tf_structprune.resume import identity, wiring
from tf_structprune.stages import Judge, check_at_least, check_whole, magnitude_masks
from tf_structprune.task import as_score, check_validation

Rewind = Literal["weights", "random", "none"]

_FORMAT = 1  # of the states


class IterativePruning(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is untyped
    """Prune a model from `wrap` by magnitude in rounds, each of which begins again with early weights.

    The model is trained for `dense_epochs`. Then, round after round, the `share` of the weights that are left which is
    smallest goes, those that stay are rewound to what they were after `rewind_epoch` epochs, and the model is trained
    again for `round_epochs` (Frankle and Carbin, arXiv 1803.03635; rewinding to an early epoch: Frankle et al., arXiv
    1912.05671). The last round has the sparsity exactly. What training made of batch normalizations and biases is
    rewound too, and the optimizer begins anew, steps and all: a schedule of its rate as well.

    It asks nothing of the loss. In `fit` of a pretext task (`pretext.RotationPrediction` and others) the network inside
    is pruned without labels (Caron et al., arXiv 2001.03554), in a `keras.distillation.Distiller` the student; what
    a pretext task has around its network is rewound with it.

    `fit` needs `IterativePruning.epochs` epochs; further ones train on. `BackupAndRestore` behind this callback, and
    `state_dir`, bring a killed run back.

    Figures in `logs`: `iterative_sparsity` of the masks, `iterative_score` at the end of a round with validation data,
    nan before.

    Args:
        sparsity: fraction in [0, 1) of the prunable weights removed in the end.
        share: fraction in (0, 1) of those that are left removed in each round.
        round_epochs: epochs of a round, 1 or more.
        dense_epochs: epochs before the first cut; None for as many as a round has, 0 to cut a trained model at once.
        rewind: what the weights that stay are at the beginning of a round: "weights", what they were after
            `rewind_epoch` epochs; "random", new initial values; "none", what they are, so that only the rate of
            learning is rewound (Renda et al., arXiv 2003.02389).
        rewind_epoch: of "weights", 0 for those of the given model.
        granularity: as `StructuredPruning` takes it, one; None for single weights, all layers ranked together. Strided
            patterns are chosen anew in each round, all others only lose more.
        rate: learning rate at the start of each round, which falls as a cosine to zero, epoch by epoch; None leaves the
            optimizer's.
        validation_data: as `StructuredPruning` takes it, scored with the masked model; without it nothing is scored.
        score: likewise.
        tolerance: accepted loss of the score that the model had before the first cut: the sparsest accepted model is
            left at the end, the one before the first cut if none is. None accepts all, and leaves the last.
        batch_size: samples a prediction step on the validation data.
        seed: of the new initial values.
        state_dir: as `StructuredPruning` takes it.

    Attributes:
        reports: a `RoundReport` for each round so far.

    Raises:
        ValueError: a setting out of range; in `fit`, fewer epochs than it needs, a model without masks, a sparsity that
            it has already or that is out of reach, or a state of another run.
    """

    def __init__(
        self,
        sparsity: float,
        *,
        share: float = 0.2,
        round_epochs: int = 10,
        dense_epochs: int | None = None,
        rewind: Rewind = "weights",
        rewind_epoch: int = 1,
        granularity: Granularity | None = None,
        rate: float | None = None,
        validation_data: tuple[Any, Any] | None = None,
        score: Any = "mcr",
        tolerance: float | None = None,
        batch_size: int = 256,
        seed: int = 0,
        state_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        # Fourteen names: a Keras callback is its settings, and scripts give them by keyword.
        super().__init__()
        self.sparsity = check_sparsity(sparsity, "IterativePruning: ")
        self.share = share
        self.round_epochs = check_whole("round_epochs", round_epochs, 1)
        dense = round_epochs if dense_epochs is None else dense_epochs
        self.dense_epochs = check_whole("dense_epochs", dense, 0)
        self.rewind, self.rewind_epoch = rewind, rewind_epoch
        self.granularity = Weight(across="model") if granularity is None else as_granularity(granularity)
        self.rate, self.seed = rate, seed
        self.validation = (
            None if validation_data is None else check_validation(validation_data, as_score(score), batch_size)
        )
        self.tolerance = None if tolerance is None else check_at_least("tolerance", tolerance, 0)
        self.state_dir = state_dir
        self._score = identity(score)
        self._check()
        self.sparsities = sparsities_of(0.0, self.sparsity, share)
        self._masked: MaskedModel | None = None
        self._run: Rounds | None = None
        self._judge: Judge | None = None
        self._resuming: Resuming | None = None

    @property
    def epochs(self) -> int:
        """Epochs that `fit` needs; once it has begun with a model that has masks, as many as that needs."""
        return self.dense_epochs + len(self.sparsities) * self.round_epochs

    @property
    def reports(self) -> tuple[RoundReport, ...]:
        """What became of each round so far, in order."""
        return () if self._run is None else tuple(self._run.reports)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Look at the given model, or wait for the epoch with which an earlier run goes on."""
        build_optimizer(self.model)
        self._masked = MaskedModel(student_of(self.model))
        self._begin(Rounds(self._masked.sparsity))
        self._check_epochs(int((self.params or {}).get("epochs") or 0))
        magnitude_masks(self._masked, self.granularity, self.sparsity)  # what is out of reach is told now
        self._judge = None
        if self.rewind == "weights" and self.rewind_epoch == 0:
            self._state.origin = self._whole.get_weights()
        if self.dense_epochs == 0:
            self._take_dense()
        self._resuming = None
        if self.state_dir is not None:
            self._resuming = Resuming(self.state_dir, self._fingerprint(), self._masked, self.model)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Cut and rewind where a round begins; set the rate."""
        self._join(epoch)
        index, at = self._at(epoch)
        if epoch == self.epochs:
            self._leave_best()
        elif index is not None and at == 0:
            self._cut(index)
        if self.rate is not None:
            self._set_rate(epoch)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Keep the weights to rewind to, close the round when it ends."""
        agree_on_weights(self._handle.model)
        score = math.nan
        if self.rewind == "weights" and epoch + 1 == self.rewind_epoch:
            self._state.origin = self._whole.get_weights()
        if epoch + 1 == self.dense_epochs:
            self._take_dense()
        index, at = self._at(epoch)
        if index is not None and at == self.round_epochs - 1:
            score = self._close()
        if logs is not None:
            logs |= {"iterative_sparsity": self._handle.sparsity, "iterative_score": score}
        if self._resuming is not None:
            seeds = [keras.ops.convert_to_numpy(seed) for seed in self._seeds()]
            self._resuming.write(epoch + 1, self._state.to_state(seeds))

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Leave the sparsest model that is accepted, and no files."""
        epochs = int(self.params["epochs"])
        self._join(epochs)  # the process was killed when no epoch was left
        if self.reports and epochs == self.epochs:
            self._leave_best()
        if self._resuming is not None:
            self._resuming.clear()

    def _begin(self, run: Rounds) -> None:
        self._run, self.sparsities = run, sparsities_of(run.present, self.sparsity, self.share)
        if not self.sparsities:
            raise ValueError(
                f"Model '{self._handle.model.name}' has so many zeros already. Received: sparsity={self.sparsity} for "
                f"one of {run.present:.4f}. Use a larger one."
            )

    def _cut(self, index: int) -> None:
        """New masks by the weights as they are; then these, and the optimizer, begin again."""
        sparsity = max(self.sparsities[index], self._handle.sparsity)  # whole maps may have gone beyond it before
        masks = magnitude_masks(self._handle, self.granularity, sparsity)
        if self.rewind == "weights":
            self._put(self._state.origin or ())
        if self.rewind == "random":
            self._put(fresh_weights(self._whole, self._handle.model, self.seed + index))
        self._handle.set_masks(masks)
        reset_optimizer(self.model)

    def _close(self) -> float:
        """Score what a round left, and keep it."""
        score, accepted = judged(self._handle.model, self._judge, self.tolerance)
        sparsity = self._handle.sparsity
        report = RoundReport(sparsity, score, accepted)
        logging.info("%s", report)
        self._state.take(Model(sparsity, score or 0.0, accepted, self._whole.get_weights()), report)
        return math.nan if score is None else score

    def _take_dense(self) -> None:
        """Keep the model before the first cut, which the others are judged by."""
        self._judge = judge_of(self._handle.model, self.validation, self.tolerance)
        given = 0.0 if self._judge is None else self._judge.given
        self._state.dense = Model(self._handle.sparsity, given, True, self._whole.get_weights())

    def _leave_best(self) -> None:
        run = self._state
        if run.reached is None:
            logging.warning("No round stayed within the tolerance of %s: the dense model is left.", self.tolerance)
        left = run.dense if run.reached is None else run.reached
        self._put(left.weights if left is not None else ())

    def _put(self, weights: Weights) -> None:
        self._whole.set_weights(list(weights))
        renew_copies(self._handle.model)

    def _at(self, epoch: int) -> tuple[int | None, int]:
        """The round of an epoch and the epoch's place in it; None before the first and behind the last."""
        index, at = divmod(epoch - self.dense_epochs, self.round_epochs)
        return (index if 0 <= index < len(self.sparsities) else None), at

    def _set_rate(self, epoch: int) -> None:
        """The rate of an epoch: a cosine over the round that it lies in."""
        index, place = self._at(epoch)
        count = self.round_epochs
        if epoch < self.dense_epochs:
            place, count = epoch, self.dense_epochs
        elif index is None:
            place, count = epoch - self.epochs, int(self.params["epochs"]) - self.epochs
        self.model.optimizer.learning_rate = cosine(self.rate or 0.0, place, count)

    def _check(self) -> None:
        """Refuse settings that do not go together."""
        if not 0 < self.share < 1:
            raise ValueError(f"share must be in (0, 1). Received: share={self.share}. Use e.g. 0.2.")
        if self.rewind not in get_args(Rewind):
            raise ValueError(
                f"Unknown rewinding. Received: rewind={self.rewind!r}. Use one of: {', '.join(get_args(Rewind))}."
            )
        if self.rewind == "weights" and not 0 <= self.rewind_epoch <= self.dense_epochs:
            raise ValueError(
                f"Weights are rewound to an epoch before the first cut. Received: rewind_epoch={self.rewind_epoch} "
                f"with dense_epochs={self.dense_epochs}. Use 0 to {self.dense_epochs}."
            )
        if self.rate is not None and not 0 < self.rate < math.inf:
            raise ValueError(f"rate must be a number above 0. Received: rate={self.rate}. Use e.g. 1e-3.")
        if self.sparsity == 0:
            raise ValueError("IterativePruning removes something. Received: sparsity=0. Use e.g. 0.8.")
        if self.validation is None and self.tolerance is not None:
            raise ValueError(
                f"A tolerance is one of a score. Received: tolerance={self.tolerance} without validation_data. Give it."
            )

    def _check_epochs(self, given: int) -> None:
        if given < self.epochs:
            raise ValueError(
                f"{len(self.sparsities)} rounds of {self.round_epochs} epochs, and {self.dense_epochs} before them, "
                f"take {self.epochs}. Received: fit(epochs={given}). Use fit(epochs=callback.epochs)."
            )
        if self.rate is not None:
            check_settable(self._set_rate, f"rate={self.rate}")

    def _join(self, epoch: int) -> None:
        """Take up the state with which the first epoch of this `fit` begins."""
        if self._resuming is None or self._resuming.joined or (state := self._resuming.join(epoch)) is None:
            return
        present = self._whole.get_weights()
        self._begin(run := Rounds.from_state(state, present))
        for at, seed in enumerate(self._seeds()):
            seed.assign(state.arrays[f"seed {at}"])
        if run.dense is not None and self.validation is not None:
            self._put(run.dense.weights)  # scores, and outputs for targets, are those of the model before the first cut
            self._judge = judge_of(self._handle.model, self.validation, self.tolerance)
            self._put(present)
        logging.info("IterativePruning goes on with epoch %d, from %s.", epoch, self._resuming.path)

    def _fingerprint(self) -> dict[str, Any]:
        """What the run depends on, by name."""
        names = ("sparsity", "share", "round_epochs", "dense_epochs", "rewind", "rewind_epoch", "granularity", "rate")
        return {
            "format": _FORMAT,
            "model": wiring(self._whole),
            "validation data": None if self.validation is None else data_digest(self.validation),
            "score": self._score,
            **{name: identity(getattr(self, name)) for name in (*names, "tolerance", "seed")},
        }

    def _seeds(self) -> list[Any]:
        """What the random numbers of the network's layers go on from, which no file of weights holds."""
        weights = {id(weight) for weight in self._whole.weights}
        return [variable for variable in self._whole.variables if id(variable) not in weights]

    @property
    def _whole(self) -> keras.Model:
        """What is rewound: the masked model, with what a pretext task has around it; not the teacher of a student."""
        return self._handle.model if isinstance(self.model, keras.distillation.Distiller) else self.model

    @property
    def _handle(self) -> MaskedModel:
        if self._masked is None:
            raise RuntimeError("IterativePruning was called outside of fit. Pass it in fit(callbacks=[...]).")
        return self._masked

    @property
    def _state(self) -> Rounds:
        if self._run is None:
            raise RuntimeError("IterativePruning was called outside of fit. Pass it in fit(callbacks=[...]).")
        return self._run
