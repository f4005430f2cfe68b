"""Latency on this machine, and the figures that do not depend on one."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tflite_export.runtime import (
    ModelDescription,
    TFLiteModel,
    arena_bytes,
    describe,
    make_interpreter,
    read_model,
    tflm_available,
)

_INPUT_SEED = 0
_ORDER_SEED = 0


@dataclass(frozen=True)
class BenchReport:
    """What a `.tflite` file costs.

    Attributes:
        latency_us: median time of one inference in LiteRT with XNNPACK, in microseconds.
        latency_us_p10: a tenth of the runs were at least as fast as this.
        latency_us_p90: a tenth of the runs were at least as slow as this.
        runs: number of timed runs.
        threads: number of CPU threads.
        size_bytes: size of the file.
        macs: multiply-accumulates of one inference.
        parameters: number of weights and biases.
        arena_bytes: tensor arena in TFLite Micro; None when it cannot run the model or is not installed.
        operators: operator names in the order in which they run.
    """

    latency_us: float
    latency_us_p10: float
    latency_us_p90: float
    runs: int
    threads: int
    size_bytes: int
    macs: int
    parameters: int
    arena_bytes: int | None
    operators: tuple[str, ...]


def benchmark(path: TFLiteModel, *, threads: int = 1, runs: int = 100, warmup: int = 10) -> BenchReport:
    """Measures one model.

    Args:
        path: the `.tflite` file, or its bytes.
        threads: number of CPU threads, 1 or more.
        runs: number of timed runs, 1 or more.
        warmup: number of runs before these, 0 or more.

    Returns:
        The figures.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: damaged file, a model that LiteRT cannot run, or a wrong argument.
    """
    return benchmark_together((path,), threads=threads, runs=runs, warmup=warmup)[0]


def benchmark_together(
    paths: Sequence[TFLiteModel], *, threads: int = 1, runs: int = 100, warmup: int = 10
) -> tuple[BenchReport, ...]:
    """Measures several models in turns, so that a drift of the machine's speed meets all of them.

    In every round each model runs once, in an order drawn anew, behind an untimed run of its own that
    brings its weights into the cache: who its neighbours are makes no difference.

    Args:
        paths: the `.tflite` files, or their bytes.
        threads: number of CPU threads, 1 or more.
        runs: number of timed runs of each model, 1 or more.
        warmup: number of rounds before these, 0 or more.

    Returns:
        One report a model, in the order of `paths`.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: damaged file, a model that LiteRT cannot run, or a wrong argument.
    """
    if isinstance(paths, str | bytes) or not paths:
        raise ValueError(f"paths must be a non-empty sequence of models. Received: {paths!r:.60}. Pass a list.")
    check_runs(runs, warmup)
    models = [read_model(path) for path in paths]
    latencies = latencies_us(models, threads=threads, runs=runs, warmup=warmup)
    return tuple(_report(model, latency, threads) for model, latency in zip(models, latencies, strict=True))


def check_runs(runs: int, warmup: int) -> None:
    """Refuse numbers of runs that time nothing.

    Raises:
        ValueError: no timed run, or a negative number of others.
    """
    if runs < 1 or warmup < 0:
        raise ValueError(f"runs must be at least 1 and warmup at least 0. Received: runs={runs}, warmup={warmup}.")


def latencies_us(models: Sequence[bytes], *, threads: int, runs: int, warmup: int) -> NDArray[np.float64]:
    """Times of several models in turns, see `benchmark_together`, in microseconds, shape (models, runs)."""
    return _time_in_turns([_prepared_call(model, threads) for model in models], runs, warmup)


def _prepared_call(model: bytes, threads: int) -> Callable[[], None]:
    """A call that runs one inference and nothing else, on inputs that are no special case."""
    interpreter = make_interpreter(model, threads=threads)
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


def _time_in_turns(calls: list[Callable[[], None]], runs: int, warmup: int) -> NDArray[np.float64]:
    """Microseconds, `(models, runs)`."""
    latencies = np.zeros((len(calls), runs))
    rng = np.random.default_rng(_ORDER_SEED)
    for round_ in range(-warmup, runs):
        for index in rng.permutation(len(calls)):
            calls[index]()
            start = time.perf_counter_ns()
            calls[index]()
            elapsed = time.perf_counter_ns() - start
            if round_ >= 0:
                latencies[index, round_] = elapsed / 1000
    return latencies


def _report(model: bytes, latencies: NDArray[np.float64], threads: int) -> BenchReport:
    description = describe(model)
    p10, median, p90 = np.percentile(latencies, (10, 50, 90))
    return BenchReport(
        latency_us=float(median),
        latency_us_p10=float(p10),
        latency_us_p90=float(p90),
        runs=len(latencies),
        threads=threads,
        size_bytes=description.size_bytes,
        macs=description.macs,
        parameters=description.parameters,
        arena_bytes=_arena(model, description),
        operators=tuple(operator.name for operator in description.operators),
    )


def _arena(model: bytes, description: ModelDescription) -> int | None:
    """Arena of a model that TFLite Micro can run: it is one figure of many, so no error without it."""
    if not tflm_available():
        return None
    try:
        return arena_bytes(model)
    except ValueError:
        return None
