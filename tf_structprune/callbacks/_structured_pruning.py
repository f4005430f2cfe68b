"""The callback that prunes inside `model.fit`."""

import os
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from absl import logging

from tf_structprune.allocation import Allocation
from tf_structprune.callbacks._resuming import Resuming
from tf_structprune.callbacks._run import Run, data_digest
from tf_structprune.callbacks._student import student_of
from tf_structprune.cluster import LOCAL, as_executor
from tf_structprune.layers import MaskedModel, agree_on_weights, build_optimizer
from tf_structprune.masks import Demands, Granularity, as_granularity, kept_space
from tf_structprune.resume import digest, identity, wiring
from tf_structprune.schedule import OneShot, Schedule, as_schedule
from tf_structprune.search import BestOfN, Search
from tf_structprune.stages import (
    Goal,
    Judge,
    Judgement,
    Ledger,
    Reconstruct,
    Sparsity,
    StageReport,
    check_at_least,
    check_reconstruct,
    check_sparsities,
    check_whole,
    find_masks,
    goals_of,
    reconstruct,
)
from tf_structprune.task import Validation, as_score, check_validation

_ROUNDING = 1e-9  # scores and sparsities that differ by less are the same
_FORMAT = 3  # of the state; counted up when it or what it means changes


class StructuredPruning(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is untyped
    """Prune a masked model while it trains.

    Between epochs it searches masks, scoring candidates on validation data before any retraining
    (Anwar and Sung, arXiv 1610.09639), sets the best, and lets `fit` retrain. A stage is accepted as
    soon as the validation score is back within `tolerance` of the score before pruning; if that
    does not happen within `patience` epochs, weights and masks go back to the last accepted state
    and the next stage begins. When training ends, a state that is not accepted is rolled back too:
    what `fit` leaves is never worse than the tolerance.

    Put it **before** `ModelCheckpoint`, `EarlyStopping`, `CSVLogger` and `TensorBoard` in the list
    of callbacks: Keras calls them in order, so they then see its figures in `logs` and the state
    after a rollback. Checkpoints hold the masks, whatever the order. `EarlyStopping` with
    `restore_best_weights=True` may bring back a state from before pruning, masks included: give it a
    `start_from_epoch` behind the last stage. In a `keras.distillation.Distiller` the student is pruned;
    `BackupAndRestore` wants one that was called once.

    Figures in `logs`: `prune_sparsity`, `prune_val_score`, `prune_accepted` (1 or 0) and
    `prune_stage` (index of the stage, the number of stages when all are done).

    Args:
        validation_data: pair (x, y) held out from training, arrays or, for several inputs or outputs, lists or
            dictionaries of them, targets by the names of the outputs; y None for the outputs that the model has when
            training begins, so that no labels are needed: score="kl" or "mse" then is the agreement with them.
        granularity: "feature_map", "kernel", "intra_kernel" or "weight", or a sequence of them, pruned one
            after the other. `masks.Kernel(groups=4)` and `masks.IntraKernelStrided(strides=(3,), patterns=2)`
            propose only masks that run fast once lowered; `masks.lowerable` makes such demands. Single weights,
            `masks.Weight(n=2, m=4)` too, buy bytes of a stored network and no speed.
        search: the selector; `search.BestOfN(50)` by default.
        sparsity: fraction in [0, 1) of the prunable weights removed in the end, shared among
            several granularities by `masks.stage_shares`; a mapping gives each its own fraction of
            what it finds instead. For feature maps, alone or in a mapping, an `Allocation` from `allocate` may
            take the fraction's place; all are then removed at once. None only with a schedule that names its own.
        schedule: `schedule.OneShot()` by default, `schedule.Gradual(...)`, or a tfmot
            `PruningSchedule`, whose sparsities then count (one granularity only).
        tolerance: accepted loss of score, 0.01 by default: one point of MCR.
        patience: epochs that a pruning step may take to come back within the tolerance.
        retrain_epochs: epochs of retraining after each pruning step before the next one.
        score: "mcr" or another score, see `as_score`.
        seed: seed of the search.
        batch_size: samples a prediction step on the validation data.
        racing: stop scoring candidates that cannot be the best of their round, see `score`; False scores all of
            them on all samples.
        early_stop: end a search with the first candidate found within the tolerance before any retraining, rather
            than with the best one: quicker, but later steps then start from worse masks.
        executor: who scores candidates: "local", "ray" or a `RayExecutor`.
        reconstruct: True or "full" to let the kept weights make up for the removed ones right after each search, see
            `reconstruct`; candidates are then scored by what cannot be made up for (`scoring.PredictedScorer`), but
            for `early_stop`. "statistics" for those of batch normalizations alone.
        samples: what they are solved on, as the model takes them, without labels; about a thousand training samples.
            Without them the validation samples, which the tolerance is then judged on too.
        verbose: 1 shows the search's progress, 0 nothing.
        state_dir: a folder of its own, in which the run's state is written at the end of each epoch, so that a process
            that was killed goes on when it is started again; None for none. It needs Keras's `BackupAndRestore`
            **behind** it in the list of callbacks, which brings back weights, masks, optimizer and epoch, with its
            `save_freq` as it is. When training ends the folder is removed.

    Attributes:
        reports: a `StageReport` for each pruning step so far, in order.
        judge: the `stages.Judge` that the steps are held to, once training has begun.

    Raises:
        ValueError: a setting out of range; in `fit`, a state of another run, or one that does not fit the model that
            `BackupAndRestore` brought back.
        TypeError: validation data, schedule or score of another kind.
    """

    def __init__(
        self,
        *,
        validation_data: tuple[Any, Any],
        granularity: Granularity | Sequence[Granularity] = "feature_map",
        search: Search | None = None,
        sparsity: Sparsity = None,
        schedule: Schedule | Any = None,
        tolerance: float = 0.01,
        patience: int = 5,
        retrain_epochs: int = 1,
        score: Any = "mcr",
        seed: int = 0,
        batch_size: int = 256,
        racing: bool = True,
        early_stop: bool = False,
        executor: Any = LOCAL,
        reconstruct: bool | Reconstruct = False,
        samples: Any = None,
        verbose: int = 1,
        state_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        # Eighteen names: a Keras callback is its settings, and scripts give them by keyword.
        super().__init__()
        if isinstance(granularity, str | Demands):
            granularity = (granularity,)
        self.demands = tuple(as_granularity(kind) for kind in granularity)
        self.granularity = tuple(kind.name for kind in self.demands)
        self.validation: Validation = check_validation(validation_data, as_score(score), batch_size)
        self.search: Search = BestOfN() if search is None else search
        self.schedule: Schedule = OneShot() if schedule is None else as_schedule(schedule)
        self.sparsity = check_sparsities(sparsity, self.granularity, self.schedule)
        self.tolerance = check_at_least("tolerance", tolerance, 0)
        self.patience = check_whole("patience", patience, 1)
        self.retrain_epochs = check_whole("retrain_epochs", retrain_epochs, 1)
        self.seed = seed
        self.racing, self.early_stop = racing, early_stop
        self.executor = as_executor(executor)
        self.reconstruct = check_reconstruct(reconstruct)
        self.samples = samples
        self.verbose = verbose
        self.state_dir = state_dir
        self._score = identity(score)
        self._masked: MaskedModel | None = None
        self._run: Run | None = None
        self._resuming: Resuming | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Measure the baseline and start the first stage, or wait for the epoch with which an earlier run goes on."""
        build_optimizer(self.model)
        self._masked = MaskedModel(self._student)
        self.validation = self.validation.for_model(self._student)
        self._run = self._resuming = None
        if self.state_dir is not None:
            fingerprint = self._fingerprint()
            self._resuming = Resuming(self.state_dir, fingerprint, self._masked, self.model, from_first=True)
        if self._resuming is None or not self._resuming.epochs:
            self._begin()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Search and set masks where the schedule asks for more sparsity."""
        self._join(epoch)
        run, masked = self._state(), self._handle
        if run.stage == len(run.goals) or run.ledger.open is not None:
            return
        goal = run.goals[run.stage]
        if run.stage_epoch == 0:
            run.stage_sparsity = self._sparsity_after(goal)
        target = self.schedule.sparsity_at(run.stage_epoch, self._steps_per_epoch(), run.stage_sparsity)
        run.reached = target is not None and target >= run.stage_sparsity
        if target is None or target <= masked.sparsity + _ROUNDING:
            return
        result = find_masks(
            masked,
            goal.demands,
            goal.share if isinstance(goal.share, Allocation) else target,
            search=self.search,
            validation=run.judge.validation,
            seed=self.seed + epoch,
            racing=self.racing,
            enough=run.judge.least if self.early_stop else None,
            executor=self.executor,
            verbose=bool(self.verbose),
            predicted=self.reconstruct == "full" and not self.early_stop,
        )
        masked.set_masks(result.masks)
        score = result.score
        if self.reconstruct != "none":
            samples = self.validation.x if self.samples is None else self.samples
            reconstruct(masked, samples, mode=self.reconstruct, seed=self.seed)
            score = run.judge.score(self._student)
        run.epochs_since_search = 0
        run.ledger.open = StageReport(
            goal.demands.name,
            type(self.search).__name__,
            masked.sparsity,
            score,
            score,
            accepted=False,
        )

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Accept the state, wait, or roll back; put the figures in `logs`."""
        run = self._state()
        run.stage_epoch += 1
        run.epochs_since_search += 1
        agree_on_weights(self._student)  # what is judged is what will be saved
        found = run.judge.judge(self._student)
        run.ledger.look(found, self._student.get_weights)
        if run.ledger.open is not None:
            self._close(run, found)
        if run.ledger.open is None and run.stage < len(run.goals) and run.reached:
            run.stage, run.stage_epoch, run.reached = run.stage + 1, 0, False
        if logs is not None:
            logs["prune_sparsity"] = self._handle.sparsity
            logs["prune_val_score"] = found.score
            logs["prune_accepted"] = float(found.accepted)
            logs["prune_stage"] = float(run.stage)
        self._write(epoch + 1)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Leave an accepted state, and no files."""
        self._join(int(self.params["epochs"]))  # the process was killed when no epoch was left
        self._finish(self._state())
        if self._resuming is not None:
            self._resuming.clear()

    def _finish(self, run: Run) -> None:
        found = run.judge.judge(self._student)
        run.ledger.close(found)
        if not found.accepted:
            self._roll_back(run, found.score)

    def _begin(self) -> None:
        present = self._handle.sparsity
        goals = goals_of(self.demands, self.sparsity, present)
        validation = self.validation.with_outputs_of(self._student)
        judge = Judge.of(self._student, validation, self.tolerance)
        self._run = Run(
            goals, Ledger(judge, self._student.get_weights()), present, unlabelled=self.validation.y is None
        )

    def _join(self, epoch: int) -> None:
        """Take up the state with which the first epoch of this `fit` begins."""
        if self._resuming is None or self._resuming.joined:
            return
        if (state := self._resuming.join(epoch)) is None:  # nothing was done yet
            if self._resuming.epochs:
                self._begin()
            else:
                self._write(epoch)
            return
        goals = goals_of(self.demands, self.sparsity, float(state.values["present"]))
        judge = Judge(self.validation, 0.0, self.tolerance)  # the state knows what was given
        self._run = Run.from_state(state, goals, judge, self._student)
        logging.info("Pruning goes on with epoch %d, from %s.", epoch, self._resuming.path)

    def _write(self, epoch: int) -> None:
        """Keep the state with which an epoch begins."""
        if self._resuming is not None:
            self._resuming.write(epoch, self._state().to_state())

    def _fingerprint(self) -> dict[str, Any]:
        """What the run depends on, by name."""
        search = ("search", "racing", "early_stop", "seed", "reconstruct")
        steps = ("demands", "schedule", "sparsity", "tolerance", "patience", "retrain_epochs")
        return {
            "format": _FORMAT,
            "model": wiring(self._student),
            "validation data": data_digest(self.validation),
            "samples": None if self.samples is None else digest(self.samples, []),
            "score": self._score,
            "batch_size": self.validation.batch_size,
            **{name: identity(getattr(self, name)) for name in (*steps, *search)},
        }

    def _close(self, run: Run, found: Judgement) -> None:
        """Close the open step when it has been retrained enough, or for too long."""
        if found.accepted and run.epochs_since_search >= self.retrain_epochs:
            run.ledger.close(found)
        elif not found.accepted and run.epochs_since_search >= max(self.patience, self.retrain_epochs):
            run.ledger.close(found)
            self._roll_back(run, found.score)
            run.reached = True  # the stage is given up

    def _roll_back(self, run: Run, score: float) -> None:
        self._student.set_weights(run.ledger.kept)
        logging.warning(
            "Validation score %.4f is more than %.4f below the %.4f before pruning: rolled back to the last "
            "accepted state, sparsity %.3f.",
            score,
            self.tolerance,
            run.judge.given,
            self._handle.sparsity,
        )

    @property
    def _student(self) -> keras.Model:
        """The model with the masks."""
        return student_of(self.model)

    def _state(self) -> Run:
        if self._run is None:
            raise RuntimeError("StructuredPruning was called outside of fit. Pass it in fit(callbacks=[...]).")
        return self._run

    @property
    def judge(self) -> Judge:
        """What the run is held to: validation data, the score of the model that was given, the tolerance."""
        return self._state().judge

    @property
    def reports(self) -> tuple[StageReport, ...]:
        """What became of each pruning step so far, in order."""
        return () if self._run is None else self._run.ledger.reports

    @property
    def _handle(self) -> MaskedModel:
        if self._masked is None:
            raise RuntimeError("StructuredPruning was called outside of fit. Pass it in fit(callbacks=[...]).")
        return self._masked

    def _sparsity_after(self, goal: Goal) -> float:
        """Total sparsity at the end of a stage that begins now."""
        masked = self._handle
        if isinstance(goal.share, Allocation):
            goal.share.check(masked.graph)
            space = kept_space(masked.graph, goal.share.kept, base=masked.masks)
            return masked.sparsity_with(space.sample(np.random.default_rng(self.seed)))
        return 1 - (1 - masked.sparsity) * (1 - goal.share)

    def _steps_per_epoch(self) -> int:
        return int((self.params or {}).get("steps") or 1)
