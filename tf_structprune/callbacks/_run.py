"""Where one `fit` with `StructuredPruning` stands, as an object and as a state that can be kept in a file."""

from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import keras
import numpy as np

from tf_structprune.resume import State, digest
from tf_structprune.stages import Goal, Judge, Ledger, StageReport
from tf_structprune.task import Interval, Validation

_COUNTERS = ("present", "stage", "stage_epoch", "stage_sparsity", "epochs_since_search", "reached")
_TARGET = "target "
_SCORES = "scores of the given model"


@dataclass
class Run:
    """Where one `fit` stands; made anew when training begins."""

    goals: tuple[Goal, ...]  # one a stage
    ledger: Ledger  # keeps weights
    present: float  # sparsity when it began
    unlabelled: bool = False  # whether the targets are the outputs when it began
    stage: int = 0
    stage_epoch: int = 0
    stage_sparsity: float = 0.0  # total sparsity at the end of the stage, known when it begins
    epochs_since_search: int = 0
    reached: bool = False  # the stage's schedule has nothing more to ask for

    @property
    def judge(self) -> Judge:
        """Says what is accepted."""
        return self.ledger.judge

    def to_state(self) -> State:
        """What a later process needs to go on."""
        ledger = self.ledger
        values = {name: getattr(self, name) for name in _COUNTERS} | {
            "baseline": self.judge.given,
            "open": None if ledger.open is None else asdict(ledger.open),
            "reports": [asdict(report) for report in ledger.reports],
        }
        targets = keras.tree.flatten(self.judge.validation.y) if self.unlabelled else []
        arrays = {str(index): weight for index, weight in enumerate(ledger.kept)}
        arrays |= {f"{_TARGET}{index}": array for index, array in enumerate(targets)}
        return State(values, arrays if self.judge.samples is None else arrays | {_SCORES: self.judge.samples})

    @classmethod
    def from_state(cls, state: State, goals: tuple[Goal, ...], judge: Judge, model: keras.Model) -> Self:
        """What `to_state` was given.

        Args:
            state: the state.
            goals: of the run, which follow from its settings.
            judge: of the run, but for the score of the model that was given, which the state tells, and targets
                where there were none.
            model: knows the types of its weights.
        """
        values = state.values
        weights = [
            # A type that NumPy does not know, such as bfloat16, is written as bytes.
            array.view(weight.dtype) if array.dtype.kind == "V" else array
            for weight, array in zip(model.get_weights(), _in_order(state, ""), strict=True)
        ]
        targets = _in_order(state, _TARGET)
        validation = replace(judge.validation, y=targets[0] if len(targets) == 1 else targets)
        ledger = Ledger(
            replace(
                judge,
                given=values["baseline"],
                samples=state.arrays.get(_SCORES),
                validation=validation if targets else judge.validation,
            ),
            kept=weights,
            open=None if values["open"] is None else _report(values["open"]),
            reports=tuple(map(_report, values["reports"])),
        )
        return cls(goals, ledger, unlabelled=bool(targets), **{name: values[name] for name in _COUNTERS})


def _report(values: dict[str, Any]) -> StageReport:
    interval = values["interval"]
    return StageReport(**values | {"interval": None if interval is None else Interval(**interval)})


def data_digest(validation: Validation) -> str:
    """What tells validation samples, with their targets if they have any, from others."""
    return digest(validation.x, [] if validation.y is None else validation.y)


def _in_order(state: State, prefix: str) -> list[Any]:
    """Arrays whose names are a prefix and a number."""
    count = sum(name.removeprefix(prefix).isdigit() for name in state.arrays if name.startswith(prefix))
    return [np.asarray(state.arrays[f"{prefix}{index}"]) for index in range(count)]
