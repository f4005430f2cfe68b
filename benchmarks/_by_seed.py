"""Benchmarks that write their results after each seed, and go on with what is missing."""

import json
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

Rows = list[dict[str, Any]]


def by_seed(
    out: pathlib.Path,
    seeds: Iterable[int],
    settings: Mapping[str, Any],
    rows_of: Callable[[int], Rows],
    page: Callable[[Rows], str],
) -> None:
    """Measure, and write after each seed; those that stand in the results with the same settings are not run again.

    Args:
        out: the results, without ending.
        seeds: which.
        settings: entries that a row has in common with the rows that count.
        rows_of: measures a seed; each row has an entry "seed".
        page: the results for people.
    """
    file = out.with_suffix(".json")
    found = json.loads(file.read_text()) if file.exists() else []
    rows = [row for row in found if all(row[name] == value for name, value in settings.items())]
    for seed in seeds:
        if all(row["seed"] != seed for row in rows):
            rows += rows_of(seed)
            file.write_text(json.dumps(rows, indent=2) + "\n")
            out.with_suffix(".md").write_text(page(rows))
