"""An emulated microcontroller as a device."""

import functools
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tflite_export.devices._cortex import BOARDS
from tflite_export.devices._measurement import Measurement, named_times
from tflite_export.devices._program import Toolchain
from tflite_export.file import TFLiteFile
from tflite_export.pack import decoded
from tflite_export.runtime import Outputs, as_list, as_outputs, model_inputs, reference_lacks, run_reference

_TICK = 40  # instructions: the boards' clocks run at 25 MHz, and with -icount shift=0 an instruction takes 1 ns
_SECONDS = 3600


@dataclass(frozen=True)
class Emulated:
    """What a program under QEMU gave.

    Attributes:
        outputs: `(n, *output shape)` as the file gives them; a list for several outputs.
        instructions: of each sample.
        operators: instructions of each operator of the last sample, in the order in which they run.
        arena_bytes: what the interpreter used of the tensor arena, with the library's kernels, on 32 bits.
        stack_bytes: the deepest that the stack went, from `main` on, whose frame holds the interpreter.
    """

    outputs: Outputs
    instructions: tuple[int, ...]
    operators: tuple[int, ...]
    arena_bytes: int
    stack_bytes: int


@dataclass(frozen=True)
class Qemu:
    """A Cortex-M as `qemu-system-arm` emulates it: instructions are counted, outputs compared, flash is told.

    The bundle of a file is compiled with `arm-none-eabi-g++` and linked with a library of TFLite Micro that the user
    has built for the core. Counts are the same in every run, and they are no cycles: compare files on one core with one
    library only. As microseconds stands what as many instructions take at one a cycle.

    Attributes:
        core: one of `BOARDS`.
        library: the archive of TFLite Micro, which must be given.
        include: folders of headers: TFLite Micro's tree, and those of flatbuffers, gemmlowp and ruy where its makefile
            has not downloaded them.
        mhz: clock that instructions are told as microseconds of.
        samples: number of random samples whose outputs are compared with the NumPy reference, 1 to 1000.
        seed: of the samples.

    Raises:
        ValueError: a core that QEMU has no board for, or a number out of its range.
    """

    core: str = "m4"
    library: str | Path | None = None
    include: tuple[str | Path, ...] = ()
    mhz: float = 100.0
    samples: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        if self.core not in BOARDS:
            raise ValueError(f"core must be one of {', '.join(BOARDS)}. Received: core={self.core!r}. Use e.g. m4.")
        if not isinstance(self.include, tuple):
            raise ValueError(f"include must be a tuple of folders. Received: include={self.include!r}. Use (folder,).")
        if not self.mhz > 0 or not 1 <= self.samples <= 1000:
            raise ValueError(
                f"mhz must be positive and samples from 1 to 1000. Received: mhz={self.mhz}, samples={self.samples}. "
                "Use e.g. mhz=100, samples=3."
            )

    @property
    def description(self) -> str:
        """See `MeasuringDevice`."""
        board = BOARDS[self.core].machine
        return f"Cortex-{self.core.upper()} emulated by QEMU ({board}), {self.mhz:g} MHz at one instruction a cycle"

    def found(self) -> Self:
        """The device, if all that it needs is there.

        Raises:
            FileNotFoundError: no compiler, emulator, library or headers there; the message says how to get them.
        """
        if shutil.which("qemu-system-arm") is None:
            raise FileNotFoundError(
                "No qemu-system-arm in PATH. Received: no emulator. Install it: apt-get install qemu-system-arm."
            )
        self.toolchain.check()
        return self

    def latencies_us(self, files: Sequence[TFLiteFile], *, runs: int) -> NDArray[np.float64]:
        """See `Device`: every run of a file is the same, so that each file runs once in the life of the process."""
        self._check_runs(runs)
        return np.array([[_instructions(self, file.data) / self.mhz] * runs for file in files])

    def measure(self, files: Sequence[TFLiteFile], *, runs: int, operators: bool = False) -> tuple[Measurement, ...]:
        """See `MeasuringDevice`; `instructions` is the median of the samples.

        Raises:
            FileNotFoundError: no compiler, emulator, library or headers there.
            ValueError: no run, a program that does not link or does not run, or outputs that are not those of the
                NumPy reference.
        """
        self._check_runs(runs)
        return tuple(self._measured(file, runs, operators) for file in files)

    def run(self, file: TFLiteFile, inputs: Any) -> Emulated:
        """Run samples through a file.

        Args:
            file: the file.
            inputs: samples, as `runtime.run_litert` takes them.

        Returns:
            What came out, and what it took.

        Raises:
            FileNotFoundError, ValueError: as for `measure`.
        """
        with tempfile.TemporaryDirectory() as folder:
            program = self.found().toolchain.build(file, Path(folder))
            return self._emulated(file, inputs, program)

    @property
    def toolchain(self) -> Toolchain:
        """What programs are built with."""
        if self.library is None:
            raise FileNotFoundError(
                f"No library of TFLite Micro was named. Received: library=None, include={self.include}. Give one built "
                f"for {' '.join(BOARDS[self.core].flags)}, and its headers: --tflm-lib FILE --tflm-include DIR."
            )
        if not self.include:
            raise FileNotFoundError(
                f"No headers of TFLite Micro were named. Received: library={self.library} without them. Give the tree "
                "that it was built from: --tflm-include DIR."
            )
        return Toolchain(BOARDS[self.core], Path(self.library), tuple(map(Path, self.include)))

    def _check_runs(self, runs: int) -> None:
        if runs < 1:
            raise ValueError(f"runs must be at least 1. Received: runs={runs}. Use 1: every run is the same.")

    def _measured(self, file: TFLiteFile, runs: int, operators: bool) -> Measurement:
        inputs = _random_inputs(file, self.samples, self.seed)
        with tempfile.TemporaryDirectory() as folder:
            program = self.found().toolchain.build(file, Path(folder) / "whole")
            found = self._emulated(file, inputs, program)
            size = self.toolchain.size(file, program, Path(folder) / "none")
        instructions = int(np.median(found.instructions))
        return Measurement(
            latencies_us=(instructions / self.mhz,) * runs,
            operators=named_times(file.description, [each / self.mhz for each in found.operators]) if operators else (),
            instructions=instructions,
            arena_bytes=found.arena_bytes,
            stack_bytes=found.stack_bytes,
            program=size,
            notes=(_compared(file, inputs, found.outputs),),
        )

    def _emulated(self, file: TFLiteFile, inputs: Any, program: Path) -> Emulated:
        folder = program.parent
        samples = model_inputs(inputs, file.description)
        with (folder / "inputs.bin").open("wb") as stream:
            for index in range(len(samples)):
                for array in samples.arrays:
                    stream.write(np.ascontiguousarray(array[index]).tobytes())
        self._start(file.name, folder)
        arena, stack, _, *ticks = (int(each) for each in np.fromfile(folder / "figures.bin", np.uint64))
        counts = [tick * _TICK for tick in ticks]
        return Emulated(
            outputs=_read_outputs(file, folder / "outputs.bin", len(samples)),
            instructions=tuple(counts[: len(samples)]),
            operators=tuple(counts[len(samples) :]),
            arena_bytes=arena,
            stack_bytes=stack,
        )

    def _start(self, name: str, folder: Path) -> None:
        """Run the program to its end."""
        machine = ["qemu-system-arm", "-M", BOARDS[self.core].machine, "-kernel", "program.elf", "-nographic"]
        options = ["-monitor", "none", "-serial", "none", "-icount", "shift=0,sleep=off"]
        options += ["-semihosting-config", "enable=on,target=native"]
        try:
            done = subprocess.run(
                [*machine, *options],
                cwd=folder,
                capture_output=True,
                text=True,
                errors="replace",
                stdin=subprocess.DEVNULL,
                timeout=_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ValueError(f"{name}: the emulated program did not end in an hour. Received: {error}.") from error
        if done.returncode or not (folder / "figures.bin").is_file():
            told = " ".join((done.stdout + done.stderr).split()) or f"status {done.returncode}"
            raise ValueError(
                f"{name}: the program on the emulated Cortex-{self.core.upper()} failed. Received: {told}. Is the "
                "library for this core and of the same TFLite Micro as the headers?"
            )


@functools.lru_cache(maxsize=4096)
def _instructions(device: Qemu, data: bytes) -> int:
    """Instructions of a file on a device, whose outputs are compared."""
    file = TFLiteFile(data)
    inputs = _random_inputs(file, device.samples, device.seed)
    found = device.run(file, inputs)
    _compared(file, inputs, found.outputs)
    return int(np.median(found.instructions))


def _random_inputs(file: TFLiteFile, count: int, seed: int) -> list[NDArray[Any]]:
    """Samples that use the whole range of every input."""
    rng = np.random.default_rng(seed)
    inputs = []
    for tensor in file.description.inputs:
        shape, dtype = (count, *tensor.shape[1:]), np.dtype(tensor.dtype)
        if dtype.kind in "fb":  # a random bool is True at half
            inputs.append(np.round(rng.random(shape)).astype(dtype) if dtype.kind == "b" else rng.random(shape, dtype))
        else:
            limits = np.iinfo(dtype)
            inputs.append(rng.integers(limits.min, limits.max, shape, dtype, endpoint=True))
    return inputs


def _read_outputs(file: TFLiteFile, path: Path, count: int) -> Outputs:
    """Outputs as the program wrote them, sample by sample."""
    tensors = file.description.outputs
    record = np.dtype([(str(place), tensor.dtype, tensor.shape[1:]) for place, tensor in enumerate(tensors)])
    rows = np.fromfile(path, record, count)
    return as_outputs([rows[str(place)] for place in range(len(tensors))])


def _compared(file: TFLiteFile, inputs: list[NDArray[Any]], outputs: Outputs) -> str:
    """That the outputs are those of the NumPy reference, in words.

    Raises:
        ValueError: they are not.
    """
    plain = decoded(file) if file.description.packed else file
    if plain.description.inputs[0].dtype == "float32":
        return f"{file.name}: outputs are not compared: the NumPy reference has integer kernels only"
    if lacking := reference_lacks(plain):
        return f"{file.name}: outputs are not compared: the NumPy reference lacks {', '.join(lacking)}"
    given = inputs[0] if len(inputs) == 1 else inputs
    expected = run_reference(plain, given, runtime="tflm")
    pairs = list(zip(as_list(expected), as_list(outputs), strict=True))
    differ = sum(int(np.count_nonzero(a != b)) for a, b in pairs)
    if differ:
        raise ValueError(
            f"{file.name}: the emulated outputs differ from the NumPy reference. Received: {differ} of "
            f"{sum(a.size for a, _ in pairs)} values. Report it with the file, and do not trust this library."
        )
    return f"{file.name}: outputs of {len(inputs[0])} samples are those of the NumPy reference, bit for bit"
