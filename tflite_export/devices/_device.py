"""What times `.tflite` files: a value that is given to whoever decides by latency."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tflite_export.file import TFLiteFile
from tflite_export.runtime import litert_latencies_us


class Device(Protocol):
    """Where files run: this machine, a phone, an emulated microcontroller."""

    def latencies_us(self, files: Sequence[TFLiteFile], *, runs: int) -> NDArray[np.float64]:
        """Times several files in turns, so that a drift of the device's speed meets all of them.

        Args:
            files: what to run.
            runs: number of timed inferences of each file, 1 or more.

        Returns:
            Microseconds, shape (files, runs). Files are compared by the medians of their rows.

        Raises:
            ValueError: no run, or a file that the device cannot run.
        """


@dataclass(frozen=True)
class Host:
    """This machine: LiteRT with XNNPACK.

    In every round each file runs once, in an order drawn anew, behind an untimed run of its own that brings its
    weights into the cache: who its neighbours are makes no difference.

    Attributes:
        threads: number of CPU threads, 1 or more.
        warmup: number of untimed rounds before the timed ones, 0 or more.

    Raises:
        ValueError: a number out of its range.
    """

    threads: int = 1
    warmup: int = 10

    def __post_init__(self) -> None:
        if self.threads < 1 or self.warmup < 0:
            raise ValueError(
                f"threads must be at least 1 and warmup at least 0. Received: threads={self.threads}, "
                f"warmup={self.warmup}. Use Host() for one core."
            )

    def latencies_us(self, files: Sequence[TFLiteFile], *, runs: int) -> NDArray[np.float64]:
        """See `Device`; inputs are random."""
        if runs < 1:
            raise ValueError(f"runs must be at least 1. Received: runs={runs}. Use 100 for a steady median.")
        return litert_latencies_us(files, threads=self.threads, warmup=self.warmup, runs=runs)


HOST = Host()
"""This machine, one thread."""
