"""What a run of `compress` did and measured, as values, and as the JSON of `summary.json`.

A field with a `key` has another name in the JSON, in which stand the names of the scores, see `to_plain`.
"""

import json
from dataclasses import dataclass, field
from typing import Any, Self

from tf_structprune.allocation import Allocation
from tf_structprune.channels import Skipped
from tf_structprune.fixed_point import FixedPoint
from tf_structprune.masks import Demands
from tf_structprune.search import Metric
from tf_structprune.task import Interval
from tflite_export.bench import Multiplications, NpuEstimate
from tflite_export.compress._settings import CompressSettings
from tflite_export.compress._steps import StepFigures
from tflite_export.file import MEMORY_NOTE, MemoryTable
from tflite_export.verify import ExactAgreement, Verification
from tflite_export.write import from_plain, reading, same_value, to_plain

_ACCURACY = "accuracy"  # classifiers keep the keys that they had before there were other tasks
_SIDES, _KINDS = ("baseline", "compressed"), ("float", "int8")


@dataclass(frozen=True)
class ModelFigures:
    """What one model costs and how good it is.

    Attributes:
        score_float: of the Keras model on the test data, told as the report's `figure`.
        score_int8: of the integer file on the test data; of the float file where there is no other.
        parameters: weights and biases of the Keras model.
        macs: multiply-accumulates of one inference.
        float32_bytes: size of the float file.
        int8_bytes: size of the integer file.
        latency_us_float32: median latency of the float file.
        latency_us_int8: median latency of the integer file.
        arena_bytes: tensor arena of the integer file in TFLite Micro; None when that did not run.
    """

    score_float: float
    score_int8: float
    parameters: int
    macs: int
    float32_bytes: int
    int8_bytes: int
    latency_us_float32: float
    latency_us_int8: float
    arena_bytes: int | None


@dataclass(frozen=True)
class PruningFigures:
    """What became of one stage of pruning; scores are of the validation data, told as the report's `metric`.

    Attributes:
        granularity: what was pruned.
        demands: what its masks had to be like.
        search: name of the selector.
        sparsity: fraction of the prunable weights that is gone after it.
        before: score before retraining.
        after: score after retraining.
        accepted: whether that is within the tolerance; if not, the stage was undone.
        allocation: how many maps each group was left, where a budget was asked for.
        interval: as for `ValidationFigures`, of the model that was retrained.
        layers: what went whole, in order: convolutions, and the sums of residual blocks; None where nothing could.
    """

    granularity: str
    demands: Demands | None
    search: str
    sparsity: float
    before: float = field(metadata={"key": "{metric}_before_retraining"})
    after: float = field(metadata={"key": "{metric}_after_retraining"})
    accepted: bool
    allocation: Allocation | None
    interval: Interval | None = None
    layers: tuple[str, ...] | None = None


@dataclass(frozen=True)
class PackedFigures:
    """A file with packed weights.

    Attributes:
        size_bytes: its size.
        arena_bytes: its tensor arena in TFLite Micro; None when that did not run.
    """

    size_bytes: int = field(metadata={"key": "bytes"})
    arena_bytes: int | None


@dataclass(frozen=True)
class FixedPointFigures:
    """What became of the recipe; scores as for `PruningFigures`.

    Attributes:
        recipe: word lengths of weights and signals.
        before: score before retraining.
        after: score after retraining.
        accepted: whether that is within the tolerance; if not, the integer file is TensorFlow's int8.
        int4: the file with two weights in a byte, or None.
        lut: the file with weights as indices into tables, or None.
        lut_reason: why there is none; None with one.
        interval: as for `PruningFigures`.
    """

    recipe: FixedPoint
    before: float = field(metadata={"key": "{metric}_before_retraining"})
    after: float = field(metadata={"key": "{metric}_after_retraining"})
    accepted: bool
    int4: PackedFigures | None
    lut: PackedFigures | None
    lut_reason: str | None
    interval: Interval | None = None


@dataclass(frozen=True)
class AttemptFigures:
    """One way in which the integer file was made; the last one that could be verified with the best score was taken.

    Attributes:
        name: what was done.
        value: validation score of the file, told as the report's `metric`; None without one.
        reason: why there is none; None with one.
    """

    name: str
    value: float | None = field(metadata={"key": "{metric}"})
    reason: str | None


@dataclass(frozen=True)
class ValidationFigures:
    """Scores of the validation data, told as the report's `metric`.

    Attributes:
        dense_float: of the dense Keras model.
        compressed_float: of the compressed Keras model.
        dense_int8: of the dense model's integer file.
        compressed_int8: of the compressed model's integer file.
        int8_within_tolerance: whether the compressed model's integer file is within the tolerance of the given model.
        interval: the 95 % confidence interval of its loss of score against the given model, in units of the score;
            None where samples have no score by themselves.
        samples_to_tell: with how many samples the interval would be as narrow as the tolerance on either side.
        attempts: how the integer file was made; several where the usual way lost too much.
    """

    dense_float: float = field(metadata={"key": "{metric}_dense_float"})
    compressed_float: float = field(metadata={"key": "{metric}_compressed_float"})
    dense_int8: float = field(metadata={"key": "{metric}_dense_int8"})
    compressed_int8: float = field(metadata={"key": "{metric}_compressed_int8"})
    int8_within_tolerance: bool
    interval: Interval | None = None
    samples_to_tell: int | None = None
    attempts: tuple[AttemptFigures, ...] = ()


