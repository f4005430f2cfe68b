"""What a run did and measured, as plain values that know no model and no file; `report.json` holds them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from tf_structprune.search import Metric
from tflite_export.report._checks import COUNT, check_ranges
from tflite_export.report._mask_picture import MaskPicture
from tflite_export.write import from_plain, reading, to_plain

FORMAT = 1
"""Of `report.json`; counted up when its keys change."""
INT8_ALONE, INT8_REST = "int8", "int8, all but it"
"""Parts of a `Sensitivity` to the int8 file."""
_MOST_DIGITS = 17  # that a float has
_MOST_BITS = 64
_ADVICE = "Where one was changed, take it as the run wrote it, or run tf-structprune compress again."


@dataclass(frozen=True)
class Row:
    """One figure before and after.

    Attributes:
        title: what it is, with its unit.
        before: of the given model, in that unit; None where it was not measured.
        after: of the compressed model.
        digits: decimal places shown, 17 at most.
        cost: whether less is better, so that before / after says what was gained.
    """

    title: str
    before: float | None
    after: float | None
    digits: int = 0
    cost: bool = True

    def __post_init__(self) -> None:
        """Checks the decimal places."""
        check_ranges(f"Figure '{self.title}'", self, {"digits": (0, _MOST_DIGITS)})

    def text(self, value: float | None) -> str:
        """The value as shown."""
        return "not measured" if value is None else f"{value:,.{self.digits}f}"

    @property
    def ratio(self) -> str:
        """Before / after, "" for what is no cost or not known."""
        return f"{self.before / self.after:.2f}x" if self.cost and self.before and self.after else ""


@dataclass(frozen=True)
class Score:
    """A model or file, and its validation score as the metric tells it; None where there is none, for a reason."""

    name: str
    value: float | None
    reason: str | None = None


@dataclass(frozen=True)
class Verdict:
    """How the file that is handed over was judged.

    Attributes:
        metric: how scores are told.
        accepted: whether the integer file is within the tolerance.
        tolerance: in words.
        limit: score at which the tolerance ends.
        scores: of the given model, of the compressed one and of their integer files.
        low: lower end of the 95 % confidence interval of the loss of score; None where the score does not tell.
        high: its upper end.
        samples: validation samples that it comes from.
        samples_to_tell: how many would tell the tolerance.
        attempts: how it was tried to make the integer file.
    """

    metric: Metric
    accepted: bool
    tolerance: str
    limit: float
    scores: tuple[Score, ...]
    low: float | None = None
    high: float | None = None
    samples: int | None = None
    samples_to_tell: int | None = None
    attempts: tuple[Score, ...] = ()


@dataclass(frozen=True)
class Operator:
    """One operator of a file.

    Attributes:
        name: such as "CONV_2D".
        output: name of the tensor that it makes, "" in a file without names.
        layer: the Keras layer that it computes, "" where that is not known.
        shape: of its output.
        macs: multiply-accumulates.
        weight_bytes: its constants, one that several read counted for the first.
        zeros: fraction of its weights that are zero; None without weights.
        live_bytes: signals that are alive while it runs.
        time_us: median time; None where it was not profiled.
    """

    name: str
    output: str
    layer: str
    shape: tuple[int, ...]
    macs: int
    weight_bytes: int
    zeros: float | None
    live_bytes: int
    time_us: float | None = None

    def __post_init__(self) -> None:
        """Checks the counts."""
        ranges = dict.fromkeys(("macs", "weight_bytes", "live_bytes"), COUNT)
        check_ranges(f"Operator '{self.name}' of layer '{self.layer}'", self, ranges)


@dataclass(frozen=True)
class Profile:
    """A file, operator by operator, in the order in which they run."""

    file: str
    operators: tuple[Operator, ...]

    @property
    def peak(self) -> int | None:
        """Place of the operator that sets the memory's peak, the first of several."""
        places = range(len(self.operators))
        return max(places, key=lambda at: self.operators[at].live_bytes) if self.operators else None


