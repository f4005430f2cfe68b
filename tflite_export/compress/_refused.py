"""What a refused run earned, in a folder of its own, from which the same run goes on."""

import json
import math
import os
from pathlib import Path
from typing import Any

from tf_structprune.stages import Judge
from tflite_export.compress._epochs import write_history
from tflite_export.compress._work import REFUSED_WORK, Reached, RefusedError, Work
from tflite_export.write import staged_directory


def keep_refused(
    error: RefusedError, judge: Judge, out: str | os.PathLike[str], work: Work, *, overwrite: bool
) -> RefusedError:
    """Write the best model that was reached, its history and by how much it missed, and the finished parts of the run.

    The folder is `OUT.refused/`, or `OUT.refused-2/` and so on where there is that of another run: `model.keras`,
    `history.csv`, `summary.json`, and `work/` for the run that goes on.

    Args:
        error: says what was reached.
        judge: refused it.
        out: directory that was to be made.
        work: finished parts; they are moved.
        overwrite: take the place of another refused run.

    Returns:
        The error with words that say where all this is.

    Raises:
        OSError: it cannot be written; the finished parts are where they were.
    """
    if error.reached is None or work.path is None:
        return error
    folder = _folder(Path(os.path.realpath(out)), work, overwrite=overwrite)
    with staged_directory(folder, overwrite=True) as staged:
        error.reached.model.save(staged / "model.keras")
        write_history(error.reached.history, staged / "history.csv")
        (staged / "summary.json").write_text(
            json.dumps(_summary(str(error), error.reached, judge), indent=2, allow_nan=False) + "\n"
        )
        os.rename(work.path, staged / REFUSED_WORK)
    return RefusedError(
        f"{error} What was reached is in {folder}; the same with more --epochs, a larger --tolerance or another "
        "--finetune-rate goes on from there.",
        error.reached,
    )


def _folder(target: Path, work: Work, *, overwrite: bool) -> Path:
    """Where: in place of the run that this one went on from, else under a free name."""
    if work.refused is not None and work.refused.path is not None:
        return work.refused.path.parent
    folder, number = target.with_name(f"{target.name}.refused"), 1
    while folder.exists() and not overwrite:
        number += 1
        folder = target.with_name(f"{target.name}.refused-{number}")
    return folder


def _summary(told: str, reached: Reached, judge: Judge) -> dict[str, Any]:
    return {
        "refused": told,
        "stage": reached.stage,
        "epoch": reached.epochs,
        "metric": judge.metric.name,
        "given": _number(judge.metric.value(judge.given)),
        "reached": _number(judge.metric.value(reached.score)),
        "tolerance": judge.tolerance,
        "missed_by": _number(judge.given - judge.tolerance - reached.score),
    }


def _number(value: float) -> float | None:
    """A number that JSON has."""
    return float(value) if math.isfinite(value) else None
