"""The integer files of an export, written, compared value by value, and chosen from for a microcontroller."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
from numpy.typing import NDArray

from tflite_export.export._summary import FileSummary, summarize_file
from tflite_export.quantize import convert, fixed_point_files
from tflite_export.verify import ExactAgreement, verify_exact


@dataclass(frozen=True)
class IntegerFiles:
    """Paths of the integer files that were written.

    Attributes:
        int8: every value in int8, for all runtimes.
        int4: weights of 4 bits and fewer two in a byte; None if there are none.
        fixed: whether the grids are the model's own.
    """

    int8: Path
    int4: Path | None
    fixed: bool

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files."""
        return (self.int8,) if self.int4 is None else (self.int8, self.int4)

    def verified(self, samples: NDArray[Any], *, micro: bool) -> dict[str, ExactAgreement]:
        """Agreement of the runtimes by file name.

        Raises:
            VerificationError: they differ where they must not.
        """
        return {path.name: verify_exact(path, samples, alike=self.fixed, micro=micro) for path in self.paths}


def write_integer_files(
    folder: Path, name: str, model: keras.Model, samples: NDArray[Any], *, fixed: keras.Model | None
) -> IntegerFiles:
    """Converts and writes.

    Args:
        folder: where to.
        name: stem of the file names.
        model: the float model that says what is computed, perhaps lowered.
        samples: real samples that set the ranges of the signals, where there are no grids.
        fixed: the model with the grids; None for TensorFlow's int8.

    Raises:
        ValueError: a model that TFLite cannot express, or that is not calibrated throughout.
    """
    if fixed is None:
        path = folder / f"{name}_int8.tflite"
        path.write_bytes(convert(model, quantize="int8", representative_data=samples))
        return IntegerFiles(path, None, fixed=False)
    files = fixed_point_files(fixed, computing=model)
    path, packed = folder / f"{name}_fixed.tflite", None
    path.write_bytes(files.int8)
    if files.int4 is not None:
        packed = folder / f"{name}_fixed_int4.tflite"
        packed.write_bytes(files.int4)
    return IntegerFiles(path, packed, fixed=True)


def for_micro(int8: FileSummary, int4: FileSummary | None) -> FileSummary:
    """The file that takes less flash and RAM together in TFLite Micro, which unpacks int4 weights into the arena."""
    if int4 is None or int8.arena_bytes is None or int4.arena_bytes is None:
        return int8
    return min(int4, int8, key=lambda file: file.size_bytes + (file.arena_bytes or 0))


def summarize(files: IntegerFiles | None, *, micro: bool) -> tuple[FileSummary | None, FileSummary | None]:
    """Figures of the int8 and the int4 file."""
    if files is None:
        return None, None
    int8 = summarize_file(files.int8, micro=micro)
    return int8, None if files.int4 is None else summarize_file(files.int4, micro=micro)
