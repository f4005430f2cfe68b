"""Where one `fit` with `StructuredPruning` stands, as an object and as a state that can be kept in a file."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import keras
import numpy as np

from tf_structprune.callbacks._stages import Stage
from tf_structprune.layers import get_masks
from tf_structprune.resume import State, StateFolder, digest

_COUNTERS = ("present", "baseline", "stage", "stage_epoch", "stage_sparsity", "epochs_since_search", "reached")
_TARGET = "target "


@dataclass(frozen=True)
class StageReport:
    """What became of one stage.

    Attributes:
        granularity: what it pruned.
        search: class name of the selector.
        sparsity: total sparsity that the stage's masks have.
        score_before: validation score with the new masks, before retraining.
        score_after: validation score when it was accepted or given up.
        accepted: whether the score came back within the tolerance.
    """

    granularity: str
    search: str
    sparsity: float
    score_before: float
    score_after: float
    accepted: bool


@dataclass
class Run:
    """Where one `fit` stands; made anew when training begins."""

    stages: tuple[Stage, ...]
    baseline: float
    accepted_weights: list[Any]
    present: float  # sparsity when it began
    targets: Any = None  # outputs when it began, one array or a list of them, where there are no labels
    stage: int = 0
    stage_epoch: int = 0
    stage_sparsity: float = 0.0  # total sparsity at the end of the stage, known when it begins
    epochs_since_search: int = 0
    open: StageReport | None = None  # masks that are not accepted yet
    reached: bool = False  # the stage's schedule has nothing more to ask for

    def to_state(self, reports: Sequence[StageReport], model: keras.Model, trained: keras.Model) -> State:
        """What a later process needs to go on.

        Args:
            reports: of the steps that are closed.
            model: as it is now.
            trained: the model whose `fit` trains it, itself or a `Distiller`.
        """
        values = {name: getattr(self, name) for name in _COUNTERS} | {
            "open": None if self.open is None else asdict(self.open),
            "reports": [asdict(report) for report in reports],
            "model": _held(model, trained),
        }
        arrays = {str(index): weight for index, weight in enumerate(self.accepted_weights)}
        return State(values, arrays | {f"{_TARGET}{index}": array for index, array in enumerate(self._target_list())})

    def _target_list(self) -> list[Any]:
        if self.targets is None:
            return []
        return list(self.targets) if isinstance(self.targets, list) else [self.targets]

    @classmethod
    def from_state(
        cls, state: State, stages: tuple[Stage, ...], model: keras.Model
    ) -> tuple["Run", tuple[StageReport, ...]]:
        """What `to_state` was given.

        Args:
            state: the state.
            stages: of the run, which follow from its settings.
            model: knows the types of its weights.
        """
        values = state.values
        weights = [
            # A type that NumPy does not know, such as bfloat16, is written as bytes.
            array.view(weight.dtype) if array.dtype.kind == "V" else array
            for weight, array in zip(model.get_weights(), _in_order(state, ""), strict=True)
        ]
        targets = _in_order(state, _TARGET)
        run = cls(
            stages=stages,
            accepted_weights=weights,
            targets=targets[0] if len(targets) == 1 else targets or None,
            open=None if values["open"] is None else StageReport(**values["open"]),
            **{name: values[name] for name in _COUNTERS},
        )
        return run, tuple(StageReport(**report) for report in values["reports"])


def state_for(states: StateFolder, epoch: int) -> State:
    """The state with which an epoch begins.

    Raises:
        ValueError: there is none, or it is damaged or belongs to another run.
    """
    epochs = states.epochs()
    if epoch not in epochs:
        told = f"states for the epochs {', '.join(map(str, epochs))}" if epochs else "no state at all"
        raise ValueError(
            f"{states.path} has no state for epoch {epoch}, with which training begins. Received: {told}. Put "
            "StructuredPruning before BackupAndRestore in the list of callbacks, or delete both folders to begin anew."
        )
    return states.read(epoch)


def check_held(state: State, model: keras.Model, trained: keras.Model, epoch: int) -> None:
    """Refuse a model that is not the one with which the epoch began.

    Raises:
        ValueError: it has other masks, or was trained for more or fewer steps.
    """
    told, found = state.values["model"], _held(model, trained)
    if told == found:
        return
    masks = "other masks" if told["masks"] != found["masks"] else "the same masks"
    raise ValueError(
        f"Model '{model.name}' is not as it was when epoch {epoch} began. Received: {masks}, {found['steps']} training "
        f"steps instead of {told['steps']}. Put BackupAndRestore behind StructuredPruning and leave its save_freq at "
        "'epoch'; if the process was killed while the backup was written, delete both folders to begin anew."
    )


def _held(model: keras.Model, trained: keras.Model) -> dict[str, Any]:
    """What tells the model of one epoch from that of another."""
    optimizer = getattr(trained, "optimizer", None)
    steps = 0 if optimizer is None else int(keras.ops.convert_to_numpy(optimizer.iterations))
    masks = get_masks(model).to_arrays()
    return {"masks": digest([masks[name] for name in sorted(masks)]), "steps": steps}


def _in_order(state: State, prefix: str) -> list[Any]:
    """Arrays whose names are a prefix and a number."""
    count = sum(name.removeprefix(prefix).isdigit() for name in state.arrays if name.startswith(prefix))
    return [np.asarray(state.arrays[f"{prefix}{index}"]) for index in range(count)]
