"""What TFLite's benchmark tool reports: its result file, its log, and its table of operators."""

import functools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory

from tflite_export.devices._measurement import OperatorTime

_NUMBER = r"([\d.]+(?:e[+-]?\d+)?)"
_FIELDS = {
    "LatencyMetrics": {"avg_ms": 1, "median_ms": 5, "init_ms": 8},
    "MemoryMetrics": {"overall_footprint_kb": 2},
}
"""Of `tflite.tools.benchmark.BenchmarkResult` (tflite/tools/benchmark/proto/benchmark_result.proto), what is read."""


@dataclass(frozen=True)
class ToolResult:
    """What one run of the tool says of a file.

    Attributes:
        median_us: median of its timed inferences; their mean where the tool is too old to tell a median.
        init_us: until the first inference could begin.
        peak_bytes: by how much the process grew; None where that is not told.
    """

    median_us: float
    init_us: float | None
    peak_bytes: int | None


def result_of(file: bytes | None, log: str) -> ToolResult | None:
    """The result of a run, from its result file, or from its log where the tool is too old to write one.

    Args:
        file: what it wrote under `--result_file_path`; None without a file.
        log: what it printed.

    Returns:
        None where neither has one.
    """
    return (_of_file(file) if file else None) or _of_log(log)


def unknown_flags(log: str) -> str:
    """The flags that the tool did not know and left aside, "" for none."""
    found = re.search(r"Unconsumed cmdline flags: (.*)", log)
    return found[1] if found else ""


def operators_of(table: str) -> tuple[OperatorTime, ...]:
    """What each operator takes, from the tool's profile, as CSV or as it is printed.

    Where a delegate runs a part and tells what its own operators take, they stand in the place of that part.

    Args:
        table: all of the profile, or of the log that it is in.

    Returns:
        In the order in which they run; none where the profile has no such table.
    """
    regular = table.rpartition("Operator-wise Profiling Info")[2]
    outer, _, inner = regular.partition("Delegate internal:")
    operators, inside = _run_order(outer), _run_order(inner)
    parts = [index for index, each in enumerate(operators) if "delegate" in each.name.lower()]
    if inside and len(parts) == 1:
        operators[parts[0] : parts[0] + 1] = inside
    return tuple(operators)


def _of_file(data: bytes) -> ToolResult | None:
    found = _result_class()()
    try:
        found.ParseFromString(data)
    except message.DecodeError:
        return None
    latency = found.latency_metrics
    median_us = _us(latency.median_ms or latency.avg_ms)
    init_us = _us(latency.init_ms) or None
    kb = found.memory_metrics.overall_footprint_kb
    return ToolResult(median_us, init_us, 1024 * kb or None) if 0 < median_us < math.inf else None


def _us(ms: float) -> float:
    """Microseconds, without the digits that a float of 32 bits does not have; none where it is no number."""
    return round(1000 * ms, 1) if math.isfinite(ms) else 0.0


@functools.cache
def _result_class() -> Any:
    """The message `BenchmarkResult`, with the fields that are read."""
    file = descriptor_pb2.FileDescriptorProto(name="benchmark_result.proto", package="tf_structprune", syntax="proto2")
    kinds = {"overall_footprint_kb": "TYPE_INT64"}
    for name, numbers in _FIELDS.items():
        part = file.message_type.add(name=name)
        for field, number in numbers.items():
            _add_field(part, field, number, type=kinds.get(field, "TYPE_FLOAT"))
    whole = file.message_type.add(name="BenchmarkResult")
    for number, (field, name) in enumerate(
        {"latency_metrics": "LatencyMetrics", "memory_metrics": "MemoryMetrics"}.items(), 2
    ):
        _add_field(whole, field, number, type="TYPE_MESSAGE", type_name=f".tf_structprune.{name}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tf_structprune.BenchmarkResult"))


def _add_field(part: Any, name: str, number: int, *, type: str, **more: str) -> None:
    kinds = descriptor_pb2.FieldDescriptorProto
    part.field.add(name=name, number=number, type=kinds.Type.Value(type), label=kinds.LABEL_OPTIONAL, **more)


def _of_log(log: str) -> ToolResult | None:
    timings = re.search(rf"Inference timings in us: Init: {_NUMBER},.*Inference \(avg\): {_NUMBER}", log)
    if timings is None:
        return None
    medians = re.findall(rf"count=.*\bmedian={_NUMBER}", log)
    memory = re.search(rf"Memory footprint delta .*overall={_NUMBER}", log)
    median_us = float(medians[-1] if medians else timings[2])
    return ToolResult(median_us, float(timings[1]), int(2**20 * float(memory[1])) if memory else None)


def _run_order(text: str) -> list[OperatorTime]:
    """The rows of the table "Run Order", whose columns differ from version to version and have names."""
    lines = iter(text.partition(" Run Order ")[2].splitlines()[1:])
    names = _cells(next(lines, ""))
    rows = []
    for line in lines:
        if not line.strip() or line.startswith("==="):
            break
        cells = _cells(line)
        if (more := len(cells) - len(names)) > 0:  # kinds of a delegate have commas: Convolution (NHWC, QC8)
            cells = [", ".join(cells[: more + 1]), *cells[more + 1 :]]
        if len(cells) == len(names):
            rows.append(_operator(dict(zip(names, cells, strict=True))))
    return [row for row in rows if row is not None]


def _cells(line: str) -> Sequence[str]:
    """The cells of a row, which printed tables begin with a tabulator; names of columns as both forms have them."""
    parts = line[1:].split("\t") if line.startswith("\t") else line.split(",")
    return [part.strip().strip("[]").replace("avg_ms", "avg ms") for part in parts]


def _operator(row: Mapping[str, str]) -> OperatorTime | None:
    name = next((row[key] for key in ("name", "Name") if key in row), "")
    try:
        us = 1000 * float(row.get("avg ms", ""))
    except ValueError:
        return None
    output = re.sub(r"\]?:\d+$", "", name).lstrip("[")
    return OperatorTime(row.get("node type", name), output, us)
