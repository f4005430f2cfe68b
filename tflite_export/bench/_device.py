"""What times `.tflite` files: a value that is given to whoever decides by latency."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tflite_export.file import TFLiteFile
from tflite_export.runtime import make_interpreter

_INPUT_SEED = 0
_ORDER_SEED = 0


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
        calls = [_prepared_call(file, self.threads) for file in files]
        latencies = np.zeros((len(calls), runs))
        rng = np.random.default_rng(_ORDER_SEED)
        for round_ in range(-self.warmup, runs):
            for index in rng.permutation(len(calls)):
                calls[index]()
                start = time.perf_counter_ns()
                calls[index]()
                elapsed = time.perf_counter_ns() - start
                if round_ >= 0:
                    latencies[index, round_] = elapsed / 1000
        return latencies


HOST = Host()
"""This machine, one thread."""


def _prepared_call(file: TFLiteFile, threads: int) -> Callable[[], None]:
    """A call that runs one inference and nothing else, on inputs that are no special case."""
    interpreter = make_interpreter(file, threads=threads)
    rng = np.random.default_rng(_INPUT_SEED)
    for tensor in interpreter.get_input_details():
        interpreter.set_tensor(tensor["index"], _random_input(tensor, rng))
    invoke: Callable[[], None] = interpreter.invoke
    return invoke


def _random_input(tensor: dict[str, Any], rng: np.random.Generator) -> NDArray[Any]:
    dtype = np.dtype(tensor["dtype"])
    shape = tuple(int(size) for size in tensor["shape"])
    if dtype in (np.int8, np.uint8):
        # Every bit pattern is a value.
        return np.frombuffer(rng.bytes(math.prod(shape)), dtype).reshape(shape)
    # Wider integers may be indices: 0, what the cast makes of these, is in every range.
    return rng.random(shape).astype(dtype)