@dataclass(frozen=True)
class Curve:
    """The figures of one retraining, an epoch each.

    Attributes:
        stage: its number, from 1.
        what: what it pruned.
        figures: of `fit`, by name.
    """

    stage: int
    what: str
    figures: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True)
class Step:
    """A model on the way: its costs, its validation score as the metric tells it, and what became of it."""

    name: str
    sparsity: float
    macs: int
    parameters: int
    flash_bytes: int
    arena_bytes: int | None
    latency_us: float
    value: float
    accepted: bool
    handed_over: bool

    def __post_init__(self) -> None:
        """Checks the counts."""
        ranges = dict.fromkeys(("macs", "parameters", "flash_bytes", "arena_bytes"), COUNT)
        check_ranges(f"Step '{self.name}'", self, ranges)

    @property
    def outcome(self) -> str:
        """What became of it, in words; "" for a step that others followed."""
        return "handed over" if self.handed_over else "" if self.accepted else "taken back"


@dataclass(frozen=True)
class Sensitivity:
    """What the score loses with one part of one layer in few bits.

    Attributes:
        layer: its name.
        part: "weights" or "signal" in fixed point; or, as in the int8 file, all of the layer or all layers but it.
        bits: word lengths, 64 at most.
        losses: of score, for each of them.
    """

    layer: str
    part: str
    bits: tuple[int, ...]
    losses: tuple[float, ...]

    def __post_init__(self) -> None:
        """Checks the word lengths."""
        if len(self.bits) != len(self.losses) or not all(1 <= bits <= _MOST_BITS for bits in self.bits):
            raise ValueError(
                f"Layer '{self.layer}': each loss has a word of 1 to {_MOST_BITS} bits. Received: bits={self.bits} "
                f"and {len(self.losses)} losses. Give a word length for each loss."
            )


@dataclass(frozen=True)
class Fact:
    """Something in words: what it is about, and what is to be said."""

    about: str
    told: str


@dataclass(frozen=True)
class Report:
    """What a run did and measured. What was not done is empty or None, and no renderer shows it.

    Attributes:
        name: of the model.
        task: what it is for, in words.
        removed: fraction of the prunable weights that is gone.
        figures: before and after.
        memory: flash and RAM, before and after.
        verdict: how the file was judged; None without a tolerance.
        stages: what became of each.
        before: the given model's file, operator by operator.
        after: the file that is handed over.
        masks: what is left of each layer's kernels.
        curves: of the retrainings.
        steps: models on the way to the smallest one.
        sensitivity: of the layers to few bits.
        agreement: between the files, Keras and the runtimes.
        notes: layers that stayed whole, lowering, what is missing and why.
        device: what timed the operators, in words; "" where nothing did.
        commands: that make it again.
        versions: of the libraries that made the files; None for one that is not installed.
    """

    name: str
    task: str
    removed: float
    figures: tuple[Row, ...]
    memory: tuple[Row, ...] = ()
    verdict: Verdict | None = None
    stages: tuple[Fact, ...] = ()
    before: Profile | None = None
    after: Profile | None = None
    masks: tuple[MaskPicture, ...] = ()
    curves: tuple[Curve, ...] = ()
    steps: tuple[Step, ...] = ()
    sensitivity: tuple[Sensitivity, ...] = ()
    agreement: tuple[Fact, ...] = ()
    notes: tuple[Fact, ...] = ()
    device: str = ""
    commands: tuple[str, ...] = ()
    versions: Mapping[str, str | None] = field(default_factory=dict)
    format: int = field(default=FORMAT, init=False)

    @property
    def title(self) -> str:
        """What it is about, in a line."""
        return f"{self.name}: {100 * self.removed:.1f} % of the prunable weights removed"

    def to_json(self) -> str:
        """The report as JSON text; `from_json` reads it."""
        return json.dumps(to_plain(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The report of a JSON text.

        Raises:
            ValueError: not such a text; the message says where.
        """
        with reading("report of a run", cls, _ADVICE):
            return from_plain(cls, json.loads(text))
