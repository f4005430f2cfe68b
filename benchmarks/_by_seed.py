"""Benchmarks that write each row when it is measured, and go on with what is missing."""

import collections
import json
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

Row = dict[str, Any]
Rows = list[Row]


def by_seed(
    out: pathlib.Path,
    seeds: Iterable[int],
    settings: Mapping[str, Any],
    rows_of: Callable[[int, Rows], Iterable[Row]],
    page: Callable[[Rows], str],
) -> None:
    """Measure, and write after each row; those that stand in the results with the same settings are not measured again.

    Args:
        out: the results, without ending.
        seeds: which.
        settings: entries that a row has in common with the rows that count.
        rows_of: given a seed and its rows that are there, measures the others, one after the other; each row has an
            entry "seed".
        page: the results for people, of seeds that have all their rows.
    """
    file = out.with_suffix(".json")
    found = json.loads(file.read_text()) if file.exists() else []
    rows = [row for row in found if all(row[name] == value for name, value in settings.items())]
    for seed in seeds:
        for row in rows_of(seed, [row for row in rows if row["seed"] == seed]):
            rows.append(row)
            file.write_text(json.dumps(rows, indent=2) + "\n")
        counts = collections.Counter(row["seed"] for row in rows)
        shown = [row for row in rows if counts[row["seed"]] == counts[seed]]
        out.with_suffix(".md").write_text(page(sorted(shown, key=lambda row: row["seed"])))
