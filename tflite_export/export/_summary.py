"""What an export wrote and measured, ready for JSON."""

import hashlib
import importlib.metadata
import json
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tflite_export.bench import (
    LayerMultiplications,
    NpuEstimate,
    estimate_npu,
    multiplications_section,
)
from tflite_export.file import MemoryTable, TFLiteFile, memory_table
from tflite_export.pack import CODE_SIZES, CodeSize, stand_in
from tflite_export.runtime import arena_bytes, tflm_available
from tflite_export.verify import ExactAgreement, Verification
from tflite_export.write import from_plain, reading, to_plain

_PACKAGES = {
    "tensorflow": "tensorflow",
    "keras": "keras",
    "ai_edge_litert": "ai-edge-litert",
    "tflite_micro": "tflite-micro",
    "ethos_u_vela": "ethos-u-vela",
    "numpy": "numpy",
}


@dataclass(frozen=True)
class Written:
    """A `.tflite` file and where it was written."""

    path: Path
    file: TFLiteFile


def written(path: Path, file: TFLiteFile) -> Written:
    """Write a file."""
    path.write_bytes(file.data)
    return Written(path, file)


@dataclass(frozen=True)
class FileSummary:
    """One exported `.tflite` file.

    Attributes:
        file: its name within the output directory.
        size_bytes: its size.
        sha256: hash of its bytes, in hexadecimal.
        macs: multiply-accumulates of one inference.
        parameters: number of weights and biases.
        arena_bytes: tensor arena in TFLite Micro; None when that did not run.
        operators: how often each operator occurs.
        memory: what the file takes of flash and RAM, and for what.
        code: what the operator that decodes packed weights adds to the code on a microcontroller; None without one.
    """

    file: str
    size_bytes: int
    sha256: str
    macs: int
    parameters: int
    arena_bytes: int | None
    operators: dict[str, int]
    memory: MemoryTable
    code: CodeSize | None

    @property
    def flash_bytes(self) -> int:
        """The file, and the code of the operator that decodes its weights where it is built for size."""
        return self.size_bytes + (0 if self.code is None else self.code.least_bytes)