@dataclass(frozen=True)
class MemoryFigures:
    """Flash and RAM of the integer files, None without one.

    Attributes:
        note: what the figures are.
        baseline: of the dense model.
        compressed: of the compressed model.
    """

    note: str = field(default=MEMORY_NOTE, kw_only=True)
    baseline: MemoryTable | None
    compressed: MemoryTable | None


@dataclass(frozen=True)
class NpuFigures:
    """Vela's estimates of the integer files.

    Attributes:
        baseline: of the dense model, or None.
        compressed: of the compressed model, or None.
        reason: why one is missing.
    """

    baseline: NpuEstimate | None
    compressed: NpuEstimate | None
    reason: str | None


@dataclass(frozen=True)
class CompressReport:
    """What a run did and measured.

    Attributes:
        baseline: figures of the dense model, on the test data.
        compressed: the same of the compressed model.
        task: what the model is for, in words.
        figure: how scores of the test data are told.
        metric: how scores of the validation data are told.
        sparsity: fraction of the prunable weights that is gone.
        tolerance: the one of the settings.
        seed: the one of the settings.
        stages: the stages of pruning, in order.
        skipped_layers: what stayed whole, and why.
        settings: what was asked for, with the epochs and the batch that were used.
        fixed_point: what became of the recipe; None where none was asked for.
        validation: scores of the validation data.
        memory: flash and RAM of the integer files.
        micro_reason: why there are no files for microcontrollers; None with them.
        bundle_notes: operators that the libraries of the ecosystems lack which projects were written for, in sentences.
        npu: Vela's estimates of them.
        lowered: what became of each layer with masked-out work, by file, in words.
        steps: to the smallest model, the given model first; none where that was not asked for.
        packed: the integer file with packed weights, for TFLite Micro alone; None without one.
        packing: what packing takes and saves, or why there is no such file; None where it was not asked for.
        device: what the latencies are of, in a line; "" where that is not known.
        multiplications: modelled work of the layers with removed kernels; None where there are none.
        verification: agreement of the compressed model's files with Keras and of the runtimes with each other.
        exact: by integer file, on how many values the runtimes differ.
        versions: version of each library that made the files; None for one that is not installed.
    """

    baseline: ModelFigures
    compressed: ModelFigures
    task: str
    figure: Metric
    metric: Metric
    sparsity: float
    tolerance: float | str = field(init=False)
    seed: int = field(init=False)
    stages: tuple[PruningFigures, ...]
    skipped_layers: tuple[Skipped, ...]
    settings: CompressSettings
    fixed_point: FixedPointFigures | None
    validation: ValidationFigures
    memory: MemoryFigures
    micro_reason: str | None
    bundle_notes: tuple[str, ...] = field(default=(), kw_only=True)
    npu: NpuFigures
    lowered: tuple[str, ...]
    steps: tuple[StepFigures, ...] = field(default=(), kw_only=True)
    packed: PackedFigures | None = field(default=None, kw_only=True)
    packing: str | None = field(default=None, kw_only=True)
    device: str = field(default="", kw_only=True)
    multiplications: Multiplications | None
    verification: Verification
    exact: dict[str, ExactAgreement]
    versions: dict[str, str | None]

    def __post_init__(self) -> None:
        object.__setattr__(self, "tolerance", self.settings.tolerance)
        object.__setattr__(self, "seed", self.settings.seed)

    def to_json(self) -> str:
        """The report as JSON text, with the name of the metric in its keys; `from_json` reads it.

        Classifiers have `accuracy_float` and `accuracy_int8` beside `score_float` and `score_int8`.
        """
        values = to_plain(self, {"metric": self.metric.key})
        if self.figure.key == _ACCURACY:
            for side in _SIDES:
                beside = {f"{_ACCURACY}_{kind}": values[side][f"score_{kind}"] for kind in _KINDS}
                values[side] = beside | values[side]
        return json.dumps(values, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The report of a JSON text.

        Raises:
            ValueError: not such a text; the message says where.
        """
        with reading("report of compress", cls):
            values = json.loads(text)
            metric, figure = (from_plain(Metric, values[name]) for name in ("metric", "figure"))
            if figure.key == _ACCURACY:
                values |= {side: _without_accuracies(values[side], side) for side in _SIDES}
            return from_plain(cls, values, {"metric": metric.key})


def _without_accuracies(values: dict[str, Any], side: str) -> dict[str, Any]:
    """The figures of a model without those that stand there twice, which must say the same."""
    for kind in _KINDS:
        accuracy, score = values[f"{_ACCURACY}_{kind}"], values[f"score_{kind}"]
        if not same_value(accuracy, score):
            raise ValueError(f"{side}.{_ACCURACY}_{kind} must be {score!r}. Received: {accuracy!r}.")
    return {key: value for key, value in values.items() if not key.startswith(f"{_ACCURACY}_")}
