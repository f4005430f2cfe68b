"""The callback that prunes by ADMM inside `model.fit`."""

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import keras
from absl import logging

from tf_structprune.allocation import Allocation
from tf_structprune.callbacks._partial import ADMMReport, Model, Partials, Segment, segments_of
from tf_structprune.callbacks._phases import check_settable, cosine, judge_of, judged
from tf_structprune.callbacks._resuming import Resuming
from tf_structprune.callbacks._run import data_digest
from tf_structprune.callbacks._student import check_regularized, student_of
from tf_structprune.fixed_point import Grid
from tf_structprune.layers import MaskedModel, agree_on_weights, build_optimizer
from tf_structprune.masks import Granularity, as_granularity, check_sparsity
from tf_structprune.resume import identity, wiring
from tf_structprune.stages import Constraint, Judge, Pulls, check_at_least, check_whole
from tf_structprune.task import as_score, check_validation

_FORMAT = 1  # of the states


class ADMM(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is untyped
    """Prune a model from `wrap(..., admm=True)` while it trains, by the alternating direction method of multipliers.

    For `admm_epochs` the weights W are trained under a loss that pulls them to Z - U: Z is what is nearest to W + U
    among the weights with so many zeros (the units that go are those with the least squares), U adds up what is left
    between them; after every epoch both are computed again. Then masks are set by the weights' magnitude, and what
    stays is retrained for `retrain_epochs` (Zhang et al., arXiv 1804.03294; progressive, masked: Ye et al., arXiv
    1810.07378). Structured granularities make it structured: the result shrinks.

    Several sparsities are reached one after the other, each from the model of the one before, whose masks hold on.
    With `partials=3`, as in the paper, the first three begin with the given model; each later one is tried from all
    three, and the best of these takes the place of the one that it came from.

    `fit` needs `ADMM.epochs` epochs; further ones retrain. Z and U are variables of the model, so
    `BackupAndRestore` behind this callback, and `state_dir`, bring a killed run back.

    Figures in `logs`: `admm_sparsity` of the masks, `admm_distance` |W - Z| / |W| while it pulls, `admm_score` at the
    end of a segment with validation data, nan before.

    Args:
        sparsity: fraction in [0, 1) of the prunable weights removed in the end, or the fractions of the rounds; for
            feature maps also an `Allocation`, from `allocate`.
        granularity: as `StructuredPruning` takes it, one.
        admm_epochs: epochs of the pull for each sparsity, 1 or more.
        retrain_epochs: epochs with masks behind it.
        rho: weight of the pull, of all layers or by layer's name or pattern; 0 lets a layer be. 1e-3 suits a loss
            that is a mean over samples.
        grid: also the numbers that weights may be, such as `fixed_point.WeightGrid(3)`, fitted to each layer at
            every projection; then no epoch retrains, for the weights would leave the grid: `FixedPointTraining` does.
        rates: learning rates at the start of both phases, which fall as cosines to zero, epoch by epoch, the second
            also over the further epochs; None leaves the optimizer's.
        partials: models that are kept, 1 or more; more than 1 needs validation data.
        validation_data: as `StructuredPruning` takes it; without it nothing is scored.
        score: likewise.
        tolerance: accepted loss of score, as `StructuredPruning` has it: the sparsest accepted model is left at the
            end, the given one if none is. None accepts all, and leaves the last.
        batch_size: samples a prediction step on the validation data.
        state_dir: as `StructuredPruning` takes it.

    Attributes:
        reports: an `ADMMReport` for each segment so far.

    Raises:
        ValueError: a setting out of range; in `fit`, fewer epochs than it needs, a model that was wrapped without
            `admm=True`, a sparsity out of reach, a layer without rho, or a state of another run.
    """

    def __init__(
        self,
        sparsity: float | Sequence[float] | Allocation,
        *,
        granularity: Granularity = "weight",
        admm_epochs: int = 10,
        retrain_epochs: int = 5,
        rho: float | Mapping[str, float] = 1e-3,
        grid: Grid | None = None,
        rates: tuple[float, float] | None = None,
        partials: int = 1,
        validation_data: tuple[Any, Any] | None = None,
        score: Any = "mcr",
        tolerance: float | None = None,
        batch_size: int = 256,
        state_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        # Thirteen names: a Keras callback is its settings, and scripts give them by keyword.
        super().__init__()
        if isinstance(sparsity, float | int):
            sparsity = [sparsity]
        self.sparsities = (sparsity,) if isinstance(sparsity, Allocation) else _rising(sparsity)
        self.granularity = as_granularity(granularity)
        self.admm_epochs = check_whole("admm_epochs", admm_epochs, 1)
        self.retrain_epochs = check_whole("retrain_epochs", retrain_epochs, 0)
        self.rho, self.grid, self.rates = rho, grid, rates
        self.partials = check_whole("partials", partials, 1)
        self.validation = (
            None if validation_data is None else check_validation(validation_data, as_score(score), batch_size)
        )
        self.tolerance = None if tolerance is None else check_at_least("tolerance", tolerance, 0)
        self.state_dir = state_dir
        self._score = identity(score)
        self._check()
        self.segments = segments_of(self.sparsities, min(self.partials, len(self.sparsities)))
        self._pulls: Pulls | None = None
        self._run: Partials | None = None
        self._judge: Judge | None = None
        self._resuming: Resuming | None = None
        self._distance = math.nan

    @property
    def epochs(self) -> int:
        """Epochs that `fit` needs."""
        return len(self.segments) * self._length

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Score the given model, or wait for the epoch with which an earlier run goes on."""
        self._check_epochs(int((self.params or {}).get("epochs") or 0))
        check_regularized(self.model, "The pull of ADMM")
        build_optimizer(self.model)
        self._pulls = Pulls.of(MaskedModel(self._student))
        self.model.make_train_function(force=True)  # one that was made before knows nothing of the pull
        self._judge = judge_of(self._student, self.validation, self.tolerance)
        self._distance = math.nan
        given = Model(self._masked.sparsity, 0.0 if self._judge is None else self._judge.given, accepted=True)
        given.weights = self._student.get_weights()
        self._run = Partials(given)
        self._resuming = None
        if self.state_dir is not None:
            self._resuming = Resuming(self.state_dir, self._fingerprint(), self._masked, self.model)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Begin a segment where one begins; set the rate."""
        self._join(epoch)
        segment, at = self._at(epoch)
        if segment is None and epoch == self.epochs:
            self._leave_best()
        if segment is not None and at == 0:
            if epoch:
                self._student.set_weights(self._state.source(segment).weights)
            self._handle.begin(self._constraint(segment), self.rho)
        if self.rates is not None:
            self._set_rate(epoch)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Project, set masks when the pull ends, close the segment when it ends."""
        segment, at = self._at(epoch)
        agree_on_weights(self._student)
        distance, score = math.nan, math.nan
        if segment is not None and at < self.admm_epochs:
            distance = self._distance = self._handle.step(self._constraint(segment))
            if at == self.admm_epochs - 1:
                self._handle.finish(self._constraint(segment))
        if segment is not None and at == self._length - 1:
            score = self._close(segment)
        if logs is not None:
            logs |= {"admm_sparsity": self._masked.sparsity, "admm_distance": distance, "admm_score": score}
        if self._resuming is not None:
            self._resuming.write(epoch + 1, self._state.to_state({"distance": self._distance}))

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Leave the sparsest model that is accepted, and no files."""
        epochs = int(self.params["epochs"])
        self._join(epochs)  # the process was killed when no epoch was left
        if self.reports and epochs == self.epochs:
            self._leave_best()
        if self._resuming is not None:
            self._resuming.clear()

    @property
    def reports(self) -> tuple[ADMMReport, ...]:
        """What became of each segment so far, in order."""
        return () if self._run is None else tuple(self._run.reports)

    def _leave_best(self) -> None:
        run = self._state
        if run.reached is None:
            logging.warning("No sparsity stayed within the tolerance of %s: the given model is left.", self.tolerance)
        left = run.given if run.reached is None else run.reached
        self._student.set_weights(left.weights)
        self._handle.let_go()

    def _close(self, segment: Segment) -> float:
        """Score what a segment left, and keep it."""
        score, accepted = judged(self._student, self._judge, self.tolerance)
        run, sparsity = self._state, self._masked.sparsity
        report = ADMMReport(sparsity, run.source(segment).sparsity, score, self._distance, accepted)
        logging.info("%s", report)
        run.take(segment, Model(sparsity, score or 0.0, accepted, self._student.get_weights()), report)
        return math.nan if score is None else score

    def _at(self, epoch: int) -> tuple[Segment | None, int]:
        """The segment of an epoch and the epoch's place in it; None behind the last."""
        index, at = divmod(epoch, self._length)
        return (self.segments[index] if index < len(self.segments) else None), at

    @property
    def _length(self) -> int:
        return self.admm_epochs + self.retrain_epochs

    def _constraint(self, segment: Segment) -> Constraint:
        return Constraint(self.granularity, segment.sparsity, self.grid)

    def _set_rate(self, epoch: int) -> None:
        """The rate of an epoch: a cosine over the phase that it lies in."""
        segment, at = self._at(epoch)
        pulled = segment is not None and at < self.admm_epochs
        place, count = (at, self.admm_epochs) if pulled else (at - self.admm_epochs, self.retrain_epochs)
        if segment is None:
            place, count = epoch - self.epochs, int(self.params["epochs"]) - self.epochs
        rate = (self.rates or (0.0, 0.0))[not pulled]
        self.model.optimizer.learning_rate = cosine(rate, place, count)

    def _check(self) -> None:
        """Refuse settings that do not go together."""
        weights = self.rho.values() if isinstance(self.rho, Mapping) else [self.rho]
        if any(not 0 <= weight < math.inf for weight in weights):
            raise ValueError(f"rho must be 0 or more. Received: rho={self.rho}. Use e.g. 1e-3.")
        if self.rates is not None and (len(self.rates) != 2 or not all(0 < rate < math.inf for rate in self.rates)):
            raise ValueError(f"rates must be two numbers above 0. Received: rates={self.rates}. Use e.g. (1e-3, 1e-3).")
        if self.grid is not None and self.retrain_epochs:
            raise ValueError(
                f"Weights on a grid would leave it in retraining. Received: grid={self.grid} with retrain_epochs="
                f"{self.retrain_epochs}. Use retrain_epochs=0, and FixedPointTraining behind."
            )
        if self.validation is None and (self.partials > 1 or self.tolerance is not None):
            raise ValueError(
                f"Models are chosen by their scores. Received: partials={self.partials} and tolerance={self.tolerance} "
                "without validation_data. Give it."
            )

    def _check_epochs(self, given: int) -> None:
        if given < self.epochs:
            raise ValueError(
                f"{len(self.segments)} segments of {self.admm_epochs} + {self.retrain_epochs} epochs take "
                f"{self.epochs}. Received: fit(epochs={given}). Use fit(epochs=callback.epochs)."
            )
        if self.rates is not None:
            check_settable(self._set_rate, f"rates={self.rates}")

    def _join(self, epoch: int) -> None:
        """Take up the state with which the first epoch of this `fit` begins."""
        if self._resuming is None or self._resuming.joined or (state := self._resuming.join(epoch)) is None:
            return
        self._run = Partials.from_state(state, self._student.get_weights())
        self._distance = float(state.values["distance"])
        present = self._student.get_weights()
        self._student.set_weights(self._run.given.weights)  # scores, and outputs for targets, are the given model's
        self._judge = judge_of(self._student, self.validation, self.tolerance)
        self._student.set_weights(present)
        logging.info("ADMM goes on with epoch %d, from %s.", epoch, self._resuming.path)

    def _fingerprint(self) -> dict[str, Any]:
        """What the run depends on, by name."""
        names = ("sparsities", "granularity", "admm_epochs", "retrain_epochs", "rho", "grid", "rates", "partials")
        return {
            "format": _FORMAT,
            "model": wiring(self._student),
            "validation data": None if self.validation is None else data_digest(self.validation),
            "score": self._score,
            "tolerance": self.tolerance,
            **{name: identity(getattr(self, name)) for name in names},
        }

    @property
    def _student(self) -> keras.Model:
        """The model with the masks."""
        return student_of(self.model)

    @property
    def _masked(self) -> MaskedModel:
        return self._handle.masked

    @property
    def _handle(self) -> Pulls:
        if self._pulls is None:
            raise RuntimeError("ADMM was called outside of fit. Pass it in fit(callbacks=[...]).")
        return self._pulls

    @property
    def _state(self) -> Partials:
        if self._run is None:
            raise RuntimeError("ADMM was called outside of fit. Pass it in fit(callbacks=[...]).")
        return self._run


def _rising(sparsities: Sequence[float]) -> tuple[float, ...]:
    for sparsity in sparsities:
        check_sparsity(sparsity, "ADMM: ")
    if not sparsities or list(sparsities) != sorted(set(sparsities)):
        raise ValueError(
            f"ADMM: sparsities must rise from round to round. Received: {list(sparsities)}. Use e.g. (0.9, 0.97, 0.99)."
        )
    return tuple(sparsities)
