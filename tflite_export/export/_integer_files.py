"""The integer files of an export, written, compared value by value, and chosen from for a microcontroller."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self, get_args

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.layers import quantized_layers
from tf_structprune.task import Samples
from tflite_export.export._summary import FileSummary, Written, written
from tflite_export.file import (
    EndType,
    TensorDescription,
    TFLiteFile,
    convert_ends,
    least_memory_order,
    slim,
    slim_with_names,
)
from tflite_export.pack import Packing, pack, stand_in
from tflite_export.quantize import Calibration, Quantize, convert, fixed_point_files
from tflite_export.runtime import Kernels, Outputs, as_list, real_outputs, run_litert, run_tflm, tflm_available
from tflite_export.verify import WIDE_STEPS, ExactAgreement, VerificationError, verify_exact

_LUT_BITS = 3  # an int4 tensor is as small for longer words
_TFLM_SAMPLES = 1000
_END_SAMPLES = 32


@dataclass(frozen=True)
class IntegerFiles:
    """The integer files that were written.

    Attributes:
        int8: every value in int8, for all runtimes.
        int4: weights of 4 bits and fewer two in a byte; None if there are none.
        lut: weights as indices into tables, for TFLite Micro alone; None where it does not apply or did not verify.
        lut_reason: why there is no such file; None with one.
        fixed: whether the grids are the model's own.
        packed: packed weights, for TFLite Micro alone; None where that was not asked for, does not pay or did not
            verify.
        packing: what packing takes and saves, or why there is no such file; None where it was not asked for.
    """

    int8: Written
    int4: Written | None
    lut: Written | None
    lut_reason: str | None
    fixed: bool
    packed: Written | None = None
    packing: str | None = None

    def verified(self, samples: Samples, *, micro: bool) -> dict[str, ExactAgreement]:
        """Agreement of the runtimes by file name, for the files that every runtime takes.

        Raises:
            VerificationError: they differ where they must not.
        """
        files = (self.int8,) if self.int4 is None else (self.int8, self.int4)
        return {each.path.name: verify_exact(each.file, samples, alike=self.fixed, micro=micro) for each in files}

    def with_ends(self, io: EndType, samples: Samples) -> Self:
        """The files that take and give another type, written in place of these.

        Args:
            io: the type.
            samples: on which LiteRT must give the same numbers for both.

        Raises:
            VerificationError: they differ.
        """
        if io == "int8":
            return self
        few = samples[:_END_SAMPLES]
        return replace(
            self,
            int8=_with_ends(self.int8, io, few),
            int4=None if self.int4 is None else _with_ends(self.int4, io, few),
            lut=None if self.lut is None else written(self.lut.path, _ended(self.lut.file, io)),
        )

    def with_packed(self, how: Packing, samples: Samples, *, micro: bool, names: bool) -> Self:
        """With the file of packed weights, if TFLite Micro gives the numbers of the int8 file for it.

        Args:
            how: how weights are packed.
            samples: real samples.
            micro: whether TFLite Micro may be run.
            names: whether inputs, outputs and the signature keep their names.
        """
        try:
            found = pack(self.int8.file, how, names=names)
        except ValueError as error:
            return replace(self, packing=str(error))
        if not found.pays:
            return replace(self, packing=str(found))
        path = _at(self.int8.path.with_suffix(""), "_packed.tflite")
        packed, reason = _write_for_tflm(path, found.file, self.int8.file, samples, micro=micro)
        return replace(self, packed=packed, packing=reason or str(found))

    def alike_in_tflm(self, own: Self, samples: Samples) -> None:
        """Holds TFLite Micro to the numbers that it gives for the files with integers at their ends.

        Args:
            own: those files.
            samples: real samples.

        Raises:
            VerificationError: they differ.
        """
        few = samples[:_END_SAMPLES]
        for each, made in zip((own.int8, own.int4, own.lut), (self.int8, self.int4, self.lut), strict=True):
            if each is not None and made is not None and made.file != each.file:
                _check_alike(made.path, made.file, each.file, "TFLite Micro", partial(run_tflm, inputs=few, real=True))


def _with_ends(each: Written, io: EndType, samples: Samples) -> Written:
    file = _ended(each.file, io)
    for kernels in get_args(Kernels):
        run = partial(run_litert, inputs=samples, kernels=kernels, real=True)
        _check_alike(each.path, file, each.file, f"LiteRT's {kernels} kernels", run)
    return written(each.path, file)


def _check_alike(path: Path, made: TFLiteFile, own: TFLiteFile, runtime: str, run: Callable[..., Outputs]) -> None:
    found, wanted = (real_outputs(run(file), file.description) for file in (made, own))
    if not all(map(_alike, found, wanted, own.description.outputs)):
        raise VerificationError(
            f"{path.name} gives other numbers in {runtime} than with the integers of its own signals at its ends. "
            f"Received: {made.description.inputs[0].dtype} inputs. Report the model; use io='int8'."
        )


def _alike(found: NDArray[Any], wanted: NDArray[Any], tensor: TensorDescription) -> bool:
    """Whether outputs are equal; where steps are of 16 bits, kernels may round those of the inputs in another way."""
    if tensor.dtype != "int16":
        return np.array_equal(found, wanted)
    return bool(np.abs(found - wanted).max() <= WIDE_STEPS * tensor.scales[0])


def _ended(file: TFLiteFile, io: EndType) -> TFLiteFile:
    return file.edited(partial(convert_ends, dtype=io))


def integer_file(
    model: keras.Model,
    samples: Samples,
    *,
    fixed: keras.Model | None,
    quantize: Quantize = "int8",
    calibration: Calibration = "mse",
    names: bool = False,
) -> TFLiteFile:
    """The int8 file alone, see `write_plain` and `write_fixed`."""
    if fixed is not None:
        return fixed_point_files(fixed, computing=model, names=names).int8
    file = convert(model, quantize=quantize, representative_data=samples, calibration=calibration)
    return slim_file(TFLiteFile(file), names=names)


def slim_file(file: TFLiteFile, *, names: bool) -> TFLiteFile:
    """A converted file in few bytes.

    Args:
        file: as TensorFlow's converter made it.
        names: whether inputs, outputs and the signature keep their names.
    """
    return file.edited(least_memory_order, slim_with_names if names else slim)


def write_plain(stem: Path, file: TFLiteFile, *, names: bool = False) -> IntegerFiles:
    """Writes an integer file with TensorFlow's grids.

    Args:
        stem: what its path begins with.
        file: as the converter made it.
        names: whether inputs, outputs and the signature keep their names.
    """
    int8 = written(_at(stem, ".tflite"), slim_file(file, names=names))
    return IntegerFiles(int8, None, None, "It is for fixed point.", fixed=False)


def write_fixed(
    stem: Path, fixed: keras.Model, computing: keras.Model, samples: Samples, *, micro: bool, names: bool = False
) -> IntegerFiles:
    """Makes and writes the files of a model with grids of its own.

    Args:
        stem: what their paths begin with.
        fixed: the model with the grids.
        computing: the float model that says what is computed, perhaps lowered.
        samples: real samples.
        micro: whether TFLite Micro may be run, without which no file for it alone is verified and written.
        names: whether inputs, outputs and the signature keep their names.

    Raises:
        ValueError: a model that TFLite cannot express, or that is not calibrated throughout.
    """
    files = fixed_point_files(fixed, computing=computing, names=names)
    int8 = written(_at(stem, ".tflite"), files.int8)
    int4 = None if files.int4 is None else written(_at(stem, "_int4.tflite"), files.int4)
    lut, reason = _write_lut(_at(stem, "_lut.tflite"), files.int8, fixed, samples, micro=micro)
    return IntegerFiles(int8, int4, lut, reason, fixed=True)


def _at(stem: Path, ending: str) -> Path:
    return stem.with_name(stem.name + ending)


def _write_lut(
    path: Path, int8: TFLiteFile, fixed: keras.Model, samples: Samples, *, micro: bool
) -> tuple[Written | None, str | None]:
    """The file with tables, if some words are shorter than those of an int4 tensor and TFLite Micro gives the integers
    of the int8 file; else the reason why not."""
    if min(layer.weight_bits for layer in quantized_layers(fixed).values()) > _LUT_BITS:
        return None, f"No weights have {_LUT_BITS} bits or fewer, and an int4 file is as small."
    try:
        return _write_for_tflm(path, pack(int8, "lut").file, int8, samples, micro=micro)
    except ValueError as error:
        return None, str(error)


def _write_for_tflm(
    path: Path, file: TFLiteFile, int8: TFLiteFile, samples: Samples, *, micro: bool
) -> tuple[Written | None, str | None]:
    """A file for TFLite Micro alone, if it gives the numbers of the int8 file; else the reason why not.

    Our own operator is none of the wheel's: with it, a stand-in is run."""
    if not (micro and tflm_available()):
        return None, "TFLite Micro, which alone runs it, did not run."
    few = samples[:_TFLM_SAMPLES]
    try:
        found, wanted = (as_list(run_tflm(each, few, real=True)) for each in (stand_in(file), int8))
    except (ImportError, ValueError) as error:
        return None, str(error)
    differing = sum(int(np.count_nonzero(one != other)) for one, other in zip(found, wanted, strict=True))
    if differing:
        return None, f"TFLite Micro gave {differing} other integers than for the int8 file, on {len(few)} samples."
    return written(path, file), None


def for_micro(*files: FileSummary | None) -> FileSummary:
    """The file that takes least flash and RAM together in TFLite Micro, which unpacks short weights into the arena.

    The code of a decoder counts, as small as it can be built.

    Args:
        files: the int8 file, then others that may be missing; where an arena is not known, the first is taken, and of
            files that take as much, the one with less flash.
    """
    known = [file for file in files if file is not None]
    if any(file.arena_bytes is None for file in known):
        return known[0]
    return min(known, key=lambda file: (file.flash_bytes + (file.arena_bytes or 0), file.flash_bytes))
