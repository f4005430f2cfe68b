"""What a model would cost on an Arm Ethos-U NPU, as Arm's compiler Vela estimates it."""

import csv
import importlib.metadata
import importlib.util
import math
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tflite_export.child import environment
from tflite_export.file import TFLiteModel, open_file

ACCELERATORS = (
    "ethos-u55-32",
    "ethos-u55-64",
    "ethos-u55-128",
    "ethos-u55-256",
    "ethos-u65-256",
    "ethos-u65-512",
    "ethos-u85-128",
    "ethos-u85-256",
    "ethos-u85-512",
    "ethos-u85-1024",
    "ethos-u85-2048",
)
"""What Vela 5 takes as `--accelerator-config`: the NPU and its multiply-accumulates a cycle."""

_NPU_OPERATOR = "ethos-u"  # the custom operator into which Vela puts all that the NPU runs
_TIMEOUT_S = 300


@dataclass(frozen=True)
class NpuEstimate:
    """Vela's estimate for one model: a model of the hardware, not a measurement.

    Attributes:
        accelerator: the NPU, as in `ACCELERATORS`.
        system_config: the memories and clock that Vela assumed, its default for this NPU.
        memory_mode: which of these memories holds what, Vela's default for this NPU.
        clock_hz: clock of the NPU that Vela assumed.
        sram_bytes: SRAM for signals and weights on their way.
        dram_bytes: DRAM, where the system has some.
        flash_bytes: flash for the compressed weights and the NPU's commands.
        npu_cycles: cycles in which the NPU computes.
        total_cycles: with the waits for memory.
        inference_us: `total_cycles` at that clock; operators on the CPU are not in it.
        cpu_operators: operators that the NPU cannot run, with how often they occur; they stay on the CPU.
        vela_version: version of Vela.
    """

    accelerator: str
    system_config: str
    memory_mode: str
    clock_hz: float
    sram_bytes: int
    dram_bytes: int
    flash_bytes: int
    npu_cycles: int
    total_cycles: int
    inference_us: float
    cpu_operators: dict[str, int]
    vela_version: str


def vela_available() -> bool:
    """Whether Vela is installed (extra `tf-structprune[micro]`)."""
    return importlib.util.find_spec("ethosu") is not None and importlib.util.find_spec("ethosu.vela") is not None


def check_accelerator(name: str) -> str:
    """The name itself when Vela knows it.

    Raises:
        ValueError: it is none of `ACCELERATORS`.
    """
    if name not in ACCELERATORS:
        raise ValueError(f"Unknown NPU. Received: npu={name!r}. Use one of: {', '.join(ACCELERATORS)}.")
    return name


def estimate_npu(model: TFLiteModel, *, accelerator: str = "ethos-u55-128") -> NpuEstimate:
    """Compiles a copy of a model for an Ethos-U and reads what the compiler expects of it.

    Args:
        model: path of the file, or its bytes; operators with int8 signals can go to the NPU.
        accelerator: one of `ACCELERATORS`.

    Returns:
        The estimate.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: Vela is not installed.
        RuntimeError: Vela failed on the model, took more than five minutes or wrote no figures.
        ValueError: an unknown accelerator, or a damaged file.
    """
    check_accelerator(accelerator)
    if not vela_available():
        raise ImportError("Vela is not installed. Install it with: pip install 'tf-structprune[micro]'.")
    file = open_file(model)
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        (directory / "model.tflite").write_bytes(file.data)
        _run_vela(directory, accelerator)
        return _read_estimate(directory, accelerator)


def _run_vela(directory: Path, accelerator: str) -> None:
    command = [sys.executable, "-m", "ethosu.vela", "model.tflite", "--accelerator-config", accelerator]
    try:
        child = subprocess.run(
            [*command, "--output-dir", "."],
            cwd=directory, env=environment(), timeout=_TIMEOUT_S,
            capture_output=True, text=True, errors="replace", check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"Vela did not finish in {_TIMEOUT_S} s for {accelerator}. Try a smaller model.") from error
    if child.returncode:
        said = (child.stderr.strip() or child.stdout.strip() or "nothing").splitlines()[-1]
        raise RuntimeError(
            f"Vela cannot compile the model for {accelerator}. Received: exit status {child.returncode}, {said!r}."
        )


def _read_estimate(directory: Path, accelerator: str) -> NpuEstimate:
    try:
        (summary,) = directory.glob("model_summary_*.csv")
        with summary.open(newline="") as file:
            (row,) = csv.DictReader(file)
        return NpuEstimate(
            accelerator=accelerator,
            system_config=row["system_config"],
            memory_mode=row["memory_mode"],
            clock_hz=float(row["core_clock"]),
            sram_bytes=_bytes(row["sram_memory_used"]),
            dram_bytes=_bytes(row["dram_memory_used"]),
            flash_bytes=_bytes(row["on_chip_flash_memory_used"]) + _bytes(row["off_chip_flash_memory_used"]),
            npu_cycles=int(float(row["cycles_npu"])),
            total_cycles=int(float(row["cycles_total"])),
            inference_us=1e6 * float(row["inference_time"]),
            cpu_operators=_cpu_operators(directory / "model_vela.tflite"),
            vela_version=importlib.metadata.version("ethos-u-vela"),
        )
    except (OSError, ValueError, KeyError) as error:
        raise RuntimeError(
            f"Vela's summary cannot be read: {type(error).__name__}: {error}. Install the version of ethos-u-vela that "
            "tf-structprune[micro] names."
        ) from error


def _bytes(kibibytes: str) -> int:
    """Vela's summary has memory in KiB, with fractions."""
    return math.ceil(1024 * float(kibibytes))


def _cpu_operators(compiled: Path) -> dict[str, int]:
    counts = open_file(compiled).description.operator_counts
    return {name: count for name, count in counts.items() if name != _NPU_OPERATOR}
