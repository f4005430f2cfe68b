"""This machine as a device."""

import itertools
import platform
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tflite_export.devices._measurement import Measurement, OperatorTime, operator_times
from tflite_export.file import TFLiteFile, beginnings
from tflite_export.runtime import litert_latencies_us

_MOST_THREADS = 1024


@dataclass(frozen=True)
class Host:
    """This machine: LiteRT with XNNPACK, in a child process.

    In every round each file runs once, in an order drawn anew, behind an untimed run of its own that brings its
    weights into the cache: who its neighbours are makes no difference.

    Attributes:
        threads: number of CPU threads, 1 to 1,024: LiteRT dies of more than the system gives.
        warmup: number of untimed rounds before the timed ones, 0 or more.

    Raises:
        ValueError: a number out of its range.
    """

    threads: int = 1
    warmup: int = 10

    def __post_init__(self) -> None:
        if not 1 <= self.threads <= _MOST_THREADS or self.warmup < 0:
            raise ValueError(
                f"threads must be from 1 to {_MOST_THREADS:,} and warmup at least 0. Received: threads={self.threads}, "
                f"warmup={self.warmup}. Use Host() for one core."
            )

    @property
    def description(self) -> str:
        """See `MeasuringDevice`."""
        threads = "one thread" if self.threads == 1 else f"{self.threads} threads"
        return f"this machine ({platform.system()}, {platform.machine()}), LiteRT with XNNPACK, {threads}"

    def latencies_us(self, files: Sequence[TFLiteFile], *, runs: int) -> NDArray[np.float64]:
        """See `Device`; inputs are random."""
        if runs < 1:
            raise ValueError(f"runs must be at least 1. Received: runs={runs}. Use 100 for a steady median.")
        return litert_latencies_us(files, threads=self.threads, warmup=self.warmup, runs=runs)

    def measure(self, files: Sequence[TFLiteFile], *, runs: int, operators: bool = False) -> tuple[Measurement, ...]:
        """See `MeasuringDevice`; LiteRT's Python has no profiler, so operators are told by growing beginnings."""
        rows = self.latencies_us(files, runs=runs)
        times = self._operators(files, runs) if operators else [()] * len(files)
        return tuple(Measurement(tuple(row), found) for row, found in zip(rows.tolist(), times, strict=True))

    def _operators(self, files: Sequence[TFLiteFile], runs: int) -> list[tuple[OperatorTime, ...]]:
        """Of all files in turns, so that a machine that slows down meets all of them."""
        parts = [beginnings(file) for file in files]
        medians = np.median(self.latencies_us(tuple(itertools.chain(*parts)), runs=runs), axis=1).tolist()
        each = [list(itertools.islice(rest, len(part))) for rest in [iter(medians)] for part in parts]
        return [operator_times(file.description, times) for file, times in zip(files, each, strict=True)]


HOST = Host()
"""This machine, one thread."""
