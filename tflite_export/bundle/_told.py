"""What the READMEs of a bundle tell in figures: operators with their versions, flash and RAM."""

from collections.abc import Sequence

from tflite_export.bundle._model_settings import arena_margin_bytes
from tflite_export.bundle._op_resolver import general_kernels
from tflite_export.bundle._operator_code import code_tables
from tflite_export.bundle._self_test import Recorded
from tflite_export.file import DECODERS, ModelDescription, TFLiteFile
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


def memory_rows(file: TFLiteFile, arena_bytes: int | None, recorded: Recorded, *, name: str) -> str:
    """Rows of a table: what the firmware takes of flash and RAM, as far as it is known.

    Args:
        file: the file.
        arena_bytes: the measured arena; None where it was not measured.
        recorded: the samples of the self test.
        name: of the bundle.
    """
    description = file.description
    rows = [("flash", "the model", f"{len(file.data):,}"), *_code_rows(description)]
    for decoder in (each for each in DECODERS if each in description.operator_names):
        code = CODE_SIZES[decoder]
        rows.append(("flash", f"code of {decoder}, Cortex-M4", f"{code.least_bytes:,} to {code.most_bytes:,}"))
    rows.append(("flash", "samples of the self test, gone without it", f"{recorded.size_bytes:,}"))
    if arena_bytes is None:
        rows.append(("RAM", "tensor arena", f"not measured, see `{name}_settings.h`"))
    else:
        margin = arena_margin_bytes(description, arena_bytes)
        rows.append(("RAM", "tensor arena, measured on the host", f"{arena_bytes:,}"))
        rows.append(("RAM", "margin for other versions and for CMSIS-NN's buffers", f"{margin:,}"))
    if description.packed:
        rows.append(("RAM", "of that, the largest decoded weights", f"{description.decoded_bytes:,}"))
    return "\n".join(f"| {kind} | {what} | {size} |" for kind, what, size in rows)


def _code_rows(description: ModelDescription) -> list[tuple[str, str, str]]:
    """Flash of the code by set of kernels, as far as it was measured."""
    mine, rows = [name for name in description.operator_names if name not in DECODERS], []
    for kernels, table in code_tables().items():
        unknown = general_kernels(description) | (frozenset(mine) - table.operators)
        told = f"code of the operators, {_KERNELS[kernels]}"
        if lacking := [name for name in mine if name in unknown]:
            told += f", but of {', '.join(lacking)}, which was not measured"
        rows.append(("flash", told, f"{table.bytes_of(name for name in mine if name not in unknown):,}"))
    runtimes = sorted({f"{table.runtime:,}" for table in code_tables().values()})
    return [*rows, ("flash", "TFLite Micro without operators, the C library", " to ".join(runtimes))]


_KERNELS = {"reference": "reference kernels", "cmsis_nn": "CMSIS-NN's"}
