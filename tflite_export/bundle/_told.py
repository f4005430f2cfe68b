"""What the READMEs of a bundle tell in figures: operators with their versions, flash and RAM."""

from collections.abc import Sequence

from tflite_export.bundle._model_settings import arena_margin_bytes
from tflite_export.bundle._self_test import Recorded
from tflite_export.file import DECODERS, TFLiteFile
from tflite_export.pack import CODE_SIZES


def operator_rows(file: TFLiteFile, lacking: Sequence[str]) -> str:
    """Rows of a table: each operator, how often it occurs, the version in the file, and whether a library has it.

    Args:
        file: the file.
        lacking: operators that the library lacks.
    """
    counts, versions = file.description.operator_counts, _versions(file)
    return "\n".join(
        f"| {name} | {counts[name]} | {versions[name]} | {'**no**' if name in lacking else 'yes'} |" for name in counts
    )


def _versions(file: TFLiteFile) -> dict[str, str]:
    """By operator, its version in the file; several where it has several."""
    found: dict[str, set[int]] = {}
    codes = file.parsed.operatorCodes
    pairs = zip(file.description.operators, file.parsed.subgraphs[0].operators, strict=True)
    for described, operator in pairs:
        found.setdefault(described.name, set()).add(codes[operator.opcodeIndex].version)
    return {name: ", ".join(map(str, sorted(versions))) for name, versions in found.items()}


def memory_rows(file: TFLiteFile, arena_bytes: int | None, recorded: Recorded) -> str:
    """Rows of a table: what the firmware takes of flash and RAM, as far as it is known.

    Args:
        file: the file.
        arena_bytes: the measured arena; None where it was not measured.
        recorded: the samples of the self test.
    """
    description = file.description
    rows = [("flash", "the model", f"{len(file.data):,}")]
    for name in (name for name in DECODERS if name in description.operator_names):
        code = CODE_SIZES[name]
        rows.append(("flash", f"code of {name}, Cortex-M4", f"{code.least_bytes:,} to {code.most_bytes:,}"))
    rows.append(("flash", "samples of the self test, gone without it", f"{recorded.size_bytes:,}"))
    if arena_bytes is None:
        rows.append(("RAM", "tensor arena", "not measured, see `model_settings.h`"))
    else:
        margin = arena_margin_bytes(description, arena_bytes)
        rows.append(("RAM", "tensor arena, measured on the host", f"{arena_bytes:,}"))
        rows.append(("RAM", "margin for other versions and for CMSIS-NN's buffers", f"{margin:,}"))
    if description.packed:
        rows.append(("RAM", "of that, the largest decoded weights", f"{description.decoded_bytes:,}"))
    return "\n".join(f"| {kind} | {what} | {size} |" for kind, what, size in rows)
