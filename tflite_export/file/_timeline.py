"""Which operator of a `.tflite` file needs how much memory for signals."""

from dataclasses import dataclass

from tflite_export.file._activations import live_signals, size_bytes
from tflite_export.file._describe import ModelDescription


@dataclass(frozen=True)
class MemoryStep:
    """One operator, while it runs.

    Attributes:
        operator: its name, such as "CONV_2D".
        output: name of the tensor that it makes, "" in a file without names.
        live_bytes: bytes of the signals that are alive then, see `activation_peak_bytes`.
    """

    operator: str
    output: str
    live_bytes: int


@dataclass(frozen=True)
class MemoryTimeline:
    """The memory for signals over one inference, computed from their lifetimes, not measured.

    Attributes:
        steps: the operators, in the order in which they run.
    """

    steps: tuple[MemoryStep, ...]

    @property
    def peak(self) -> int | None:
        """Place of the operator that sets the peak, the first of several; None without operators."""
        places = range(len(self.steps))
        return max(places, key=lambda at: self.steps[at].live_bytes) if self.steps else None

    @property
    def peak_bytes(self) -> int:
        """The most that is alive at once; 0 without operators."""
        return 0 if self.peak is None else self.steps[self.peak].live_bytes


def memory_timeline(description: ModelDescription) -> MemoryTimeline:
    """The memory for signals, operator by operator.

    Args:
        description: the model.

    Raises:
        ValueError: a signal of a type without a fixed size, such as a string.
    """
    tensors = description.tensors
    alive = live_signals(description)
    return MemoryTimeline(
        tuple(
            MemoryStep(
                operator.name,
                tensors[operator.outputs[0]].name if operator.outputs else "",
                sum(size_bytes(tensors[index]) for index in signals),
            )
            for operator, signals in zip(description.operators, alive, strict=True)
        )
    )
