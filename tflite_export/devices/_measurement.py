"""What a device tells of a file that ran on it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tflite_export.file import ModelDescription


@dataclass(frozen=True)
class OperatorTime:
    """What one operator of a file takes.

    Attributes:
        name: what it is, as in "CONV_2D"; of what a delegate runs as one, the delegate's name.
        output: name of the tensor that it makes; "" where the device does not tell.
        us: microseconds of one run.
    """

    name: str
    output: str
    us: float


@dataclass(frozen=True)
class ProgramSize:
    """Bytes of flash of a linked program.

    Attributes:
        model: the array of the file.
        operators: what the kernels of its operators add to a program without any.
        runtime: that program: interpreter, allocator, planner, C library, startup.
    """

    model: int
    operators: int
    runtime: int

    @property
    def flash_bytes(self) -> int:
        """All together."""
        return self.model + self.operators + self.runtime


@dataclass(frozen=True)
class Measurement:
    """What a device measured of one file.

    Attributes:
        latencies_us: microseconds, one for each timed round, in order.
        operators: what each operator takes, in the order in which they run; empty where nobody asked, or the device
            cannot tell.
        init_us: microseconds from the bytes to the first inference; None where that was not measured.
        peak_bytes: most memory that the process held for it; None where that was not measured.
        arena_bytes: what TFLite Micro used of the tensor arena there; None elsewhere.
        stack_bytes: the deepest that the stack went on an emulated core; None elsewhere.
        instructions: of one inference on an emulated core, which has no clock; None elsewhere.
        program: flash of the program that ran there; None elsewhere.
        notes: what a reader must know, a sentence each: a clock that fell, rounds that were lost.
    """

    latencies_us: tuple[float, ...]
    operators: tuple[OperatorTime, ...] = ()
    init_us: float | None = None
    peak_bytes: int | None = None
    arena_bytes: int | None = None
    stack_bytes: int | None = None
    instructions: int | None = None
    program: ProgramSize | None = None
    notes: tuple[str, ...] = ()

    @property
    def median_us(self) -> float:
        """By which files are compared."""
        return float(np.median(self.latencies_us))

    def percentile_us(self, percent: float) -> float:
        """So many percent of the rounds were at least as fast as this."""
        return float(np.percentile(self.latencies_us, percent))


def operator_times(description: ModelDescription, medians_us: Sequence[float]) -> tuple[OperatorTime, ...]:
    """What each operator takes, from the times of a file's beginnings.

    A beginning takes what its operators take, those that a runtime merges or hides behind others too; where noise
    has one faster than a shorter one, the operators between share the time of the longer, so that no time is negative
    and all of them sum to the whole file's.

    Args:
        description: of the whole file.
        medians_us: of `file.beginnings`, in their order.

    Returns:
        One for each operator.
    """
    return named_times(description, np.diff(_rising(np.asarray(medians_us, float)), prepend=0.0).tolist())


def named_times(description: ModelDescription, times_us: Sequence[float]) -> tuple[OperatorTime, ...]:
    """What each operator takes, where its time is known.

    Args:
        description: of the file.
        times_us: of its operators, in the order in which they run.
    """
    names = (description.tensors[operator.outputs[0]].name for operator in description.operators)
    parts = zip(description.operators, names, times_us, strict=True)
    return tuple(OperatorTime(operator.name, name, us) for operator, name, us in parts)


def _rising(times: NDArray[np.float64]) -> NDArray[np.float64]:
    """The times with none above a later one, the last as it is."""
    return np.minimum.accumulate(times[::-1])[::-1]