@dataclass(frozen=True)
class ExportSummary:
    """What an export wrote and measured.

    Attributes:
        directory: where the files are.
        quantize: number format beside float32: "int8", "int16x8", "fixed", "float16", "dynamic" or "none".
        representative_samples: number of samples that calibrated the int8 file; 0 without one.
        float32: the float file.
        int8: the full-integer file, also with signals of 16 bits, or None.
        int4: the fixed-point file with packed weights, or None.
        lut: the fixed-point file with weights as indices into tables, for TFLite Micro alone, or None.
        lut_reason: why there is none; None with one.
        packed: the integer file with packed weights, for TFLite Micro alone, or None.
        packing: what packing takes and saves, or why there is no such file; None where it was not asked for.
        micro_reason: why there is no bundle for microcontrollers, and TFLite Micro did not run; None with one.
        bundle_notes: operators that the libraries of the ecosystems lack which projects were written for, in sentences.
        reduced: the file with float16 or int8 weights that takes and gives floats, for phones, or None.
        io: what integer files take and give.
        npu: Vela's estimate of the int8 file on an Ethos-U, or None.
        npu_reason: why there is no estimate; None with one.
        lowered: what became of each layer with masked-out work, by file, in words.
        multiplications: modelled, not measured work of the layers with removed kernels, see
            `bench.count_multiplications`; empty where there are none.
        verification: agreement of the files with Keras and of the runtimes with each other.
        exact: by integer file, on how many values the runtimes differ.
        versions: version of each library that made the files; None for one that is not installed.
    """

    directory: str
    quantize: str
    representative_samples: int
    float32: FileSummary
    int8: FileSummary | None
    int4: FileSummary | None
    lut: FileSummary | None
    lut_reason: str | None
    packed: FileSummary | None
    packing: str | None
    micro_reason: str | None
    bundle_notes: tuple[str, ...]
    reduced: FileSummary | None
    io: str
    npu: NpuEstimate | None
    npu_reason: str | None
    lowered: tuple[str, ...]
    multiplications: tuple[LayerMultiplications, ...]
    verification: Verification
    exact: dict[str, ExactAgreement]
    versions: dict[str, str | None]

    def __str__(self) -> str:
        """The files and their figures as a table, and how well they agree with Keras."""
        rows = [("file", "bytes", "parameters", "MACs", "TFLM arena (bytes)")]
        for file in (self.float32, self.reduced, self.int8, self.int4, self.lut, self.packed):
            if file is not None:
                arena = "not measured" if file.arena_bytes is None else f"{file.arena_bytes:,}"
                rows.append((file.file, f"{file.size_bytes:,}", f"{file.parameters:,}", f"{file.macs:,}", arena))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(map(str.rjust, row, widths)) for row in rows]
        found = self.verification
        told = f"Float file against Keras: relative error {found.float_error:.2g} on {found.samples:,} samples."
        second = "Integer" if self.reduced is None else "Second"
        if found.int8_top1 is not None:
            told += f" {second} file: the same decision on {100 * found.int8_top1:.1f} %."
        elif found.int8_error is not None:
            told += f" {second} file: error {100 * found.int8_error:.2g} % of the range."
        told += "" if self.packing is None else f"\n{self.packing}"
        return "\n".join([f"Written to {self.directory}", *lines, told, *self.bundle_notes])

    def to_dict(self) -> dict[str, Any]:
        """The summary as nested dicts of plain values, ready for `json.dumps`."""
        values: dict[str, Any] = to_plain(self)
        return values | {"multiplications": to_plain(multiplications_section(self.multiplications))}

    def to_json(self) -> str:
        """The summary as JSON text, as in `summary.json`; `from_json` reads it."""
        return json.dumps(self.to_dict(), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The summary of a JSON text.

        Raises:
            ValueError: not such a text; the message says where.
        """
        with reading("summary of an export", cls):
            values = json.loads(text)
            section = values["multiplications"]
            return from_plain(cls, values | {"multiplications": [] if section is None else section["layers"]})


def summarize_file(given: Written, *, micro: bool) -> FileSummary:
    """Reads the figures of an exported file.

    Args:
        given: the file.
        micro: run it in TFLite Micro, when installed, for its arena.

    Returns:
        The figures.

    Raises:
        ValueError: TFLite Micro cannot run the file.
    """
    file = given.file
    arena = arena_bytes(stand_in(file)) if micro and tflm_available() else None
    decoders = [CODE_SIZES[name] for name in file.description.operator_names if name in CODE_SIZES]
    return FileSummary(
        file=given.path.name,
        size_bytes=len(file.data),
        sha256=hashlib.sha256(file.data).hexdigest(),
        macs=file.description.macs,
        parameters=file.description.parameters,
        arena_bytes=arena,
        operators=file.description.operator_counts,
        memory=memory_table(file, tflm_arena_bytes=arena),
        code=decoders[0] if decoders else None,
    )


def summarize_npu(file: TFLiteFile | None, accelerator: str | None) -> tuple[NpuEstimate | None, str | None]:
    """Vela's estimate of an integer file, or why there is none: it is one figure of many, so no error without it.

    Args:
        file: the integer file; None when there is no integer file.
        accelerator: the Ethos-U, checked; None when nobody asked.

    Returns:
        The estimate and None, or None and the reason in words.
    """
    if accelerator is None:
        return None, "It was not asked for (npu=None)."
    if file is None:
        return None, "There is no int8 file, and an Ethos-U runs no other."
    try:
        return estimate_npu(file, accelerator=accelerator), None
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        return None, str(error)


def runtime_versions() -> dict[str, str | None]:
    """Versions of Python and of the libraries that decide what an export writes; None if not installed."""
    return {"python": platform.python_version()} | {name: _version(package) for name, package in _PACKAGES.items()}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
