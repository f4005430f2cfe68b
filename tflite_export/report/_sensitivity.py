"""What `tf-structprune sensitivity` found, as a part of a report."""

import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from tf_structprune.sensitivity import SensitivityReport
from tf_structprune.untrusted import reading
from tflite_export.report._values import INT8_ALONE, INT8_REST, Fact, Report, Sensitivity
from tflite_export.sensitivity import REMEDIES, Int8Sensitivity

_FIXED_POINT, _INT8 = "sensitivity.json", "sensitivity_int8.json"
_INT8_BITS = (8,)
_REMEDY = "in int8: "  # a note that begins so is of a sensitivity to the int8 file
_T = TypeVar("_T")


def read_sensitivity(directory: str | os.PathLike[str]) -> tuple[Sensitivity, ...]:
    """What `tf-structprune sensitivity` found, with `--int8` or without; nothing where it wrote nothing there.

    Args:
        directory: its OUT.

    Raises:
        ValueError: a file is no sensitivity report; the message says which.
    """
    return (*_fixed_point(Path(directory)), *_int8(Path(directory)))


def with_sensitivity(report: Report, directories: Iterable[str | os.PathLike[str]]) -> Report:
    """A report with what was found; what it has of another kind of sensitivity stays.

    Args:
        report: of a run.
        directories: each the OUT of `tf-structprune sensitivity`, or of something else.

    Raises:
        ValueError: as for `read_sensitivity`.
    """
    folders = [Path(directory) for directory in directories]
    rows = [row for folder in folders for row in read_sensitivity(folder)]
    parts = {row.part for row in rows}
    kept = [row for row in report.sensitivity if row.part not in parts]
    notes = [note for note in report.notes if INT8_ALONE not in parts or not note.told.startswith(_REMEDY)]
    remedies = [fact for folder in folders for fact in _remedies(folder)]
    return replace(report, sensitivity=(*kept, *rows), notes=(*notes, *remedies))


def _fixed_point(folder: Path) -> tuple[Sensitivity, ...]:
    """By part, layer by layer, by word length."""
    found = _found(folder / _FIXED_POINT, SensitivityReport.from_json)
    parts = {} if found is None else {part: found.losses(part) for part in ("weights", "signal")}
    return tuple(
        Sensitivity(layers[0], part, tuple(losses), tuple(losses.values()))
        for part, by_layer in parts.items()
        for layers, losses in by_layer.items()
    )


def _int8(folder: Path) -> tuple[Sensitivity, ...]:
    """Each layer alone in int8, then all layers but that one."""
    found = _found(folder / _INT8, Int8Sensitivity.from_json)
    if found is None:
        return ()
    alone = (Sensitivity(row.layer, INT8_ALONE, _INT8_BITS, (found.score - row.score_alone,)) for row in found.layers)
    rest = (Sensitivity(row.layer, INT8_REST, _INT8_BITS, (found.score - row.score_without,)) for row in found.layers)
    return (*alone, *rest)


def _remedies(folder: Path) -> tuple[Fact, ...]:
    """What mends the layers that lose too much in int8, the worst first."""
    found = _found(folder / _INT8, Int8Sensitivity.from_json)
    needy = [] if found is None else [row for row in found.ranked if row.remedy]
    return tuple(Fact(row.layer, f"{_REMEDY}{REMEDIES[row.remedy]}.") for row in needy)


def _found(path: Path, of: Callable[[str], _T]) -> _T | None:
    """What a file holds; None where there is none."""
    if not path.is_file():
        return None
    with reading(path, "a report of a sensitivity", "Run tf-structprune sensitivity again."):
        return of(path.read_text(encoding="utf-8"))
