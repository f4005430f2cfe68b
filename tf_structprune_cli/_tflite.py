"""Weights packed inside a `.tflite` file, for TFLite Micro alone."""

from pathlib import Path
from typing import Any

TFLITE = ".tflite"


def pack_tflite(model: str, out: str, how: Any, *, overwrite: bool) -> str:
    """Write a `.tflite` with packed weights.

    Args:
        model: an integer `.tflite` file.
        out: the file to write.
        how: as `tflite_export.pack` takes it.
        overwrite: replace a file that is there.

    Returns:
        What it takes and saves, in a line.

    Raises:
        FileExistsError, FileNotFoundError, ValueError: as `pack` and `write_whole`.
    """
    from tflite_export.pack import pack
    from tflite_export.write import write_whole

    found = pack(model, how)
    return f"{write_whole(out, found.file.data, overwrite=overwrite)}: {found}"


def unpack_tflite(file: str, out: str, *, overwrite: bool) -> Path:
    """Write the `.tflite` that was packed.

    Raises:
        FileExistsError, FileNotFoundError, ValueError: as `decoded` and `write_whole`.
    """
    from tflite_export.pack import decoded
    from tflite_export.write import write_whole

    return write_whole(out, decoded(file).data, overwrite=overwrite)
