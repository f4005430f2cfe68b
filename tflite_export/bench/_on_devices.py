"""What files take on one device or several, as a value that is written and read."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from absl import logging

from tflite_export.devices import DeviceError, Measurement, MeasuringDevice, OperatorTime, ProgramSize, Qemu
from tflite_export.file import TFLiteFile, TFLiteModel, open_file
from tflite_export.write import from_plain, reading, to_plain


@dataclass(frozen=True)
class DeviceFigures:
    """One file on one device.

    Attributes:
        file: what it is called.
        device: what the figures are of, in a line.
        size_bytes: size of the file.
        macs: multiply-accumulates of one inference.
        latency_us: median of the rounds, in microseconds.
        latency_us_p10: a tenth of the rounds were at least as fast as this.
        latency_us_p90: a tenth of the rounds were at least as slow as this.
        rounds: number of timed rounds.
        init_us: as in `Measurement`, and so are all that follow.
        peak_bytes: most memory that the process held for it.
        arena_bytes: of an emulated core.
        stack_bytes: of an emulated core.
        instructions: of an emulated core.
        program: of an emulated core.
        operators: what each operator takes.
        notes: what a reader must know.
    """

    file: str
    device: str
    size_bytes: int
    macs: int
    latency_us: float
    latency_us_p10: float
    latency_us_p90: float
    rounds: int
    init_us: float | None
    peak_bytes: int | None
    arena_bytes: int | None
    stack_bytes: int | None
    instructions: int | None
    program: ProgramSize | None
    operators: tuple[OperatorTime, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class DevicesReport:
    """What several files take on several devices.

    Attributes:
        figures: device by device, of each the files in their order.
        failed: why a device gave nothing, or was not given a file, a sentence each; the figures of the others stand.
    """

    figures: tuple[DeviceFigures, ...]
    failed: tuple[str, ...] = ()

    def to_json(self) -> str:
        """The report as JSON text; `from_json` reads it."""
        return json.dumps(to_plain(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The report of a JSON text.

        Raises:
            ValueError: not such a text; the message says where.
        """
        with reading("report of benchmark", cls):
            return from_plain(cls, json.loads(text))


def measure_on(
    devices: Sequence[MeasuringDevice], paths: Sequence[TFLiteModel], *, runs: int = 100, operators: bool = False
) -> DevicesReport:
    """Measures files, in turns on each device, on one device after the other.

    Files with packed weights are for TFLite Micro alone: only an emulated microcontroller is given them.

    Args:
        devices: where.
        paths: the `.tflite` files, or their bytes.
        runs: number of timed inferences of each file, 1 or more.
        operators: also what each operator takes.

    Returns:
        All figures. A device that is lost or fails leaves its reason there, and the next one is measured.

    Raises:
        DeviceError: no device gave anything.
        FileNotFoundError: a file is missing.
        ValueError: a damaged file, one that a device cannot run, or a wrong argument.
    """
    files = [open_file(path) for path in paths]
    figures, failed = list[DeviceFigures](), list[str]()
    for number, device in enumerate(devices, 1):
        mine, left_out = _runnable(files, device)
        try:
            found = device.measure(mine, runs=runs, operators=operators)
        except (DeviceError, ValueError) as error:
            if number == len(devices) and not figures:
                raise
            logging.warning("%s", error)
            failed.append(str(error))
            continue
        told = device.description
        figures += [_figures(file, told, each) for file, each in zip(mine, found, strict=True)]
        failed += left_out
    return DevicesReport(tuple(figures), tuple(dict.fromkeys(failed)))


def _runnable(files: Sequence[TFLiteFile], device: MeasuringDevice) -> tuple[list[TFLiteFile], list[str]]:
    """The files that a device can run, and why it is not given the others.

    Raises:
        ValueError: it can run none.
    """
    packed = [] if isinstance(device, Qemu) else [file for file in files if file.description.packed]
    told = [
        f"{file.name} has packed weights, for TFLite Micro alone: it was left out. Use --device qemu."
        for file in packed
    ]
    if files and len(packed) == len(files):
        raise ValueError(
            f"Packed weights are for TFLite Micro alone. Received: {', '.join(file.name for file in packed)}. Use "
            "--device qemu, or the files without _packed in their names."
        )
    return [file for file in files if file not in packed], told


def _figures(file: TFLiteFile, device: str, found: Measurement) -> DeviceFigures:
    return DeviceFigures(
        file=file.name.strip("'"),
        device=device,
        size_bytes=file.description.size_bytes,
        macs=file.description.macs,
        latency_us=found.median_us,
        latency_us_p10=found.percentile_us(10),
        latency_us_p90=found.percentile_us(90),
        rounds=len(found.latencies_us),
        init_us=found.init_us,
        peak_bytes=found.peak_bytes,
        arena_bytes=found.arena_bytes,
        stack_bytes=found.stack_bytes,
        instructions=found.instructions,
        program=found.program,
        operators=found.operators,
        notes=found.notes,
    )
