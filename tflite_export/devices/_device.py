"""What times `.tflite` files: a value that is given to whoever decides by latency."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tflite_export.devices._measurement import Measurement
from tflite_export.file import TFLiteFile


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


class MeasuringDevice(Device, Protocol):
    """A device that also tells where the time and the memory go."""

    @property
    def description(self) -> str:
        """What the figures are of, in a line: which machine, how many threads, whose kernels."""

    def measure(self, files: Sequence[TFLiteFile], *, runs: int, operators: bool = False) -> tuple[Measurement, ...]:
        """Measures several files in turns.

        Args:
            files: what to run.
            runs: number of timed rounds, 1 or more.
            operators: also what each operator takes, where the device can tell.

        Returns:
            One measurement a file, in their order.

        Raises:
            ValueError: no run, or a file that the device cannot run.
        """
