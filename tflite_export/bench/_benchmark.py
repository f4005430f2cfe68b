"""Latency on this machine, and the figures that do not depend on one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tflite_export.devices import Host
from tflite_export.file import TFLiteFile, TFLiteModel, open_file
from tflite_export.runtime import arena_bytes, tflm_available


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
    """Measures several models in turns on this machine, see `Host`.

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
    host = Host(threads, warmup)
    files = [open_file(path) for path in paths]
    latencies = host.latencies_us(files, runs=runs)
    return tuple(_report(file, latency, threads) for file, latency in zip(files, latencies, strict=True))


def _report(file: TFLiteFile, latencies: NDArray[np.float64], threads: int) -> BenchReport:
    description = file.description
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
        arena_bytes=_arena(file),
        operators=tuple(operator.name for operator in description.operators),
    )


def _arena(file: TFLiteFile) -> int | None:
    """Arena of a model that TFLite Micro can run: it is one figure of many, so no error without it."""
    if not tflm_available():
        return None
    try:
        return arena_bytes(file)
    except ValueError:
        return None
