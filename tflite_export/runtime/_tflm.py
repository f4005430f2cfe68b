"""Runs a model in TFLite Micro (the `tflite-micro` wheel) and measures its arena."""

import hashlib
import importlib.util
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from tf_structprune.task import Samples
from tflite_export.child import native
from tflite_export.file import ModelDescription, TFLiteFile, TFLiteModel, open_file, operator_that
from tflite_export.runtime._samples import Outputs, as_outputs, batches_of_inputs, check_ends

_ARENA_TOTAL = re.compile(r"Arena allocation total (\d+) bytes")
_NO_KERNEL = "Didn't find op"
_ARENA_GROWTH = (1, 8, 64)
_MOST_KNOWN = 256
_KNOWN_ARENAS: dict[bytes, int] = {}
"""Arenas of the files that ran last, by digest: a run on any samples tells it."""


def tflm_available() -> bool:
    """Whether the `tflite-micro` wheel is installed (extra `tf-structprune[micro]`)."""
    return importlib.util.find_spec("tflite_micro") is not None


def run_tflm(model: TFLiteModel, inputs: Any, *, real: bool = False, decode_bytes: int = 0) -> Outputs:
    """Runs a model in TFLite Micro, one sample after the other.

    Args:
        model: path of the file, or its bytes; inputs of batch 1.
        inputs: samples, as for `run_litert`.
        real: whether integers of the model's dtype are real numbers too, such as the bytes of images.
        decode_bytes: memory beside the arena for packed weights that are decoded.

    Returns:
        `(n, *output shape)` raw outputs, as of `run_litert`.

    Raises:
        ImportError: `tflite-micro` is not installed.
        FileNotFoundError: there is no such file.
        ValueError: damaged file, wrong samples, or an operator that TFLite Micro lacks.
    """
    outputs, _ = _run(open_file(model), inputs, real=real, decode_bytes=decode_bytes)
    return outputs


def arena_bytes(model: TFLiteModel, *, decode_bytes: int = 0) -> int:
    """Measures the tensor arena that a model needs in TFLite Micro, by running it once if this process did not yet.

    The figure is the total that TFLM's recording allocator reports on this 64-bit machine: activations,
    scratch buffers and the interpreter's own structs. Pointers are half as wide on a microcontroller, so
    a little less is used there.

    Args:
        model: path of the file, or its bytes.
        decode_bytes: memory beside the arena for packed weights that are decoded, `ModelDescription.decoded_bytes` for
            all of them; they then take none of the arena.

    Returns:
        Bytes.

    Raises:
        ImportError: `tflite-micro` is not installed.
        FileNotFoundError: there is no such file.
        ValueError: damaged file, or a model that TFLite Micro cannot run.
    """
    _check_installed()
    file = open_file(model)
    if (known := _KNOWN_ARENAS.get(_digest(file, decode_bytes))) is not None:
        return known
    check_ends(file.description)
    zeros = Samples(tuple(np.zeros(tensor.shape, tensor.dtype) for tensor in file.description.inputs))
    _, arena = _run(file, zeros, decode_bytes=decode_bytes)
    return arena


def _check_installed() -> None:
    if not tflm_available():
        raise ImportError(
            "TFLite Micro: the package tflite-micro is not installed. "
            "Install it with: pip install 'tf-structprune[micro]'."
        )


def _run(file: TFLiteFile, inputs: Any, *, real: bool = False, decode_bytes: int = 0) -> tuple[Outputs, int]:
    _check_installed()
    samples = next(batches_of_inputs(inputs, file.description, real=real))
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        np.savez(directory / "inputs.npz", *samples.arrays)
        log = _run_with_growing_arena(directory, file, decode_bytes)
        found = _ARENA_TOTAL.search(log)
        if found is None:
            raise ValueError(
                f"{file.name}: TFLite Micro printed no arena size. Received: {log[-300:].strip()!r}. "
                "Install the tflite-micro version that tf-structprune[micro] names."
            )
        _remember(_digest(file, decode_bytes), int(found.group(1)))
        with np.load(directory / "outputs.npz") as outputs:
            return as_outputs(list(outputs.values())), int(found.group(1))


def _digest(file: TFLiteFile, decode_bytes: int) -> bytes:
    return hashlib.sha256(file.data + decode_bytes.to_bytes(8, "little")).digest()


def _remember(digest: bytes, arena: int) -> None:
    _KNOWN_ARENAS[digest] = arena
    if len(_KNOWN_ARENAS) > _MOST_KNOWN:
        del _KNOWN_ARENAS[next(iter(_KNOWN_ARENAS))]


def _arena_guess(description: ModelDescription) -> int:
    """Bytes that are enough for nearly every model: all signals at once, twice, and the structs."""
    signals = sum(tensor.elements for tensor in description.tensors if not tensor.constant)
    guess = 65_536 + 8 * signals + 1_024 * len(description.operators) + description.size_bytes
    return (guess + 15) // 16 * 16  # an odd size would cost alignment bytes that the figure then shows


def _run_with_growing_arena(directory: Path, file: TFLiteFile, decode_bytes: int) -> str:
    """What TFLite Micro printed in the first arena that was large enough."""
    guess = _arena_guess(file.description)
    for growth in _ARENA_GROWTH:
        status, log = _ran(directory, file, guess * growth, decode_bytes)
        if status == 0:
            return log
        # A small arena ends in an error, or in a crash; a larger one cures both, but no missing kernel.
        if _NO_KERNEL in log:
            break
    reason, arena = _reason(log), guess * growth
    if status < 0:
        operator = operator_that(lambda part: _ran(directory, part, arena, decode_bytes)[0] < 0, file)
        reason = f"{reason}, at {operator}" if operator else reason
    raise ValueError(
        f"{file.name}: TFLite Micro cannot run the model (exit status {status}, arena {arena} bytes): {reason}. "
        "Use operators and types that TFLM has."
    )


def _ran(directory: Path, file: TFLiteFile, arena: int, decode_bytes: int) -> tuple[int, str]:
    """Exit status of a run on the samples in a folder, negative for a signal, and what it printed."""
    (directory / "model.tflite").write_bytes(file.data)
    with native(micro=True) as ask:
        found: tuple[int, str] = ask("micro", str(directory), arena, decode_bytes, len(file.description.outputs))
    return found


def _reason(log: str) -> str:
    """The lines of the log that say why, without Python's traceback."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith(("Traceback", "File ", "^"))]
    return "; ".join([*said[:2], *said[2:][-1:]]) or "it printed nothing"
