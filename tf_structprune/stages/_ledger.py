"""The one stage machine: what is open is judged, then kept or taken back."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import keras
from absl import logging

from tf_structprune.stages._judge import Judge, Judgement
from tf_structprune.stages._report import StageReport


@dataclass
class Ledger:
    """Where a run of stages stands.

    Attributes:
        judge: says what is accepted.
        kept: the last accepted state, whatever the run goes back to.
        open: the stage that is not judged yet; None between stages.
        reports: of the stages that are closed, in order.
        tell: is told what became of a stage.
    """

    judge: Judge
    kept: Any
    open: StageReport | None = None
    reports: tuple[StageReport, ...] = ()
    tell: Callable[[str], None] = logging.debug

    def look(self, found: Judgement, state: Callable[[], Any]) -> None:
        """Take note of a judgement; a state that is accepted is what the run goes back to from then on."""
        if found.accepted:
            self.kept = state()

    def close(self, found: Judgement) -> None:
        """Write down what became of the open stage, if one is."""
        if self.open is not None:
            closed = replace(self.open, score_after=found.score, accepted=found.accepted, interval=found.interval)
            self.reports += (closed,)
            self.open = None
            logging.info("Stage %d: %s", len(self.reports), closed)
            self.tell(self._told(closed))

    def _told(self, report: StageReport) -> str:
        metric, outcome = self.judge.metric, "accepted" if report.accepted else "taken back"
        before, after = metric.text(report.score_before), metric.text(report.score_after)
        return (
            f"Stage {len(self.reports)}, {report.granularity} at sparsity {report.sparsity:.2f}: {outcome}, validation "
            f"{metric.name} {after}, before retraining {before}"
        )


@dataclass(frozen=True)
class Begun:
    """A stage that has begun.

    Attributes:
        model: to be trained: with new masks, grids or layers.
        report: what is known of the stage so far.
    """

    model: keras.Model
    report: StageReport


class Stage(Protocol):
    """One step of a compression run: it changes masks, grids or layers, is trained and judged, and kept or taken back.

    A new method is a new stage, never a second loop.
    """

    @property
    def name(self) -> str:
        """Tells the stage from the others of a run, also in files."""

    @property
    def granularity(self) -> str:
        """What it is about, as reports call it."""

    def begin(self, present: Any) -> Begun:
        """Make the model to train from the last accepted state, which stays as it is."""

    def callbacks(self) -> Sequence[keras.callbacks.Callback]:
        """What has to be in `fit` while it trains."""

    def end(self, present: Any, model: keras.Model) -> Any:
        """The state that later stages begin with, from the one that it began with and the trained model."""


def run_stages(ledger: Ledger, stages: Iterable[Stage], train: Callable[[Stage, keras.Model], None]) -> None:
    """Begin, train and judge stages one after the other; each begins with what the accepted ones before it left.

    Args:
        ledger: where the run stands; it is brought up to date.
        stages: the stages in order.
        train: trains the model of a stage.
    """
    for stage in stages:
        logging.info("Stage %s begins.", stage.name)
        begun = stage.begin(ledger.kept)
        ledger.open = begun.report
        train(stage, begun.model)
        found = ledger.judge.judge(begun.model)
        ledger.look(found, partial(stage.end, ledger.kept, begun.model))
        ledger.close(found)
